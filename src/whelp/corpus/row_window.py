"""`dataset_offset` and `dataset_length`: which rows of a source are wanted, in its order."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction


class Window:
    """Counts rows as they pass, and says which are wanted. One window serves one pass over the source.

    >>> window = Window(first=2, stop=4)
    >>> window.take(3), window.take(3), window.is_done
    ((2, 3), (0, 1), True)
    """

    def __init__(self, first: int = 0, stop: int | None = None) -> None:
        self._first, self._stop = first, stop
        self.position = 0

    @property
    def is_done(self) -> bool:
        """Whether no further row is wanted."""
        return self._stop is not None and self.position >= self._stop

    def look(self, count: int) -> tuple[int, int]:
        """Which of the next `count` rows are wanted: (first, end), from 0."""
        first = min(max(self._first - self.position, 0), count)
        end = count if self._stop is None else min(max(self._stop - self.position, 0), count)
        return first, max(first, end)

    def take(self, count: int) -> tuple[int, int]:
        """As `look`; and pass on."""
        wanted = self.look(count)
        self.position += count
        return wanted


def make_nothing() -> Window:
    """A window that wants no row, and so only counts."""
    return Window(first=1 << 62)


def make_window(offset: float | None, length: float | None, count_rows: Callable[[], int]) -> Window:
    """The rows asked for; `count_rows` is asked when one of them is a share.

    >>> window = make_window(0.29, 0.5, lambda: 100)
    >>> window.look(100)
    (29, 79)
    """

    def resolve(value: float) -> int:
        # As it is written: 0.29 of 100 rows are 29, though the float is a little less.
        return int(Fraction(str(value)) * count_rows()) if 0 < value < 1 else int(value)

    first = resolve(offset) if offset is not None and offset > 0 else 0
    stop = first + resolve(length) if length is not None and length > 0 else None
    return Window(first, stop)
