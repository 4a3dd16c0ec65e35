"""One new token for each row, in sizes that come again, so that a GPU can record the step once and then replay it.

A step of a small model is some hundred kernels, each of which takes the GPU less time than the processor needs to name it. A
CUDA graph names all of them at once, but knows one set of sizes and addresses. So rows are rounded up to a power of two, and
so is the length that attention looks at; ids and positions lie in the same place in every step.
Shapes: B rows (rounded up), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from whelp.model.decoding.key_value_cache import Cache
from whelp.model.language_model import LanguageModel

Work = Callable[[], torch.Tensor]
Recorder = Callable[[Work], Work]
"""Turns work on tensors that stay where they are into the same work, done faster. Its result is overwritten when it is done
again."""

LEAST_LENGTH = 256  # shorter attention is hardly faster, and each length is recorded anew


def round_up(size: int, *, least: int = 1, most: int) -> int:
    """The next power of two that is not below `least`; at most `most`.

    >>> [round_up(size, least=4, most=20) for size in (1, 4, 5, 16, 17, 20)]
    [4, 4, 8, 16, 20, 20]
    """
    assert 0 < size <= most, f"{size} of at most {most}"
    return min(max(1 << (size - 1).bit_length(), least), most)


class FixedStep:
    """A model's step of decoding over the first slots of a cache.

    Rows beyond those asked for are slots that hold other texts, or none: they are given a token where their next one goes, which
    is written over when it comes. A size is recorded when it is needed a second time.

    Args:
        record: How work is recorded; by default as a CUDA graph.
    """

    def __init__(self, model: LanguageModel, cache: Cache, record: Recorder | None = None) -> None:
        self._model, self._cache = model, cache
        self._record = record or GraphRecorder(cache.keys.device)
        self._inputs: dict[int, torch.Tensor] = {}  # by rows: ids and positions, (2, B)
        self._work: dict[tuple[int, int], Work | None] = {}  # by rows and length; None: seen once

    def __call__(self, ids: list[int] | torch.Tensor) -> torch.Tensor:
        """One more token for each of the first slots; their logits (len(ids), V). The processor waits for nothing."""
        lengths, capacity = self._cache.lengths, self._cache.capacity
        longest = max(lengths[: len(ids)]) + 1
        assert longest <= capacity, f"{longest} tokens do not fit a cache of {capacity}"
        num_rows = round_up(len(ids), most=len(lengths))
        num_all = round_up(longest, least=min(LEAST_LENGTH, capacity), most=capacity)
        positions = [min(length, capacity - 1) for length in lengths[:num_rows]]
        if num_rows not in self._inputs:
            self._inputs[num_rows] = torch.zeros(2, num_rows, dtype=torch.long, device=self._cache.keys.device)
        inputs = self._inputs[num_rows]
        inputs[0, : len(ids)].copy_(ids if isinstance(ids, torch.Tensor) else torch.tensor(ids), non_blocking=True)
        inputs[1].copy_(torch.tensor(positions), non_blocking=True)
        logits = self._find_work(num_rows, num_all)()
        for slot in range(len(ids)):
            lengths[slot] += 1
        return logits[: len(ids)]

    def _find_work(self, num_rows: int, num_all: int) -> Work:
        inputs, key = self._inputs[num_rows], (num_rows, num_all)

        def work() -> torch.Tensor:
            self._cache.prepare(inputs[1].unsqueeze(1), num_all)
            hidden = self._model.hidden(inputs[0].unsqueeze(1), self._cache)[:, 0]  # (B, D)
            return F.linear(hidden, self._model.head_weight)

        if key not in self._work:
            self._work[key] = None
            return work
        recorded = self._work[key]
        if recorded is None:
            recorded = self._work[key] = self._record(work)
        return recorded


class GraphRecorder:
    """Records work as CUDA graphs, which share their memory: only one of them is at work at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        """Do the work once on a stream of its own, as libraries want before it is recorded; then record it."""
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                work()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # thread_local: other threads may use the GPU meanwhile
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = work()

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay
