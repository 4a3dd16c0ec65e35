r"""Escapes in the texts of a recipe: YAML in single quotes keeps `'\n'` as a backslash and an n."""

from __future__ import annotations

import re

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def decode_escapes(text: str) -> str:
    r"""Turn `\n`, `\t` and `\r` into what they stand for, and `\\` into one backslash; any other backslash stays.

    >>> decode_escapes(r"Input:\n"), decode_escapes(r"C:\\new \d")
    ('Input:\n', 'C:\\new \\d')
    """
    return re.sub(r"\\([ntr\\])", lambda found: _ESCAPES[found[1]], text)
