"""Text that cannot be seen, made visible."""

from __future__ import annotations

_SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


def make_visible(text: str) -> str:
    r"""Show white space and control characters as signs, for tables of tokens.

    >>> print(make_visible(" a\tb\n" + chr(7) + chr(0x200B)))
    ␣a⇥b⏎\x07\u200b
    """
    return "".join(_SIGNS.get(character) or _escape(character) for character in text)


def make_readable(text: str) -> str:
    r"""Show control characters as signs, and leave white space as it is, for texts that are read.

    >>> print(make_readable("a b" + chr(7)))
    a b\x07
    """
    return "".join(character if character in " \n\t" else _escape(character) for character in text)


def cut_short(text: str, most: int) -> str:
    """The beginning of a text, in at most so many characters; a sign says that it goes on.

    >>> cut_short("a longer text", 8), cut_short("a text", 8)
    ('a longe…', 'a text')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    point = ord(character)
    return f"\\x{point:02x}" if point < 256 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
