"""The plan `none`: one document a row, or one piece of a document longer than a row.

A row is a run of the store, so a batch is a window of it for each row, one token longer than the row: what is one token later are
the targets. How rows are shuffled and put together by length is up to `DocumentRows`.
Shapes: B rows, T tokens in a row, R rows laid out at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_column import TokenColumn
from whelp.artifacts.token_store import TokenSplit
from whelp.base.seeds import make_seed
from whelp.prepare.piece_rows import PieceRows, make_pieces
from whelp.prepare.row_layout import Integers, Layout
from whelp.prepare.row_order import find_rows, order_rows, shuffle_indices

_WINDOW_BATCHES = 64  # batches among which rows of similar length are put together


@dataclass(frozen=True, kw_only=True)
class DocumentLayout:
    """Rows that are a run of the store each, (R,): `ids` and `mask` are where they begin in the memory of the two columns.

    Where `goes_on`, the document does after the row. Where `is_inside`, a whole row and one token more can be read there.
    """

    ids: Integers
    mask: Integers | None
    lengths: Integers
    goes_on: npt.NDArray[np.bool_]
    is_inside: npt.NDArray[np.bool_]

    def read(self, split: TokenSplit, first: int, count: int, *, width: int | None, pad_id: int) -> RowBatch:
        """Some rows, `width` tokens each; None: as many as the longest of them has."""
        here = slice(first, first + count)
        lengths = self.lengths[here].tolist()
        width = max(lengths, default=1) if width is None else width
        tokens = self._copy(split.ids, self.ids, here, width + 1)  # (B, T + 1)
        ids, targets = tokens[:, :-1].astype(np.int64), tokens[:, 1:].astype(np.int64)
        if self.mask is not None:
            targets[self._copy(split.mask, self.mask, here, width + 1)[:, 1:] == 0] = IGNORED
        for row, (stop, goes_on) in enumerate(zip(lengths, self.goes_on[here].tolist(), strict=True)):
            if not goes_on:  # one that does is of full length
                targets[row, stop - 1 :] = IGNORED
                if stop < width:
                    ids[row, stop:] = pad_id
        return RowBatch(ids, targets, None)

    def _copy(self, column: TokenColumn, places: Integers, here: slice, width: int) -> npt.NDArray[Any]:
        """The values from where the rows begin, `width` of each: behind a row's own, and one more, is anything."""
        if self.is_inside[here].all():
            return column.read_windows(places[here], width)
        sizes = self.lengths[here] + self.goes_on[here]
        starts = np.arange(len(sizes)) * width
        return column.copy_places(places[here], sizes, starts, len(sizes) * width).reshape(-1, width)


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

    # What there is to know of a row lies together: rows come in random order, and each array looked into is a miss of the cache.

    @cached_property
    def _starts(self) -> Integers:
        """Where each row begins in the store."""
        starts: Integers = self.split.document_starts(self.pieces.documents) + self.pieces.starts
        return starts

    @cached_property
    def _sizes(self) -> npt.NDArray[np.uint32]:
        """Of each row its length, twice, and one more where the document goes on."""
        lengths = self.pieces.lengths.astype(np.uint32)
        goes_on = self._starts + lengths < self.split.document_ends[self.pieces.documents]
        sizes: npt.NDArray[np.uint32] = 2 * lengths + goes_on
        return sizes

    def _read_shuffled(self, first: int, count: int, seed: int) -> RowBatch:
        if not count:
            return self._assemble(np.empty(0, np.int64))
        epoch, inside = divmod(first, self.num_rows)
        begin, window = self._find_window(epoch, inside, seed)
        if inside - begin + count <= len(window):
            layout = self._layouts.find((epoch, begin, seed), lambda: self._lay_out(window))
            return self._read_layout(layout, inside - begin, count)
        return self._assemble(self.find_stored(np.arange(first, first + count), seed))

    def find_stored(self, numbers: npt.NDArray[np.int64], seed: int, *, is_mixed: bool = False) -> npt.NDArray[np.int64]:
        """As `PackedRows` has it, of numbers that follow each other."""
        if is_mixed:
            return find_rows(numbers, self.num_rows, seed)
        rows, place, stop = [np.empty(0, dtype=np.int64)], int(numbers[0]), int(numbers[-1]) + 1
        while place < stop:
            epoch, inside = divmod(place, self.num_rows)
            begin, window = self._find_window(epoch, inside, seed)
            rows.append(window[inside - begin : inside - begin + stop - place])
            place += len(rows[-1])
        return np.concatenate(rows)

    def _find_window(self, epoch: int, inside: int, seed: int) -> tuple[int, npt.NDArray[np.int64]]:
        """The window around an epoch's place: where it begins, and its rows in their order."""
        size = _WINDOW_BATCHES * self.batch_rows
        lead = -epoch * self.num_rows % self.batch_rows  # the batch that the epoch before began
        begin = 0 if inside < lead else lead + (inside - lead) // size * size
        end = min(lead if inside < lead else begin + size, self.num_rows)
        if (epoch, begin, seed) not in self._windows:
            self._windows.clear()
            rows = order_rows(epoch * self.num_rows + begin, end - begin, self.num_rows, seed)
            lengths = (self._sizes[rows] >> 1).astype(self.pieces.lengths.dtype)  # 16 bits are sorted fastest
            rows = rows[np.argsort(lengths, kind="stable")]
            num_whole = len(rows) // self.batch_rows
            if num_whole > 1:
                batches = shuffle_indices(np.arange(num_whole), num_whole, make_seed(seed, "batches", epoch, begin))
                whole = rows[: num_whole * self.batch_rows].reshape(num_whole, self.batch_rows)
                rows = np.concatenate([whole[batches].ravel(), rows[num_whole * self.batch_rows :]])
            self._windows[epoch, begin, seed] = rows
        return begin, self._windows[epoch, begin, seed]

    def _lay_out(self, rows: npt.NDArray[np.int64]) -> Layout:
        """Where these rows are in the store."""
        split, starts, sizes = self.split, self._starts[rows], self._sizes[rows]
        lengths = (sizes >> 1).astype(np.int64)
        ids, is_inside = split.ids.find_windows(starts, self.context_tokens + 1)
        mask = None
        if split.has_mask:
            mask, is_mask_inside = split.mask.find_windows(starts, self.context_tokens + 1)
            is_inside &= is_mask_inside
        return DocumentLayout(
            ids=ids,
            mask=mask,
            lengths=lengths,
            goes_on=(sizes & 1).astype(np.bool_),
            is_inside=is_inside,
        )

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
