"""What was marked on a Kindle (`My Clippings.txt`): passages of books, without where and when they were marked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_BORDER = re.compile(r"^={10}[ \t]*(?:\n|\Z)", re.MULTILINE)
_BOOK = re.compile(r"(.*?)\s*\(([^()]*)\)\s*\Z")
_FEWEST_LINES = 3  # of an entry: book, place, a blank line


@dataclass
class MarkedBook:
    """A book, and its passages in the order in which they were marked."""

    title: str
    author: str | None
    passages: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """A passage a paragraph."""
        return "\n\n".join(self.passages)


def read_clippings(text: str) -> list[MarkedBook] | None:
    r"""The books of which anything was marked; None for another text. What was marked twice stands once.

    >>> read_clippings("Emma (Jane Austen)\n- Page 1 | Added today\n\nA passage.\n==========\n")[0]
    MarkedBook(title='Emma', author='Jane Austen', passages=['A passage.'])
    """
    *entries, rest = _BORDER.split(text.lstrip("\ufeff").replace("\r\n", "\n"))
    if not entries or rest.strip() or not all(map(_is_entry, entries)):
        return None
    books: dict[str, MarkedBook] = {}
    for entry in entries:
        name, _, *lines = entry.lstrip("\ufeff").split("\n")
        named = _BOOK.match(name.strip())
        title, author = (named[1], named[2]) if named and named[1] else (name.strip(), None)
        passage = "\n".join(lines).strip()
        book = books.setdefault(name.strip(), MarkedBook(title, author))
        if passage and passage not in book.passages:
            book.passages.append(passage)
    return [book for book in books.values() if book.passages]


def _is_entry(entry: str) -> bool:
    lines = entry.split("\n")
    return len(lines) >= _FEWEST_LINES and bool(lines[0].strip()) and lines[1].startswith("- ") and not lines[2].strip()
