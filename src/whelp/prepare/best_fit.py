"""Best-fit-decreasing bin packing of millions of lengths, by counting.

The longest piece first, each into the row with the least room that still takes it (Johnson et al. 1974). Rows with equal
room are one group, pieces of equal length one count, so a step moves a whole group: "these 5,000 rows with room for 70
each take three pieces of 20". The number of steps depends on the row's length, not on the number of pieces; all that
touches single pieces is array work.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt


def pack_best_fit(lengths: npt.NDArray[Any], capacity: int) -> tuple[npt.NDArray[np.int32], int]:
    """The row of every piece, and how many rows there are. Rows are numbered by their first piece.

    Args:
        lengths: Of the pieces, each in 1 .. capacity.

    >>> pack_best_fit(np.array([3, 4, 2, 1]), 5)[0].tolist()
    [0, 1, 0, 1]
    """
    narrow = np.uint16 if capacity < 1 << 16 else np.uint32
    order = np.argsort(
        (capacity - lengths.astype(np.int64)).astype(narrow), kind="stable"
    )  # longest first; narrow numbers sort by radix
    rows = np.empty(len(lengths), dtype=np.int32)
    rows[order], num_rows = _pack_sorted(np.bincount(lengths, minlength=capacity + 1), capacity)
    first_pieces = np.empty(num_rows, dtype=np.int64)
    first_pieces[rows[::-1]] = np.arange(len(rows))[::-1]  # written last: the earliest piece of each row
    is_first = np.zeros(len(rows), dtype=bool)
    is_first[first_pieces] = True
    numbers = (np.cumsum(is_first, dtype=np.int32) - 1)[first_pieces]  # old number -> new number
    return numbers[rows], num_rows


def _pack_sorted(counts: npt.NDArray[np.int64], capacity: int) -> tuple[npt.NDArray[np.int32], int]:
    """Rows of `counts[n]` pieces of every length n, longest first."""
    rows = np.empty(int(counts.sum()), dtype=np.int32)
    groups: dict[int, deque[npt.NDArray[np.int32]]] = {}  # room -> the rows that have it
    rooms: list[int] = []  # the keys of `groups`, ascending
    num_rows = place = 0

    def put(room: int, group: npt.NDArray[np.int32]) -> None:
        if room and len(group):
            if room not in groups:
                groups[room] = deque()
                insort(rooms, room)
            groups[room].append(group)

    for length in np.flatnonzero(counts)[::-1].tolist():
        count = int(counts[length])
        while count:
            index = bisect_left(rooms, length)
            if index < len(rooms):
                room = rooms[index]
                group = groups[room].popleft()
                if not groups[room]:
                    del groups[room], rooms[index]
            else:
                room = capacity
                group = np.arange(num_rows, num_rows - (-count // (capacity // length)), dtype=np.int32)
                num_rows += len(group)
            each = room // length  # a row that took one piece has the least room for the next of the same length
            num_full = min(len(group), count // each)
            rows[place : place + num_full * each] = np.repeat(group[:num_full], each)
            place, count = place + num_full * each, count - num_full * each
            put(room - each * length, group[:num_full])
            if count and num_full < len(group):
                rows[place : place + count] = group[num_full]
                put(room - count * length, group[num_full : num_full + 1])
                place, count, num_full = place + count, 0, num_full + 1
            put(room, group[num_full:])
    return rows, num_rows


def group_by_row(rows: npt.NDArray[np.int32], num_rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pieces of each row side by side, as they came: the order of the pieces, and where each row begins (rows + 1)."""
    order = np.argsort((rows & 0xFFFF).astype(np.uint16), kind="stable")
    if num_rows > 1 << 16:  # two passes of radix sort, low half and high half: faster than one sort of wide numbers
        order = order[np.argsort((rows >> 16).astype(np.uint16)[order], kind="stable")]
    offsets = np.zeros(num_rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=num_rows), out=offsets[1:])
    return order, offsets
