"""What many rows are made of, found for all of them at once; a batch of them is then read by a few slices.

Numpy takes a microsecond or two to be asked for anything, and a whole batch of 16 rows of 1,024 tokens can be copied in 30. So
the plans lay out a thousand rows at a time, and keep that for the batches that follow.
Shapes: R rows, B of them in a batch, T tokens in a row, P pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_store import TokenSplit

ROWS_AT_ONCE = 1024
Integers = npt.NDArray[np.int64]


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
        order = np.argsort(rows, kind="stable")
        offsets = np.searchsorted(rows[order], np.arange(num_rows + 1))
        return cls(rows=rows[order], columns=columns[order], values=values[order], offsets=offsets)

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


@dataclass(frozen=True, kw_only=True)
class RowLayout:
    """Rows made of pieces, in the order of rows: piece i is `lengths[i]` tokens at `columns[i]` of row `rows[i]`.

    `ids` and `mask` are where the pieces are in the memory of the two columns; the pieces of row r begin at `offsets[r]`.
    `filled` is how many tokens a row has.
    """

    rows: Integers
    columns: Integers
    lengths: Integers
    ids: Integers
    mask: Integers | None
    offsets: Integers
    filled: Integers
    fixes: Fixes
    numbering: Numbering | None

    def read(self, split: TokenSplit, first: int, count: int, *, width: int | None, pad_id: int) -> RowBatch:
        """Some rows, `width` tokens each; None: as many as the fullest of them has."""
        filled = self.filled[first : first + count].tolist()
        width = max(filled, default=1) if width is None else width
        low, high = self.offsets[first], self.offsets[first + count]
        lengths = self.lengths[low:high]
        places = (self.rows[low:high] - first) * width + self.columns[low:high]
        has_pads = sum(filled) < count * width
        ids = np.full(count * width, pad_id) if has_pads else np.empty(count * width, np.int64)
        split.ids.copy_places(self.ids[low:high], lengths, places, ids)
        if self.mask is None:
            targets = np.empty_like(ids)
            targets[:-1] = ids[1:]
        else:
            mask = np.zeros(len(ids) + 1, np.uint8)
            split.mask.copy_places(self.mask[low:high], lengths, places, mask)
            targets = np.where(mask[1:], np.append(ids[1:], 0), IGNORED)
        shape = (count, width)
        by_row = targets.reshape(shape)
        self.fixes.apply(by_row, first)
        if has_pads:
            for row, stop in enumerate(filled):
                if stop < width:
                    by_row[row, stop:] = IGNORED
        return RowBatch(ids.reshape(shape), by_row, None if self.numbering is None else self.numbering.read(first, shape))


def sort_distinct(values: Integers) -> Integers:
    """Places, none of them negative, as `np.unique` would give them, which takes several times as long.

    >>> sort_distinct(np.array([3, 1, 3])).tolist()
    [1, 3]
    """
    ordered = np.sort(values)
    return ordered[np.diff(ordered, prepend=-1) > 0]


def read_targets(split: TokenSplit, positions: Integers) -> Integers:
    """The tokens at these stream positions, as targets: IGNORED where the mask says so."""
    found = split.ids.take(positions).astype(np.int64)
    return np.where(split.mask.take(positions), found, IGNORED) if split.has_mask else found
