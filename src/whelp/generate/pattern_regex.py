"""A regular expression of Python, as the library writes one that makes automata of them: what it lets through, `re.fullmatch` does.

The two ways to write differ in what braces and signs within a class mean, and in which letters `\\w` and `\\S` are.
"""

from __future__ import annotations

import re
import warnings

from whelp.base.errors import PlanError

_LETTERS = r"\p{L}\p{N}_"  # \w of Python; of the library, marks that stand above a letter are letters, too
_NO_SPACES = r"\x1c-\x1f"  # white space of Python alone
_REPEATED = re.compile(r"\{(\d*)(,?)(\d*)\}")
_SIGNS_IN_CLASS = "[&~"  # of nested classes, and of what two have in common


def convert_regex(regex: str) -> str:
    r"""Write a regular expression of Python in the other way.

    >>> convert_regex(r'{"\w": [[\w-]{,3}}')
    '\\{"[\\p{L}\\p{N}_]": [\\[\\p{L}\\p{N}_-]{0,3}\\}'

    Raises: PlanError: When it is none of Python's.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of signs that may mean something else one day
            re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        raise PlanError("regex", f"{regex!r} is none ({error})", "a regular expression, as Python's re has them") from None
    written, place = "", 0
    while place < len(regex):
        sign = regex[place]
        if sign == "\\":
            written += _convert_escape(regex[place + 1])
            place += 2
        elif sign == "[":
            part, place = _convert_class(regex, place)
            written += part
        elif sign == "{" and (match := _REPEATED.match(regex, place)) and match.group() != "{}":
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
    if sign == "w":
        return _LETTERS if is_in_class else f"[{_LETTERS}]"
    if sign == "W":
        return f"[^{_LETTERS}]"
    if sign == "s":
        return rf"\s{_NO_SPACES}" if is_in_class else rf"[\s{_NO_SPACES}]"
    if sign == "S":
        return rf"[^\s{_NO_SPACES}]"
    if sign == "Z":
        return r"\z"
    return sign if sign in "<>" else f"\\{sign}"
