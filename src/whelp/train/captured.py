"""Work that a GPU repeats, recorded once as a CUDA graph: replaying it costs the processor one call instead of thousands.

With few tokens at a time a GPU waits for the processor to name the next kernel; a replay names all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Inputs = Sequence["torch.Tensor | None"]
Shapes = list["torch.Size | None"]


def get_shapes(inputs: Inputs) -> Shapes:
    """The sizes of tensors, some of which may be missing."""
    return [None if tensor is None else tensor.shape for tensor in inputs]


class CapturedCall:
    """A function of tensors whose sizes never change, and whose results are left in place (gradients, sums).

    Making one runs the function once to warm up the stream (libraries), undoes what that left behind, and records it.
    """

    def __init__(self, function: Callable[..., None], inputs: Inputs, undo: Callable[[], None]) -> None:
        device = next(tensor.device for tensor in inputs if tensor is not None)
        self.inputs = [None if tensor is None else tensor.clone() for tensor in inputs]
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            function(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(side)
        undo()
        torch.cuda.empty_cache()  # the graph has memory of its own: what steps before it took would lie idle beside it
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            function(*self.inputs)

    def fits(self, inputs: Inputs) -> bool:
        """Whether the sizes are those that were recorded."""
        return get_shapes(inputs) == get_shapes(self.inputs)

    def __call__(self, inputs: Inputs) -> None:
        """Do the recorded work on other contents; `inputs` may lie in pinned memory of the processor."""
        for own, new in zip(self.inputs, inputs, strict=True):
            if own is not None and new is not None:
                own.copy_(new, non_blocking=True)
        self.graph.replay()
