"""Numbers with their nouns, as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from whelp.base.errors import ConfigError

_MOST_LISTED = 5


def say_count(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not one.

    >>> say_count(1, "document"), say_count(0, "row"), say_count(12_345, "batch"), say_count(2, "query")
    ('1 document', '0 rows', '12,345 batches', '2 queries')
    """
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch", "sh")):
        noun = f"{noun}es"
    elif noun.endswith("y") and noun[-2] not in "aeiou":
        noun = f"{noun[:-1]}ies"
    else:
        noun = f"{noun}s"
    return f"{number:,} {noun}"


def check_count(name: str, count: object) -> None:
    """Refuse what is no number of things, of an argument that must be one.

    Raises:
        ConfigError: When it is below 1, or no whole number.
    """
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise ConfigError(name, [f"is {count!r}, but expected a whole number, at least 1"])


def say_bytes(num_bytes: float) -> str:
    """1234567 -> '1.2 MB'"""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes:.0f} bytes"


def say_duration(seconds: float) -> str:
    """75 -> '1 min 15 s'"""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def list_some(names: Sequence[str]) -> str:
    """The first few of many.   ['a', 'b'] -> 'a, b'

    >>> list_some(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - _MOST_LISTED:,} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
