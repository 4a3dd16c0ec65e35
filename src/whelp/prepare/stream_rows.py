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
from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_column import TokenColumn
from whelp.base.seeds import make_seed
from whelp.prepare.concat_rows import ConcatRows
from whelp.prepare.row_layout import ROWS_AT_ONCE, Numbering
from whelp.prepare.row_order import shuffle_indices


@dataclass(frozen=True)
class _Pass:
    """The documents of one epoch: which comes k-th, and where it ends in the epoch; empty documents are left out."""

    documents: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """A stretch of the endless stream, and one token more: piece i, a document or what of it lies here, begins at `begins[i]`.

    `ids` and `mask` are where the pieces are in the memory of the two columns. Row r's first token is in piece `pieces[r]`, and
    what its last one predicts in piece `pieces[r + 1]`.
    """

    begins: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.int64] | None
    pieces: list[int]
    numbering: Numbering | None


@dataclass(frozen=True, kw_only=True)
class StreamRows(ConcatRows):
    """Rows cut from shuffled documents. In the store's order (for evaluation) they are those of `concat`.

    Rows that follow each other are one run of the stream: a few slices of the store end to end, read as ids, and one token
    later as targets.
    """

    _passes: dict[tuple[int, int], _Pass] = field(default_factory=dict, repr=False, compare=False)

    def _read_shuffled(self, first: int, count: int, seed: int) -> RowBatch:
        shape = (count, self.context_tokens)
        if not count:
            nothing = np.empty(shape, np.int64)
            return RowBatch(nothing, nothing.copy(), np.empty(shape, np.int32) if self.isolates else None)
        begin, inside = first // ROWS_AT_ONCE * ROWS_AT_ONCE, first % ROWS_AT_ONCE
        if inside + count > ROWS_AT_ONCE:
            stretch, inside = self._find_stretch(first, count, seed), 0
        else:
            stretch = self._layouts.find((begin, seed), lambda: self._find_stretch(begin, ROWS_AT_ONCE, seed))
        low, high = stretch.pieces[inside], stretch.pieces[inside + count] + 1
        place, num_tokens = inside * self.context_tokens, count * self.context_tokens + 1
        begins, lengths = stretch.begins[low:high] - place, stretch.lengths[low:high].copy()
        skipped = -int(begins[0])  # of the piece that the first row begins in
        lengths[-1] = num_tokens - begins[-1]
        lengths[0] -= skipped
        tokens = _join(self.split.ids, stretch.ids[low:high], lengths, skipped)
        ids, targets = tokens[:-1].astype(np.int64), tokens[1:].astype(np.int64)
        if stretch.mask is not None:
            mask = _join(self.split.mask, stretch.mask[low:high], lengths, skipped)
            np.copyto(targets, IGNORED, where=mask[1:] == 0)
        documents = None
        if stretch.numbering is not None:
            targets[begins[1:] - 1] = IGNORED
            documents = stretch.numbering.read(inside, shape)
        return RowBatch(ids.reshape(shape), targets.reshape(shape), documents)

    def find_stored(self, numbers: npt.NDArray[np.int64], seed: int, *, is_mixed: bool = False) -> npt.NDArray[np.int64] | None:
        """As `PackedRows` has it: every epoch has rows of its own."""
        return None

    def _find_pieces_in_order(self, number: int, seed: int) -> list[tuple[int, int, int]]:
        split, num_tokens = self.split, self.split.num_tokens
        place, stop = number * self.context_tokens, (number + 1) * self.context_tokens
        pieces: list[tuple[int, int, int]] = []
        while place < stop:
            epoch, inside = divmod(place, num_tokens)
            end = min(stop - epoch * num_tokens, num_tokens)
            starts, lengths = self._find_pieces_of_pass(epoch, inside, end, seed)
            documents = np.searchsorted(split.document_ends, starts, side="right")
            inner = starts - split.document_starts(documents)
            pieces += zip(documents.tolist(), inner.tolist(), lengths.tolist(), strict=True)
            place = epoch * num_tokens + end
        return pieces

    def _find_stretch(self, first: int, count: int, seed: int) -> _Stretch:
        """What rows number `first` .. are made of."""
        split, length, num_tokens = self.split, self.context_tokens, self.split.num_tokens
        place, stop = first * length, (first + count) * length + 1
        parts = []
        while place < stop:
            epoch, inside = divmod(place, num_tokens)
            parts.append(self._find_pieces_of_pass(epoch, inside, min(stop - epoch * num_tokens, num_tokens), seed))
            place = epoch * num_tokens + min(stop - epoch * num_tokens, num_tokens)
        starts, lengths = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        begins = np.cumsum(lengths) - lengths
        numbering = None
        if self.isolates:
            inner = begins[begins < count * length]  # the first may be no document's, but a row's first token begins one anyway
            numbering = Numbering.count_begins(inner // length, inner % length, count, length)
        return _Stretch(
            begins=begins,
            lengths=lengths,
            ids=split.ids.find_places(starts),
            mask=split.mask.find_places(starts) if split.has_mask else None,
            pieces=(np.searchsorted(begins, np.arange(count + 1) * length, side="right") - 1).tolist(),
            numbering=numbering,
        )

    def _find_pieces_of_pass(
        self, epoch: int, begin: int, end: int, seed: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The pieces of an epoch's places begin .. end - 1: start in the store, and length."""
        found = self._find_pass(epoch, seed)
        low, high = (
            int(np.searchsorted(found.ends, begin, side="right")),
            int(np.searchsorted(found.ends, end, side="left")) + 1,
        )
        ends = np.minimum(found.ends[low:high], end)
        begins = np.concatenate([[begin], ends[:-1]])
        starts = self.split.document_starts(found.documents[low:high])
        starts[0] += begin - (int(found.ends[low - 1]) if low else 0)
        return starts, ends - begins

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


def _join(
    column: TokenColumn, sources: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], skipped: int
) -> npt.NDArray[Any]:
    """Pieces end to end, the first of them without so many of its values."""
    if skipped:
        sources = sources.copy()
        sources[0] += skipped
    return column.join(sources, lengths)
