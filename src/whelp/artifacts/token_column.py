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

_VALUES_FOR_A_SLICE = 128  # in the time that a slice of its own takes, so many values are gathered one by one


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
        chunks = self._chunk_of(starts)
        places = starts + self._shifts[chunks]
        is_inside = starts + length <= self.starts[chunks + 1]
        if is_inside.all():
            whole: npt.NDArray[Any] = self._windows(length)[places]
            return whole
        found = np.empty((len(starts), length), dtype=self.dtype)
        for row, start in enumerate(starts.tolist()):
            filled = self.copy_into(start, found[row])
            assert filled == length, f"{filled} values at {start}, not {length}"
        return found

    def take(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The values at these stream positions."""
        found: npt.NDArray[Any] = self._reach.take(self.find_places(positions))
        return found

    def find_places(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where in the memory of the column these stream positions are."""
        places: npt.NDArray[np.int64] = positions + self._shifts[self._chunk_of(positions)]
        return places

    def copy_places(
        self,
        sources: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        out: npt.NDArray[Any],
    ) -> None:
        """Copy pieces: `lengths[i]` values from `sources[i]` on (of `find_places`; all in one chunk) to `out[places[i]:]`."""
        if not len(sources):
            return
        num_values, reach = int(lengths.sum()), self._reach
        if len(sources) * _VALUES_FOR_A_SLICE < num_values:
            for place, source, length in zip(places.tolist(), sources.tolist(), lengths.tolist(), strict=True):
                out[place : place + length] = reach[source : source + length]
            return
        inside = np.arange(num_values) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        out[np.repeat(places, lengths) + inside] = reach.take(np.repeat(sources, lengths) + inside)

    def _chunk_of(self, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if len(self.chunks) == 1:
            return np.zeros(len(starts), dtype=np.int64)
        return np.searchsorted(self.starts, starts, side="right") - 1

    def _windows(self, length: int) -> npt.NDArray[Any]:
        """Every run of `length` values of the reach, as the rows of one view."""
        reach, step = self._reach, self._reach.itemsize
        return np.lib.stride_tricks.as_strided(reach, (len(reach) - length + 1, length), (step, step), writeable=False)

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
