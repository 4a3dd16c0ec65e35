"""The plan `concat`: all documents end to end, cut into rows.

Row k holds the stream's tokens k*T .. k*T + T - 1, its targets are one token later. At the stream's end the last row is
padded, or dropped, or (`carry`) goes on at the stream's start: the remainder of one epoch opens the next, and where rows
are cut moves on a little with every epoch.
Shapes: B rows, T tokens in a row, N tokens of the split.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_column import TokenColumn
from whelp.base.seeds import make_seed
from whelp.prepare.row_layout import ROWS_AT_ONCE, Fixes, Numbering
from whelp.prepare.row_order import find_rows, order_rows, shuffle_indices
from whelp.prepare.rows import Fates, PackedRows, finish_windows

_BLOCK = 4096  # counters whose rows are found at once

_Borders = tuple[Fixes, Numbering]


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """Rows that are windows of the stream: where they begin in it, where their tokens and masks are in memory, their borders.

    `num_odd[i]` of the first i rows do not lie in one chunk of the store, or want more than there is.
    """

    starts: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.int64] | None
    num_odd: list[int]
    borders: _Borders | None


@dataclass(frozen=True, kw_only=True)
class ConcatRows(PackedRows):
    """Rows cut from the stream of all documents; `carries`: the remainder of an epoch opens the next."""

    carries: bool

    def read_in_order(self, first: int, count: int) -> RowBatch:
        """Rows as they lie in the store; the last one is padded."""
        return self._read_at(np.arange(first, min(first + count, self.num_rows)) * self.context_tokens, wraps=False)

    def _read_shuffled(self, first: int, count: int, seed: int) -> RowBatch:
        begin, inside = first // ROWS_AT_ONCE * ROWS_AT_ONCE, first % ROWS_AT_ONCE
        if inside + count > ROWS_AT_ONCE:
            return self._read_at(self._find_starts(first, count, seed), wraps=self.carries)

        windows = self._layouts.find((begin, seed), lambda: self._lay_out_windows(begin, seed))
        stop, length = inside + count, self.context_tokens
        if windows.num_odd[stop] > windows.num_odd[inside]:
            return self._read_at(windows.starts[inside:stop], wraps=self.carries, borders=windows.borders, first=inside)
        tokens = self.split.ids.read_windows(windows.ids[inside:stop], length + 1)
        mask = None if windows.mask is None else self.split.mask.read_windows(windows.mask[inside:stop], length + 1)
        batch = finish_windows(tokens, mask)
        return batch if windows.borders is None else _set_borders(batch, windows.borders, inside)

    def _lay_out_windows(self, first: int, seed: int) -> _Windows:
        """Everything about the rows from number `first` on."""
        split, length = self.split, self.context_tokens
        starts = self._find_starts(first, ROWS_AT_ONCE, seed)
        ids, is_inside = split.ids.find_windows(starts, length + 1)
        mask = None
        if split.has_mask:
            mask, is_mask_inside = split.mask.find_windows(starts, length + 1)
            is_inside &= is_mask_inside
        is_odd = ~is_inside | (starts + length >= split.num_tokens)
        return _Windows(
            starts=starts,
            ids=ids,
            mask=mask,
            num_odd=[0, *np.cumsum(is_odd).tolist()],
            borders=self._find_borders(starts, self.carries) if self.isolates else None,
        )

    def _find_starts(self, first: int, count: int, seed: int) -> npt.NDArray[np.int64]:
        """Stream positions at which rows number `first` .. of the endless order begin."""
        if not self.carries:
            return order_rows(first, count, self.num_rows, seed) * self.context_tokens
        blocks = range(first // _BLOCK, (first + count - 1) // _BLOCK + 1)
        found = [_find_carried_block(block * _BLOCK, self.split.num_tokens, self.context_tokens, seed) for block in blocks]
        start = first - blocks.start * _BLOCK
        return np.concatenate([np.empty(0, np.int64), *found])[start : start + count]

    def read_numbers(self, numbers: npt.NDArray[np.int64], seed: int) -> RowBatch:
        """Rows of these numbers of the endless training order, read at once."""
        if self.carries:
            return super().read_numbers(numbers, seed)
        return self._read_at(find_rows(numbers, self.num_rows, seed) * self.context_tokens, wraps=False)

    def _read_at(
        self, starts: npt.NDArray[np.int64], *, wraps: bool, borders: _Borders | None = None, first: int = 0
    ) -> RowBatch:
        """Rows that begin at these stream positions; number `first` .. of those whose `borders` are known."""
        split, length, num_tokens = self.split, self.context_tokens, self.split.num_tokens
        ending = np.flatnonzero(starts + length >= num_tokens)  # rows that want more than there is
        tokens = self._take(split.ids, starts, ending, wraps)
        mask = self._take(split.mask, starts, ending, wraps) if split.has_mask else None
        batch = finish_windows(tokens, mask)
        if self.isolates:
            batch = _set_borders(batch, self._find_borders(starts, wraps) if borders is None else borders, first)
        if not wraps:
            for row in ending.tolist():
                left = num_tokens - int(starts[row])
                batch.ids[row, left:] = self.pad_id
                batch.targets[row, left - 1 :] = IGNORED
                if batch.documents is not None:
                    batch.documents[row, left:] = -1
        return batch

    def _take(
        self, column: TokenColumn, starts: npt.NDArray[np.int64], ending: npt.NDArray[np.int64], wraps: bool
    ) -> npt.NDArray[Any]:
        """Windows of T + 1 values; after the stream's end it begins anew, or there are zeros."""
        length = self.context_tokens + 1
        if not len(ending):
            return column.take_windows(starts, length)
        windows = np.zeros((len(starts), length), dtype=column.dtype)
        whole = np.delete(np.arange(len(starts)), ending)
        if len(whole):
            windows[whole] = column.take_windows(starts[whole], length)
        for row in ending.tolist():
            filled = column.copy_into(int(starts[row]), windows[row])
            while wraps and filled < length:
                filled += column.copy_into(0, windows[row, filled:])
        return windows

    def _find_borders(self, starts: npt.NDArray[np.int64], wraps: bool) -> _Borders:
        """Where documents begin in rows of T tokens: before each, nothing is predicted."""
        ends, length = self.split.document_ends, self.context_tokens
        found_rows, found_columns = [], []
        for shift in (0, self.split.num_tokens) if wraps else (0,):  # the second time: after the stream's end
            local = starts - shift
            first, last = (np.searchsorted(ends, local + reach, side="right") for reach in (0, length))
            counts = last - first
            rows = np.repeat(np.arange(len(starts)), counts)
            which = np.arange(len(rows)) + np.repeat(first - np.cumsum(counts) + counts, counts)
            found_rows.append(rows)
            found_columns.append(ends[which] - local[rows])  # 0 where it is the stream's end that wraps, to T
        return find_borders(np.concatenate(found_rows), np.concatenate(found_columns), len(starts), length)

    def find_stored(self, numbers: npt.NDArray[np.int64], seed: int, *, is_mixed: bool = False) -> npt.NDArray[np.int64] | None:
        """As `PackedRows` has it; rows that carry a remainder into the next epoch begin at other places in each."""
        return None if self.carries else find_rows(numbers, self.num_rows, seed)

    def _find_pieces(self, index: int) -> list[tuple[int, int, int]]:
        start = index * self.context_tokens
        return self._find_pieces_between(start, min(start + self.context_tokens, self.split.num_tokens))

    def _find_pieces_in_order(self, number: int, seed: int) -> list[tuple[int, int, int]]:
        start, num_tokens = int(self._find_starts(number, 1, seed)[0]), self.split.num_tokens
        beyond = start + self.context_tokens - num_tokens  # these the next epoch's first tokens give
        if beyond <= 0:
            return self._find_pieces_between(start, start + self.context_tokens)
        return self._find_pieces_between(start, num_tokens) + self._find_pieces_between(0, beyond)

    def _find_pieces_between(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """The pieces of places start .. stop - 1 of all documents, end to end."""
        ends = self.split.document_ends
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(ends, stop, side="left"))
        pieces = []
        for document in range(first, last + 1):
            begin, end = int(ends[document - 1]) if document else 0, int(ends[document])
            if end > begin:
                pieces.append((document, max(start - begin, 0), min(end, stop) - max(begin, start)))
        return pieces

    def find_fates(self) -> Fates:
        """Every token but the first is a target; isolated, all but the first of each document."""
        num_tokens, length = self.split.num_tokens, self.context_tokens
        ends = self.split.document_ends
        begins = np.concatenate([np.zeros(min(len(ends), 1), np.int64), ends[:-1]])
        if self.carries:
            reached, positions, first = num_tokens, num_tokens, 0
        else:
            positions = self.num_rows * length
            reached, first = min(num_tokens, positions + 1), 1
        cut = (begins // length != (ends - 1) // length) & (ends > begins) & (begins < positions)
        if self.isolates:
            is_in = (ends > begins) & (begins < reached)
            first = int(is_in.sum())
            begins, ends = begins[is_in] + 1, np.minimum(ends[is_in], reached)
        else:
            begins, ends = np.array([first]), np.array([reached])
        return Fates(
            begins=begins,
            ends=ends,
            first=first,
            cut=0,
            cut_documents=int(cut.sum()),
            positions=positions,
            padding=max(positions - num_tokens, 0),
        )


def _set_borders(batch: RowBatch, borders: _Borders, first: int) -> RowBatch:
    """Keep documents apart in rows number `first` .. of those whose borders these are."""
    fixes, numbering = borders
    fixes.apply(batch.targets, first)
    return batch._replace(documents=numbering.read(first, batch.ids.shape))


def find_borders(rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], num_rows: int, length: int) -> _Borders:
    """What becomes of targets and numbers where documents begin in rows, at columns 0 to T."""
    is_target, is_input = columns > 0, columns < length
    ignored = np.full(int(is_target.sum()), IGNORED)
    return (
        Fixes.sort(rows[is_target], columns[is_target] - 1, ignored, num_rows),
        Numbering.count_begins(rows[is_input], columns[is_input], num_rows, length),
    )


@functools.lru_cache(maxsize=8)
def _find_carried_block(first: int, num_tokens: int, length: int, seed: int) -> npt.NDArray[np.int64]:
    """Where rows number first .. first + _BLOCK - 1 of the endless order begin in the stream.

    Laid end to end without an end, the stream is cut into rows 0, 1, 2 ...; epoch e has those that begin in its pass,
    ceil(e*N / T) .. ceil((e+1)*N / T) - 1, in an order of its own.
    """
    counters = np.arange(first, first + _BLOCK, dtype=np.int64)
    epochs = counters * length // num_tokens
    starts = np.empty_like(counters)
    for epoch in np.unique(epochs).tolist():
        chosen = epochs == epoch
        low, high = (-(-number * num_tokens // length) for number in (epoch, epoch + 1))
        rows = low + shuffle_indices(counters[chosen] - low, high - low, make_seed(seed, "epoch", epoch))
        starts[chosen] = rows * length - epoch * num_tokens
    starts.flags.writeable = False
    return starts
