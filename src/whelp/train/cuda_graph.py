"""Work that a GPU repeats, recorded once as a CUDA graph: replaying it costs the processor one call instead of thousands.

With few tokens at a time a GPU waits for the processor to name the next kernel; a replay names all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

Inputs = Sequence["torch.Tensor | None"]
Shapes = list["torch.Size | None"]


def get_shapes(inputs: Inputs) -> Shapes:
    """The sizes of tensors, some of which may be missing."""
    return [None if tensor is None else tensor.shape for tensor in inputs]


class CapturedCall:
    """A function of tensors whose sizes never change, and whose results are left in place (gradients, sums).

    Making one runs the function once to warm up the stream (libraries), undoes what that left behind, and records it. `has_company`:
    other threads use the GPU meanwhile, as those do that watch over talk between processes.
    """

    def __init__(
        self, function: Callable[..., None], inputs: Inputs, undo: Callable[[], None], *, has_company: bool = False
    ) -> None:
        device = next(tensor.device for tensor in inputs if tensor is not None)
        self.inputs = [None if tensor is None else tensor.clone() for tensor in inputs]
        torch.cuda.empty_cache()  # warming up takes memory of its own, and so does the graph: what lies idle would lie beside it
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            function(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(side)
        undo()
        torch.cuda.empty_cache()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local" if has_company else "global"):
            function(*self.inputs)
        self.piers = [Pier(inputs) for _ in range(2)]

    def fits(self, inputs: Inputs) -> bool:
        """Whether the sizes are those that were recorded."""
        return get_shapes(inputs) == get_shapes(self.inputs)

    def __call__(self, inputs: Inputs) -> None:
        """Do the recorded work on other contents, which lie in the processor's memory; returns before it is done."""
        pier = self.piers.pop(0)
        pier.send(inputs, self.inputs)
        self.piers.append(pier)
        self.graph.replay()


class Pier:
    """Pinned memory from which inputs go to a GPU; two take turns, so that one is filled while the other may still be read.

    Asking PyTorch for such memory in every step waits until the GPU has done all that it was given: 4 ms of idling with 64 rows of 1,024.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.tensors = [None if part is None else torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in inputs]
        self.sent = torch.cuda.Event()

    def send(self, inputs: Inputs, places: Inputs) -> None:
        """Copy inputs to their places on the GPU."""
        self.sent.synchronize()  # what was here has left
        for pinned, new, place in zip(self.tensors, inputs, places, strict=True):
            if pinned is not None and new is not None and place is not None:
                # PyTorch's copy of so many numbers wakes a thread of each core and waits for all: 7 ms at times with 32 of them.
                np.copyto(pinned.numpy(), new.numpy())
                place.copy_(pinned, non_blocking=True)
        self.sent.record()
