"""Rows longer than what is trained at a time: truncated back-propagation through time.

A row is read chunk by chunk. A recurrent model carries its state from chunk to chunk; any other reads every chunk as a row of
its own. With `bptt_truncated_learning` each chunk has its own backward pass and the state is cut off from it, so memory is that
of a chunk, whatever the row's length; without, one backward pass goes through all chunks and the states between them.
Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories".
Shapes: B rows, T tokens in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from whelp.artifacts.document_starts import find_starts
from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED

LossAndState = Callable[[torch.Tensor, torch.Tensor, Any, torch.Tensor | None], tuple[torch.Tensor, Any]]


class ChunkSettings(Protocol):
    """How rows are cut; `TrainConfig` has these."""

    @property
    def bptt_tokens(self) -> int | None: ...
    @property
    def bptt_learning_range(self) -> int: ...
    @property
    def bptt_truncated_learning(self) -> bool: ...


@dataclass(frozen=True)
class Chunk:
    """Some tokens of every row, from `start` on."""

    start: int
    stop: int
    is_trained: bool  # its targets, or the states of later chunks, ask for a gradient


def limit_targets(batch: RowBatch, settings: ChunkSettings) -> RowBatch:
    """Leave targets in the last `bptt_learning_range` chunks of each row alone; below 0: in all."""
    tokens, most = settings.bptt_tokens, settings.bptt_learning_range
    if tokens is None or most < 0:
        return batch
    is_target = batch.targets != IGNORED
    last = np.where(is_target.any(axis=1), is_target.shape[1] - 1 - is_target[:, ::-1].argmax(axis=1), 0)
    first = (last // tokens - most + 1) * tokens  # of what is learned, in each row
    is_kept = np.arange(is_target.shape[1]) >= first[:, None]
    return batch._replace(targets=np.where(is_kept, batch.targets, IGNORED))


def plan_chunks(batch: RowBatch, settings: ChunkSettings, *, num_chunks: int | None = None) -> list[Chunk]:
    """The chunks of a batch up to the last target, or `num_chunks`; one for all where rows are not cut."""
    width = batch.ids.shape[1]
    tokens = min(settings.bptt_tokens or width, width)
    has_target = [bool((batch.targets[:, start : start + tokens] != IGNORED).any()) for start in range(0, width, tokens)]
    if num_chunks is None:
        num_chunks = max((number for number, has in enumerate(has_target, 1) if has), default=1)
    goes_through = not settings.bptt_truncated_learning
    first = has_target.index(True) if True in has_target else 0
    if goes_through and settings.bptt_learning_range < 0:
        first = 0
    return [
        Chunk(number * tokens, min((number + 1) * tokens, width), has_target[number] or (goes_through and number >= first))
        for number in range(num_chunks)
    ]


def iter_losses(
    compute: LossAndState | None,
    compute_alone: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor],
    ids: torch.Tensor,
    targets: torch.Tensor,
    documents: torch.Tensor | None,
    chunks: list[Chunk],
    settings: ChunkSettings,
) -> Iterator[torch.Tensor]:
    """Losses in nats, each ready for its backward pass before the next is computed.

    Args:
        compute: Reads on from a state; None: the model has none, and `compute_alone` reads each chunk by itself.
    """
    if compute is None or len(chunks) == 1:
        for chunk in chunks:
            part = slice(chunk.start, chunk.stop)
            if chunk.is_trained:
                yield compute_alone(ids[:, part], targets[:, part], None if documents is None else documents[:, part])
        return
    starts = None if documents is None else find_starts(documents)  # there the state of the document before is forgotten
    state, total = None, None
    for chunk in chunks:
        part = slice(chunk.start, chunk.stop)
        with torch.set_grad_enabled(chunk.is_trained):
            nats, state = compute(ids[:, part], targets[:, part], state, None if starts is None else starts[:, part])
        if settings.bptt_truncated_learning:
            state = state.detach()
            if chunk.is_trained:
                yield nats
        elif chunk.is_trained:
            total = nats if total is None else total + nats
    if total is not None:
        yield total
