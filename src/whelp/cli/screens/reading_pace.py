"""How far the reading of files has come, and when it will be done, told from what came of them.

What is made of a file has another size than the file: packed text is larger, the text of rows smaller. So the place is known by the
file that was reached last, and within it by how far that is read, or else by how much text files gave so far for each of their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

FindPosition = Callable[[int], int | None]
_ENOUGH = 0.05  # of all, after which one piece alone tells a pace


class ReadingPace:
    """Counts pieces of work in the order of the files that they are from."""

    def __init__(self, file_bytes: Sequence[int], *, now: float, find_position: FindPosition = lambda number: None) -> None:
        """`file_bytes` are the sizes of all files, in order; of one that is unknown, the size of all.

        `find_position` says how many bytes of a file are read so far; None where that is not known.
        """
        self._find_position = find_position
        self._ends = [0, *accumulate(file_bytes)]
        self.total = max(self._ends[-1], 1)
        self.done = 0.0  # bytes of files
        self._text = self._text_at_border = self._border = 0.0
        self._begin, self._from = now, 0.0  # when the pace is counted from, and what was done by then
        self._num_fresh = 0

    def wait(self, now: float) -> None:
        """Something else than reading was done until now."""
        if not self._num_fresh:
            self._begin = now

    def count(self, num_bytes: int, last_file: int | None, now: float, *, is_reused: bool = False) -> None:
        """A piece of `num_bytes` of text is done, the last of it from file number `last_file`; reused is what was done before."""
        begin, end = (0, self.total) if last_file is None else (self._ends[last_file], self._ends[last_file + 1])
        if begin > self._border:
            self._border, self._text_at_border = begin, self._text
        share = self._text_at_border / self._border if self._text_at_border else 1.0
        self._text += num_bytes
        position = None if last_file is None else self._find_position(last_file)
        reached = min(begin + position if position is not None else max(self.done + num_bytes / share, begin), end)
        self.done = max(self.done, reached)
        self._num_fresh += not is_reused
        if is_reused or (self._num_fresh == 1 and self.done < _ENOUGH * self.total):
            self._begin, self._from = now, self.done  # what opens and warms up is not the pace of all

    def find_bytes_per_second(self, now: float) -> float | None:
        """Bytes of files a second; None as long as too little is done to tell."""
        if now <= self._begin or self.done <= self._from:
            return None
        return (self.done - self._from) / (now - self._begin)

    def find_seconds_left(self, now: float) -> float | None:
        """How long the rest takes; None where that cannot be told, as in a packed file that holds more than it seemed to."""
        pace = self.find_bytes_per_second(now)
        if pace is None or self.done >= self.total:
            return None
        return (self.total - self.done) / pace
