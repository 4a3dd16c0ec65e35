"""Rows made of whole documents, or of the pieces of documents longer than a row: the plan `best_fit`, and what `none` shares with it.

A plan is four narrow arrays: which pieces a row has (`offsets`), and of each piece its document, start and length. A long
document is split into full rows and a rest; a rest of one token, and a document of one token, has nothing to predict and
takes no place.
Shapes: B rows, T tokens in a row, P pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_store import TokenSplit
from whelp.prepare.best_fit import group_by_row, pack_best_fit
from whelp.prepare.row_layout import ROWS_AT_ONCE, Fixes, Layout, Numbering, RowLayout, count_odd, read_targets
from whelp.prepare.row_order import find_rows, order_rows
from whelp.prepare.rows import Fates, PackedRows


@dataclass(frozen=True)
class DocumentPieces:
    """Pieces of documents; (P,) each, in dtypes as narrow as their values allow."""

    documents: npt.NDArray[Any]
    starts: npt.NDArray[Any]
    lengths: npt.NDArray[Any]

    def __getitem__(self, places: npt.NDArray[Any]) -> DocumentPieces:
        return DocumentPieces(self.documents[places], self.starts[places], self.lengths[places])


def make_pieces(split: TokenSplit, length: int, *, truncates: bool = False) -> DocumentPieces:
    """Cut documents into pieces of at most `length` tokens; with `truncates`, only the first piece of each is kept."""
    sizes = np.diff(split.document_ends, prepend=0)
    num_full, rests = np.divmod(sizes, length)
    counts = num_full + (rests > 1)
    if truncates:
        counts = np.minimum(counts, 1)
    documents = np.repeat(np.arange(len(sizes), dtype=np.int32), counts)
    starts = (np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)) * length
    lengths = np.minimum(length, sizes[documents] - starts)
    return DocumentPieces(documents, _narrow(starts), _narrow(lengths))


def _narrow(values: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


@dataclass(frozen=True, kw_only=True)
class PieceRows(PackedRows):
    """Rows made of pieces; `offsets[k]` is row k's first piece, (rows + 1,)."""

    pieces: DocumentPieces
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
        begin, inside = first // ROWS_AT_ONCE * ROWS_AT_ONCE, first % ROWS_AT_ONCE
        if inside + count > ROWS_AT_ONCE:
            return self._assemble(order_rows(first, count, self.num_rows, seed))
        layout = self._layouts.find((begin, seed), lambda: self._lay_out(order_rows(begin, ROWS_AT_ONCE, self.num_rows, seed)))
        return self._read_layout(layout, inside, count)

    def find_stored(self, numbers: npt.NDArray[np.int64], seed: int, *, is_mixed: bool = False) -> npt.NDArray[np.int64] | None:
        """As `PackedRows` has it."""
        return find_rows(numbers, self.num_rows, seed)

    def read_numbers(self, numbers: npt.NDArray[np.int64], seed: int) -> RowBatch:
        """Rows of these numbers of the endless training order, read at once."""
        return self._assemble(find_rows(numbers, self.num_rows, seed))

    def _assemble(self, rows: npt.NDArray[np.int64]) -> RowBatch:
        """Lay out and read these rows."""
        return self._read_layout(self._lay_out(rows), 0, len(rows))

    def _read_layout(self, layout: Layout, first: int, count: int) -> RowBatch:
        width = self.context_tokens if self.is_fixed_width else None
        return layout.read(self.split, first, count, width=width, pad_id=self.pad_id)

    def _lay_out(self, rows: npt.NDArray[np.int64]) -> Layout:
        """The pieces of these rows, and what is predicted at their ends."""
        split = self.split
        firsts = self.offsets[rows]
        counts = self.offsets[rows + 1] - firsts
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        row_of = np.repeat(np.arange(len(rows)), counts)
        numbers = np.arange(len(row_of)) - offsets[row_of]  # of documents inside their row
        pieces = self.pieces[firsts[row_of] + numbers]
        lengths = pieces.lengths.astype(np.int64)
        starts = split.document_starts(pieces.documents) + pieces.starts
        stops = starts + lengths
        passed = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])  # tokens before each piece, and in all
        filled = passed[offsets[1:]] - passed[offsets[:-1]]
        columns = passed[:-1] - passed[offsets[row_of]]
        # what follows a piece: its document goes on in the store, or the next document in the row begins, or nothing
        goes_on = stops < split.document_ends[pieces.documents]
        is_fixed = np.ones(len(starts), np.bool_)
        if not self.isolates:
            is_fixed[:-1] = goes_on[:-1] | (numbers[1:] == 0) | (pieces.starts[1:] != 0)
        values = np.full(len(starts), IGNORED)
        values[goes_on] = read_targets(split, stops[goes_on])
        numbering = None
        if self.isolates and not self._is_single:
            numbering = Numbering.pad(numbers, lengths, row_of, self.context_tokens - filled)
        return RowLayout(
            rows=row_of,
            columns=columns,
            lengths=lengths,
            ids=split.ids.find_places(starts),
            mask=split.mask.find_places(starts) if split.has_mask else None,
            offsets=offsets,
            filled=filled,
            num_odd=count_odd(split, starts[offsets[:-1]], self.context_tokens),
            fixes=Fixes.sort(row_of[is_fixed], (columns + lengths - 1)[is_fixed], values[is_fixed], len(rows)),
            numbering=numbering,
        )

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
