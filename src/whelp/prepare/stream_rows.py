"""The plan `stream`: documents in an order drawn anew every epoch, end to end without an end, cut into rows.

Row k holds the tokens k*T .. k*T + T - 1 of that endless stream, so a row that an epoch's last document does not fill goes
on with the next epoch's first. The state is k alone: an epoch's order is arithmetic, and where its documents begin is a
table that is made when the epoch is reached.
Shapes: B rows, T tokens in a row, N tokens of the split.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.row_batch import RowBatch
from whelp.base.seeds import make_seed
from whelp.prepare.concat_rows import ConcatRows
from whelp.prepare.order import shuffle_indices
from whelp.prepare.rows import finish_windows


@dataclass(frozen=True)
class _Pass:
    """The documents of one epoch: which comes k-th, and where it ends in the epoch; empty documents are left out."""

    documents: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class StreamRows(ConcatRows):
    """Rows cut from shuffled documents. In the store's order (for evaluation) they are those of `concat`."""

    _passes: dict[tuple[int, int], _Pass] = field(default_factory=dict, repr=False, compare=False)

    def _read_shuffled(self, first: int, count: int, seed: int) -> RowBatch:
        split, length, num_tokens = self.split, self.context_tokens, self.split.num_tokens
        place, stop = first * length, (first + count) * length + 1  # all rows of the batch, as one stretch
        parts = []
        while place < stop:
            epoch, inside = divmod(place, num_tokens)
            parts.append(self._find_stretch(epoch, inside, min(stop - epoch * num_tokens, num_tokens), seed))
            place = epoch * num_tokens + min(stop - epoch * num_tokens, num_tokens)
        starts, lengths, is_begin = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        windows = (count, length + 1)
        tokens = _cut(split.ids.take_pieces(starts, lengths), windows)
        mask = _cut(split.mask.take_pieces(starts, lengths), windows) if split.has_mask else None
        begins = None
        if self.isolates:
            flat = np.zeros(stop - first * length, dtype=bool)
            flat[np.cumsum(lengths) - lengths] = is_begin
            begins = _cut(flat, windows)
        return finish_windows(tokens, mask, begins)

    def _find_stretch(
        self, epoch: int, begin: int, end: int, seed: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The pieces of an epoch's places begin .. end - 1: start in the store, length, whether its document begins there."""
        found = self._find_pass(epoch, seed)
        low, high = (
            int(np.searchsorted(found.ends, begin, side="right")),
            int(np.searchsorted(found.ends, end, side="left")) + 1,
        )
        ends = np.minimum(found.ends[low:high], end)
        begins = np.concatenate([[begin], ends[:-1]])
        skipped = begin - (int(found.ends[low - 1]) if low else 0)
        starts = self.split.document_starts(found.documents[low:high])
        starts[0] += skipped
        is_begin = np.ones(len(starts), dtype=bool)
        is_begin[0] = skipped == 0
        return starts, ends - begins, is_begin

    def _find_pass(self, epoch: int, seed: int) -> _Pass:
        """An epoch's table, made when it is reached; the last two are kept, as a row may lie in two."""
        if (epoch, seed) not in self._passes:
            while len(self._passes) > 1:
                del self._passes[next(iter(self._passes))]
            count = self.split.num_documents
            documents = shuffle_indices(np.arange(count), count, make_seed(seed, "documents", epoch))
            lengths = self.split.document_ends[documents] - self.split.document_starts(documents)
            is_filled = lengths > 0
            self._passes[epoch, seed] = _Pass(documents[is_filled].astype(np.int32), np.cumsum(lengths[is_filled]))
        return self._passes[epoch, seed]


def _cut(values: npt.NDArray[Any], windows: tuple[int, int]) -> npt.NDArray[Any]:
    """A view of one stretch as rows that share their last value with the next one's first."""
    step = values.itemsize
    return np.lib.stride_tricks.as_strided(values, windows, ((windows[1] - 1) * step, step), writeable=False)
