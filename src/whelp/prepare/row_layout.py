"""What many rows are made of, found for all of them at once; a batch of them is then read by a few slices.

Numpy takes a microsecond or two to be asked for anything, and a whole batch of 16 rows of 1,024 tokens can be copied in 30. So
the plans lay out thousands of rows at a time, and keep that for the batches that follow.
Shapes: R rows, B of them in a batch, T tokens in a row, P pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_column import VALUES_FOR_A_SLICE, TokenColumn
from whelp.artifacts.token_store import TokenSplit

ROWS_AT_ONCE = 4096
Integers = npt.NDArray[np.int64]


class Layout(Protocol):
    """Rows that are laid out, to be read."""

    def read(self, split: TokenSplit, first: int, count: int, *, width: int | None, pad_id: int) -> RowBatch:
        """Some of them, `width` tokens each; None: as many as the fullest of them has."""
        ...


class LayoutCache(dict[Hashable, Any]):
    """The last two layouts: a batch may lie in two."""

    def find(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The layout of this key, made when it is first asked for."""
        found = self.get(key)
        if found is None:
            found = make()
            for old in list(self)[:-1]:
                self.pop(old, None)
            self[key] = found
        return found


@dataclass(frozen=True, kw_only=True)
class Fixes:
    """Targets that are not the next token of the row: `values[i]` at `rows[i]`, `columns[i]`; those of row r from `offsets[r]` on."""

    rows: Integers
    columns: Integers
    values: Integers
    offsets: Integers

    @classmethod
    def sort(cls, rows: Integers, columns: Integers, values: Integers, num_rows: int) -> Fixes:
        """Put them into the order of rows."""
        if (rows[1:] < rows[:-1]).any():
            order = np.argsort(rows, kind="stable")
            rows, columns, values = rows[order], columns[order], values[order]
        offsets = np.searchsorted(rows, np.arange(num_rows + 1))
        return cls(rows=rows, columns=columns, values=values, offsets=offsets)

    def apply(self, targets: npt.NDArray[np.int64], first: int) -> None:
        """Set those of the rows from number `first` on, which are `targets` (B, T)."""
        low, high = self.offsets[first], self.offsets[first + len(targets)]
        targets[self.rows[low:high] - first, self.columns[low:high]] = self.values[low:high]


@dataclass(frozen=True, kw_only=True)
class Numbering:
    """The numbers of documents inside rows of T tokens, run by run; -1 for pads. The runs of row r begin at `offsets[r]`."""

    values: npt.NDArray[np.int32]
    counts: Integers
    offsets: Integers

    @classmethod
    def count_begins(cls, rows: Integers, columns: Integers, num_rows: int, length: int) -> Numbering:
        """0, 1, 2 ... inside each row, one more at each of these places. A row's first token begins one anyway."""
        row_places = np.arange(num_rows) * length
        places = sort_distinct(np.concatenate([row_places, rows * length + columns]))
        offsets = np.searchsorted(places, np.append(row_places, num_rows * length))
        numbers = np.arange(len(places)) - np.repeat(offsets[:-1], np.diff(offsets))
        counts = np.diff(places, append=num_rows * length)
        return cls(values=numbers.astype(np.int32), counts=counts, offsets=offsets)

    @classmethod
    def pad(cls, numbers: Integers, lengths: Integers, rows: Integers, num_pads: Integers) -> Numbering:
        """The number of each piece, in the order of rows, and at the end of each row its pads."""
        slots = np.arange(len(numbers)) + rows  # each row has one run more, for its pads
        values = np.full(len(numbers) + len(num_pads), -1, np.int32)
        counts = np.empty(len(values), np.int64)
        is_pad = np.ones(len(values), np.bool_)
        is_pad[slots] = False
        values[slots], counts[slots], counts[is_pad] = numbers, lengths, num_pads
        return cls(values=values, counts=counts, offsets=np.append(0, np.flatnonzero(is_pad) + 1))

    def read(self, first: int, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
        """The numbers of the rows from number `first` on: `shape` is (B, T)."""
        low, high = self.offsets[first], self.offsets[first + shape[0]]
        return np.repeat(self.values[low:high], self.counts[low:high]).reshape(shape)


class _Others(NamedTuple):
    """The pieces of all rows but the first of each, which are number `numbers`; those of row r begin at `offsets[r]`."""

    numbers: Integers
    rows: Integers
    columns: Integers
    lengths: Integers
    offsets: list[int]


@dataclass(frozen=True, kw_only=True)
class RowLayout:
    """Rows made of pieces, in the order of rows: piece i is `lengths[i]` tokens at `columns[i]` of row `rows[i]`.

    `ids` and `mask` are where the pieces are in the memory of the two columns; the pieces of row r begin at `offsets[r]`, each
    row has one. `filled` is how many tokens a row has. Of the first r rows, `num_odd[r]` begin so late in a chunk of the store
    that a whole row cannot be read there.
    """

    rows: Integers
    columns: Integers
    lengths: Integers
    ids: Integers
    mask: Integers | None
    offsets: Integers
    filled: Integers
    num_odd: list[int]
    fixes: Fixes
    numbering: Numbering | None

    @cached_property
    def _others(self) -> _Others:
        is_other = np.ones(len(self.rows), np.bool_)
        is_other[self.offsets[:-1]] = False
        offsets = self.offsets - np.arange(len(self.offsets))
        return _Others(
            np.flatnonzero(is_other), self.rows[is_other], self.columns[is_other], self.lengths[is_other], offsets.tolist()
        )

    def read(self, split: TokenSplit, first: int, count: int, *, width: int | None, pad_id: int) -> RowBatch:
        """Some rows, `width` tokens each; None: as many as the fullest of them has."""
        filled = self.filled[first : first + count].tolist()
        width = max(filled, default=1) if width is None else width
        has_pads = sum(filled) < count * width
        tokens = self._copy(split.ids, self.ids, first, count, width)
        targets = np.empty(count * width, np.int64)
        targets[:-1] = tokens[1:]  # what the last row ends with is among the fixes
        if self.mask is not None:
            mask = self._copy(split.mask, self.mask, first, count, width)
            np.copyto(targets[:-1], IGNORED, where=mask[1:] == 0)
        shape = (count, width)
        ids, by_row = tokens.astype(np.int64).reshape(shape), targets.reshape(shape)
        self.fixes.apply(by_row, first)
        if has_pads:
            for row, stop in enumerate(filled):
                if stop < width:
                    ids[row, stop:], by_row[row, stop:] = pad_id, IGNORED
        return RowBatch(ids, by_row, None if self.numbering is None else self.numbering.read(first, shape))

    def _copy(self, column: TokenColumn, sources: Integers, first: int, count: int, width: int) -> npt.NDArray[Any]:
        """The values of some rows, laid end to end; where there are pads, there is anything."""
        others, last = self._others, first + count
        low, high = others.offsets[first], others.offsets[last]
        if self.num_odd[last] > self.num_odd[first] or (high - low) * VALUES_FOR_A_SLICE > count * width:
            low, high = self.offsets[first], self.offsets[last]
            places = (self.rows[low:high] - first) * width + self.columns[low:high]
            return column.copy_places(sources[low:high], self.lengths[low:high], places, count * width)
        # A row's worth from where each row's first piece begins, all at once; then the other pieces are laid over that.
        copied = column.read_windows(sources[self.offsets[first:last]], width).reshape(-1)
        if high > low:
            places = (others.rows[low:high] - first) * width + others.columns[low:high]
            column.lay_over(copied, places, sources[others.numbers[low:high]], others.lengths[low:high])
        return copied


def sort_distinct(values: Integers) -> Integers:
    """Places, none of them negative, as `np.unique` would give them, which takes several times as long.

    >>> sort_distinct(np.array([3, 1, 3])).tolist()
    [1, 3]
    """
    ordered = np.sort(values)
    return ordered[np.diff(ordered, prepend=-1) > 0]


def count_odd(split: TokenSplit, starts: Integers, length: int) -> list[int]:
    """How many of the first 0, 1, 2 ... rows cannot be read as one run of `length` from `starts`, in every column."""
    columns = [split.ids, split.mask] if split.has_mask else [split.ids]
    is_odd = ~np.logical_and.reduce([column.find_windows(starts, length)[1] for column in columns])
    return [0, *np.cumsum(is_odd).tolist()]


def read_targets(split: TokenSplit, positions: Integers) -> Integers:
    """The tokens at these stream positions, as targets: IGNORED where the mask says so."""
    found = split.ids.take(positions).astype(np.int64)
    return np.where(split.mask.take(positions), found, IGNORED) if split.has_mask else found
