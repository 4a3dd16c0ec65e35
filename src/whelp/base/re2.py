"""Regular expressions as RE2 has them, which Arrow uses: in time that grows with the text alone, without looking around."""

from __future__ import annotations

from whelp.base.errors import say_first_line


def find_pattern_problem(pattern: str) -> str | None:
    """Why RE2 cannot use a regular expression; None where it can.

    >>> find_pattern_problem("(?=a)")
    "'(?=a)' is not a pattern that RE2 knows: Invalid regular expression: invalid perl operator: (?="
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        return f"{pattern!r} is not a pattern that RE2 knows: {say_first_line(error)}"
    return None
