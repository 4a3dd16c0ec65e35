"""The plans `best_fit` and `none`: rows made of whole documents, or of the pieces of documents longer than a row.

A plan is four narrow arrays: which pieces a row has (`offsets`), and of each piece its document, start and length. A long
document is split into full rows and a rest; a rest of one token, and a document of one token, has nothing to predict and
takes no place.
Shapes: B rows, T tokens in a row, P pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_column import TokenColumn
from whelp.artifacts.token_store import TokenSplit
from whelp.base.seeds import make_seed
from whelp.prepare.best_fit import group_by_row, pack_best_fit
from whelp.prepare.order import find_rows, order_rows, shuffle_indices
from whelp.prepare.rows import Fates, PackedRows

_WINDOW_BATCHES = 64  # plan none: batches among which rows of similar length are put together


@dataclass(frozen=True)
class Pieces:
    """Pieces of documents; (P,) each, in dtypes as narrow as their values allow."""

    documents: npt.NDArray[Any]
    starts: npt.NDArray[Any]
    lengths: npt.NDArray[Any]

    def __getitem__(self, places: npt.NDArray[Any]) -> Pieces:
        return Pieces(self.documents[places], self.starts[places], self.lengths[places])


def make_pieces(split: TokenSplit, length: int, *, truncates: bool = False) -> Pieces:
    """Cut documents into pieces of at most `length` tokens; with `truncates`, only the first piece of each is kept."""
    sizes = np.diff(split.document_ends, prepend=0)
    num_full, rests = np.divmod(sizes, length)
    counts = num_full + (rests > 1)
    if truncates:
        counts = np.minimum(counts, 1)
    documents = np.repeat(np.arange(len(sizes), dtype=np.int32), counts)
    starts = (np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)) * length
    lengths = np.minimum(length, sizes[documents] - starts)
    return Pieces(documents, _narrow(starts), _narrow(lengths))


def _lay_out(values: npt.NDArray[Any], filled: npt.NDArray[np.int64], width: int, pad: int) -> npt.NDArray[Any]:
    """From values of all rows end to end, `filled[b]` of row b, to rows of `width`: (B, width)."""
    if len(values) == len(filled) * width:
        return values.reshape(len(filled), width)
    laid = np.full((len(filled), width), pad, dtype=values.dtype)
    for row, end, count in zip(laid, np.cumsum(filled).tolist(), filled.tolist(), strict=True):
        row[:count] = values[end - count : end]
    return laid


def _narrow(values: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


@dataclass(frozen=True, kw_only=True)
class PieceRows(PackedRows):
    """Rows made of pieces; `offsets[k]` is row k's first piece, (rows + 1,)."""

    pieces: Pieces
    offsets: npt.NDArray[np.int64]
    truncates: bool = False
    is_fixed_width: bool = True

    @classmethod
    def plan_best_fit(cls, split: TokenSplit, length: int, *, pad_id: int, isolates: bool) -> PieceRows:
        """Put pieces together so that rows are full, the longest first, each where it leaves the least room."""
        pieces = make_pieces(split, length)
        rows, num_rows = pack_best_fit(pieces.lengths, length)
        order, offsets = group_by_row(rows, num_rows)
        return cls(
            split=split,
            context_tokens=length,
            num_rows=num_rows,
            pad_id=pad_id,
            isolates=isolates,
            pieces=pieces[order],
            offsets=offsets,
        )

    def read_in_order(self, first: int, count: int) -> RowBatch:
        """Rows by the place of their first document in the store."""
        return self._assemble(np.arange(first, min(first + count, self.num_rows)))

    def _read_shuffled(self, first: int, count: int, seed: int) -> RowBatch:
        return self._assemble(order_rows(first, count, self.num_rows, seed))

    def read_numbers(self, numbers: npt.NDArray[np.int64], seed: int) -> RowBatch:
        """Rows of these numbers of the endless training order, read at once."""
        return self._assemble(find_rows(numbers, self.num_rows, seed))

    def _assemble(self, rows: npt.NDArray[np.int64]) -> RowBatch:
        """Read the pieces of these rows end to end, then lay them out as rows."""
        split = self.split
        counts = self.offsets[rows + 1] - self.offsets[rows]
        before = np.repeat(np.cumsum(counts) - counts, counts)  # pieces of earlier rows
        numbers = np.arange(len(before)) - before  # of documents inside their row
        pieces = self.pieces[np.repeat(self.offsets[rows], counts) + numbers]
        lengths = pieces.lengths.astype(np.int64)
        starts = split.document_starts(pieces.documents) + pieces.starts
        # what follows a piece: its document goes on in the store, or the next document in the row begins, or nothing
        goes_on = starts + lengths < split.document_ends[pieces.documents]
        is_followed = goes_on.copy()
        if not self.isolates:
            is_followed[:-1] |= (numbers[1:] > 0) & (pieces.starts[1:] == 0)
        ends = np.cumsum(lengths)
        ids = split.ids.take_pieces(starts, lengths).astype(np.int64)
        targets = self._find_following(split.ids, ids, starts, lengths, ends, goes_on)
        if split.has_mask:
            mask = split.mask.take_pieces(starts, lengths)
            targets = np.where(self._find_following(split.mask, mask, starts, lengths, ends, goes_on), targets, IGNORED)
        targets[ends[~is_followed] - 1] = IGNORED
        row_of = np.repeat(np.arange(len(rows)), counts)
        filled = np.bincount(row_of, weights=lengths, minlength=len(rows)).astype(np.int64)
        width = self.context_tokens if self.is_fixed_width else int(filled.max(initial=1))
        documents = None
        if self.isolates and not self._is_single:
            documents = _lay_out(np.repeat(numbers.astype(np.int32), lengths), filled, width, -1)
        return RowBatch(_lay_out(ids, filled, width, self.pad_id), _lay_out(targets, filled, width, IGNORED), documents)

    @staticmethod
    def _find_following(
        column: TokenColumn,
        values: npt.NDArray[Any],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        goes_on: npt.NDArray[np.bool_],
    ) -> npt.NDArray[Any]:
        """The value after each one; after a piece whose document goes on, the one that the store has there."""
        following = np.empty_like(values)
        following[:-1], following[-1:] = values[1:], 0
        if goes_on.any():
            stops = (starts + lengths)[goes_on]
            following[ends[goes_on] - 1] = column.take_pieces(stops, np.ones(len(stops), dtype=np.int64))
        return following

    @property
    def _is_single(self) -> bool:
        """Whether a row is one document: what comes after it are pads, which nothing before them sees."""
        return len(self.pieces.documents) == self.num_rows

    def _find_pieces(self, index: int) -> list[tuple[int, int, int]]:
        found = self.pieces[np.arange(self.offsets[index], self.offsets[index + 1])]
        return list(zip(found.documents.tolist(), found.starts.tolist(), found.lengths.tolist(), strict=True))

    def find_fates(self) -> Fates:
        """Within documents every token but the first is a target; not isolated, most firsts are, too."""
        split, pieces = self.split, self.pieces
        lengths = pieces.lengths.astype(np.int64)
        document_ends = split.document_ends[pieces.documents]
        begins = split.document_starts(pieces.documents) + pieces.starts
        ends = np.minimum(begins + lengths + 1, document_ends)
        num_filled = int((np.diff(split.document_ends, prepend=0) > 0).sum())
        trained_firsts = np.empty(0, dtype=np.int64)
        if not self.isolates:
            is_row_first = np.zeros(len(lengths) + 1, dtype=bool)
            is_row_first[self.offsets] = True
            is_end = begins + lengths == document_ends
            trained_firsts = begins[1:][~is_row_first[1:-1] & is_end[:-1] & (pieces.starts[1:] == 0)]
        num_pieces = np.bincount(pieces.documents, minlength=split.num_documents)
        lost = np.maximum(np.diff(split.document_ends, prepend=0) - self.context_tokens - 1, 0) if self.truncates else 0
        positions = self._count_positions()
        return Fates(
            begins=np.concatenate([begins + 1, trained_firsts]),
            ends=np.concatenate([ends, trained_firsts + 1]),
            first=num_filled - len(trained_firsts),
            cut=int(np.sum(lost)),
            cut_documents=int(((num_pieces > 1) | (lost > 0)).sum()),
            positions=positions,
            padding=positions - int(lengths.sum()),
        )

    def _count_positions(self) -> int:
        return self.num_rows * self.context_tokens


@dataclass(frozen=True, kw_only=True)
class DocumentRows(PieceRows):
    """One document a row. Rows of similar length are read together, so that a batch needs few pads.

    In each epoch the rows are shuffled; in every window of 64 batches they are sorted by length and cut into batches, and
    these are shuffled. `batch_rows` is what is read at a time; other counts give the same rows in the same order, padded more.
    """

    batch_rows: int
    _windows: dict[tuple[int, int, int], npt.NDArray[np.int64]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def plan(
        cls, split: TokenSplit, length: int, *, pad_id: int, batch_rows: int, truncates: bool, is_fixed_width: bool
    ) -> DocumentRows:
        """A row for every piece, in the store's order."""
        pieces = make_pieces(split, length, truncates=truncates)
        count = len(pieces.documents)
        return cls(
            split=split,
            context_tokens=length,
            num_rows=count,
            pad_id=pad_id,
            isolates=True,
            pieces=pieces,
            offsets=np.arange(count + 1, dtype=np.int64),
            truncates=truncates,
            is_fixed_width=is_fixed_width,
            batch_rows=batch_rows,
        )

    def _read_shuffled(self, first: int, count: int, seed: int) -> RowBatch:
        rows, place = [np.empty(0, dtype=np.int64)], first
        while place < first + count:
            epoch, inside = divmod(place, self.num_rows)
            begin, window = self._find_window(epoch, inside, seed)
            rows.append(window[inside - begin : inside - begin + first + count - place])
            place += len(rows[-1])
        return self._assemble(np.concatenate(rows))

    def _find_window(self, epoch: int, inside: int, seed: int) -> tuple[int, npt.NDArray[np.int64]]:
        """The window around an epoch's place: where it begins, and its rows in their order."""
        size = _WINDOW_BATCHES * self.batch_rows
        lead = -epoch * self.num_rows % self.batch_rows  # the batch that the epoch before began
        begin = 0 if inside < lead else lead + (inside - lead) // size * size
        end = min(lead if inside < lead else begin + size, self.num_rows)
        if (epoch, begin, seed) not in self._windows:
            self._windows.clear()
            rows = shuffle_indices(np.arange(begin, end), self.num_rows, make_seed(seed, "epoch", epoch))
            rows = rows[np.argsort(self.pieces.lengths[rows], kind="stable")]
            num_whole = len(rows) // self.batch_rows
            if num_whole > 1:
                batches = shuffle_indices(np.arange(num_whole), num_whole, make_seed(seed, "batches", epoch, begin))
                whole = rows[: num_whole * self.batch_rows].reshape(num_whole, self.batch_rows)
                rows = np.concatenate([whole[batches].ravel(), rows[num_whole * self.batch_rows :]])
            self._windows[epoch, begin, seed] = rows
        return begin, self._windows[epoch, begin, seed]

    def _count_positions(self) -> int:
        """Of the first epoch with the seed 0, when padded to the longest of a batch: other seeds differ a little."""
        if self.is_fixed_width:
            return super()._count_positions()
        size = _WINDOW_BATCHES * self.batch_rows
        lengths = self.pieces.lengths[shuffle_indices(np.arange(self.num_rows), self.num_rows, make_seed(0, "epoch", 0))]
        positions = 0
        for begin in range(0, self.num_rows, size):
            window = np.sort(lengths[begin : begin + size])
            starts = np.arange(0, len(window), self.batch_rows)
            sizes = np.minimum(self.batch_rows, len(window) - starts)
            positions += int((window[starts + sizes - 1].astype(np.int64) * sizes).sum())
        return positions
