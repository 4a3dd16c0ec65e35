"""A regular expression of Python, as the library writes one that makes automata of them: what it lets through, `re.fullmatch` does.

The two ways to write differ in what braces and signs within a class mean, and in which letters `\\w`, `\\d` and `\\s` are: they have
tables of several years.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import cache

from whelp.base.errors import PlanError

_KINDS: dict[str, Callable[[str], bool]] = {
    "d": str.isdecimal,
    "w": lambda letter: letter.isalnum() or letter == "_",
    "s": str.isspace,
}
_REPEATED = re.compile(r"\{(?!\})(\d*)(,?)(\d*)\}")
_REFUSED = {  # what the other way to write has not, or means otherwise
    "a possessive quantifier": re.compile(r"(?:[*+?]|\{(?!\})\d*,?\d*\})\+"),
    "a comment": re.compile(r"\(\?#"),
    "the flag x": re.compile(r"\(\?[aiLmsu]*x"),
}
MOST_CHARACTERS = 1 << 14  # each may stand for a class of thousands of letters
_SIGNS_IN_CLASS = "[&~"  # of nested classes, and of what two have in common


def convert_regex(regex: str) -> str:
    r"""Write a regular expression of Python in the other way.

    >>> convert_regex(r'{"a": [[a&-]{,3}}')
    '\\{"a": [\\[a\\&-]{0,3}\\}'

    Raises: PlanError: When it is none of Python's, too long, or of a kind that the other way to write has not.
    """
    if len(regex) > MOST_CHARACTERS:
        raise PlanError("regex", f"it has {len(regex):,} characters", f"at most {MOST_CHARACTERS:,}", "Is it a choice?")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of signs that may mean something else one day
            re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        raise PlanError("regex", f"{regex!r} is none ({error})", "a regular expression, as Python's re has them") from None
    written, place = "", 0
    while place < len(regex):
        sign = regex[place]
        for what, form in _REFUSED.items():
            if form.match(regex, place):
                raise PlanError("regex", f"{what} at position {place} is not supported", "", "Write it without.")
        if sign == "\\":
            written += _convert_escape(regex[place + 1])
            place += 2
        elif sign == "[":
            part, place = _convert_class(regex, place)
            written += part
        elif sign == "{" and (match := _REPEATED.match(regex, place)):
            low, comma, high = match.groups()
            written += f"{{{low or 0}{comma}{high}}}"
            place = match.end()
        else:
            written += "\\" * (sign in "{}") + sign
            place += 1
    return written


def _convert_class(regex: str, place: int) -> tuple[str, int]:
    """A class in brackets, and the place after it."""
    start = re.compile(r"\[\^?\]?").match(regex, place)
    assert start is not None, f"no class at {place} of {regex!r}"
    written, place = start.group().replace("]", "\\]"), start.end()
    while regex[place] != "]":
        sign = regex[place]
        if sign == "\\":
            written += _convert_escape(regex[place + 1], is_in_class=True)
            place += 2
            continue
        is_doubled = sign == "-" and written.endswith("-")
        written += "\\" * (sign in _SIGNS_IN_CLASS or is_doubled) + sign
        place += 1
    return f"{written}]", place + 1


def _convert_escape(sign: str, *, is_in_class: bool = False) -> str:
    if sign.lower() in _KINDS:
        ranges = _write_kind(sign.lower())
        return ranges if is_in_class and sign.islower() else f"[{'^' * sign.isupper()}{ranges}]"
    if sign == "Z":
        return r"\z"
    return sign if sign in "<>" else f"\\{sign}"


@cache
def _write_kind(kind: str) -> str:
    is_of_kind = _KINDS[kind]
    return write_ranges(point for point in range(sys.maxunicode + 1) if is_of_kind(chr(point)))


def write_ranges(points: Iterable[int]) -> str:
    r"""Letters, by their numbers, for a class.

    >>> write_ranges([97, 99, 98, 120])
    'a-cx-x'
    """
    ranges: list[list[int]] = []
    for point in sorted(points):
        if ranges and point == ranges[-1][1] + 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join(f"{write_letter(chr(first))}-{write_letter(chr(last))}" for first, last in ranges)


def write_letter(letter: str) -> str:
    """A letter, by its number where it might be a sign."""
    return letter if letter.isalnum() else rf"\x{{{ord(letter):x}}}"
