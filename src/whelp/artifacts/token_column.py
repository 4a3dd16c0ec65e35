"""One column of a split (ids, or the mask) as one long stream, read straight from the memory map.

Arrow keeps a column in chunks, each an array of its own somewhere in the same map. Reading many places at once wants a
single array, so `_reach` is one that goes from the lowest chunk to the highest; only addresses inside chunks are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

VALUES_FOR_A_SLICE = 128  # in the time that a slice of its own takes, so many values are gathered one by one


@dataclass(frozen=True)
class TokenColumn:
    """Values of all documents end to end; `chunks`, none of them empty, are views of the map that `owner` keeps open."""

    chunks: list[npt.NDArray[Any]]
    dtype: np.dtype[Any]
    owner: object

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """Stream position of each chunk's first value, and the number of all values; (chunks + 1,)."""
        return np.cumsum([0, *map(len, self.chunks)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def copy_into(self, start: int, out: npt.NDArray[Any]) -> int:
        """Copy values from stream position `start` into `out`; return how many there were."""
        index = int(np.searchsorted(self.starts, start, side="right")) - 1
        filled = 0
        while filled < len(out) and index < len(self.chunks):
            chunk = self.chunks[index]
            offset = start + filled - int(self.starts[index])
            piece = chunk[offset : offset + len(out) - filled]
            out[filled : filled + len(piece)] = piece
            filled += len(piece)
            index += 1
        return filled

    def take_windows(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[Any]:
        """The `length` values from each start on, which must be there: (B, length), a copy."""
        places, is_inside = self.find_windows(starts, length)
        if is_inside.all():
            return self.read_windows(places, length)
        found = np.empty((len(starts), length), dtype=self.dtype)
        for row, start in enumerate(starts.tolist()):
            filled = self.copy_into(start, found[row])
            assert filled == length, f"{filled} values at {start}, not {length}"
        return found

    def find_windows(self, starts: npt.NDArray[np.int64], length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Where in the memory of the column the `length` values from each start on are, and whether they lie in one chunk."""
        chunks = self._chunk_of(starts)
        return starts + self._shifts[chunks], starts + length <= self.starts[chunks + 1]

    def read_windows(self, places: npt.NDArray[np.int64], length: int) -> npt.NDArray[Any]:
        """The windows at these places (of `find_windows`; each in one chunk): (B, length), a copy."""
        windows = self._windows.get(length)
        if not len(places):  # perhaps since all that there is is shorter
            return np.empty((0, length), self.dtype)
        if windows is None:
            reach, step = self._reach, self._reach.itemsize
            shape = (len(reach) - length + 1, length)
            windows = np.lib.stride_tricks.as_strided(reach, shape, (step, step), writeable=False)
            self._windows[length] = windows
        copied: npt.NDArray[Any] = windows[places]
        return copied

    def take(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The values at these stream positions."""
        found: npt.NDArray[Any] = self._reach.take(self.find_places(positions))
        return found

    def find_places(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where in the memory of the column these stream positions are."""
        places: npt.NDArray[np.int64] = positions + self._shifts[self._chunk_of(positions)]
        return places

    def join(self, sources: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Pieces end to end: `lengths[i]` values from `sources[i]` on (of `find_places`; all in one chunk)."""
        reach, num_values = self._reach, int(lengths.sum())
        if 0 < len(sources) * VALUES_FOR_A_SLICE < num_values:
            pieces = zip(sources.tolist(), lengths.tolist(), strict=True)
            return np.concatenate([reach[source : source + length] for source, length in pieces])
        places = np.arange(num_values)
        places += np.repeat(sources - (np.cumsum(lengths) - lengths), lengths)
        joined: npt.NDArray[Any] = reach.take(places)
        return joined

    def copy_places(
        self,
        sources: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        num_places: int,
    ) -> npt.NDArray[Any]:
        """Copy pieces: `lengths[i]` values from `sources[i]` on (of `find_places`; all in one chunk) to `places[i]`.

        What lies between them is zeros. (num_places,).
        """
        copied = np.zeros(num_places, self.dtype)
        if not len(sources):
            return copied
        num_values = int(lengths.sum())
        if len(sources) * VALUES_FOR_A_SLICE < num_values:
            self.lay_over(copied, places, sources, lengths)
            return copied
        inside = np.arange(num_values) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        copied[np.repeat(places, lengths) + inside] = self._reach.take(np.repeat(sources, lengths) + inside)
        return copied

    def lay_over(
        self,
        target: npt.NDArray[Any],
        places: npt.NDArray[np.int64],
        sources: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
    ) -> None:
        """As `copy_places`, slice by slice, over what there is."""
        reach = self._reach
        for place, source, length in zip(places.tolist(), sources.tolist(), lengths.tolist(), strict=True):
            target[place : place + length] = reach[source : source + length]

    def _chunk_of(self, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if len(self.chunks) == 1:
            return np.zeros(len(starts), dtype=np.int64)
        return np.searchsorted(self.starts, starts, side="right") - 1

    @cached_property
    def _windows(self) -> dict[int, npt.NDArray[Any]]:
        """By length: every run of so many values of the reach, as the rows of one view."""
        return {}

    @cached_property
    def _lowest(self) -> int:
        return min(chunk.ctypes.data for chunk in self.chunks)

    @cached_property
    def _reach(self) -> npt.NDArray[Any]:
        highest = max(chunk.ctypes.data + chunk.nbytes for chunk in self.chunks)
        buffer = pa.foreign_buffer(self._lowest, highest - self._lowest, base=self.owner)
        return np.frombuffer(buffer, dtype=self.dtype)

    @cached_property
    def _shifts(self) -> npt.NDArray[np.int64]:
        """What to add to a stream position in each chunk to find its place in the reach."""
        addresses = np.array([chunk.ctypes.data for chunk in self.chunks], dtype=np.int64)
        places, rest = np.divmod(addresses - self._lowest, self.dtype.itemsize)
        assert not rest.any(), "chunks of a column are not aligned to each other"
        return places - self.starts[:-1]
