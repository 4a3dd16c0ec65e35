"""The last pass: lines become headings, list items and paragraphs."""

from __future__ import annotations

import re
from typing import Literal

Headings = Literal["wiki", "markdown", "plain", "none"]
LINE_BREAK = "\x04"  # a break inside a paragraph, where lines of wikitext only wrap

_HEADING = re.compile(r"(={1,6})(.+?)\1[ \t]*\Z")
_MARKS = re.compile(r"[*#:;]+")
_LEFT_OVER = re.compile(r"(?:[,;:)]|\.(?!\.)|–)(?:[\s,;:.)–]+|(?=\Z))")
_MARGIN = " \t\u200b\ufeff" + LINE_BREAK
_BREAKS = re.compile(f"[ \t]*{LINE_BREAK}[ \t{LINE_BREAK}]*")
_RULE = re.compile(r"-{4,}")


class _Paragraphs:
    """Blocks of the text, as they grow; a heading waits until something stands below it."""

    def __init__(self, headings: Headings) -> None:
        self._headings = headings
        self._blocks: list[str] = []
        self._waiting: list[tuple[int, str]] = []
        self._lines: list[str] = []
        self._separator = " "
        self._marks = ""  # of the item before
        self._numbers: list[int] = []  # how many items of each depth there are in its list

    def end(self) -> None:
        """End the paragraph or the list."""
        if not self._lines:
            return
        if self._waiting:
            self._blocks += [self._show(level, title) for level, title in self._waiting if self._headings != "none"]
            self._waiting.clear()
        self._blocks.append(self._separator.join(self._lines))
        self._lines = []

    def add_heading(self, level: int, title: str) -> None:
        """A heading takes the place of those as deep or deeper with nothing below them."""
        self.end()
        self._marks = ""
        while self._waiting and self._waiting[-1][0] >= level:
            self._waiting.pop()
        self._waiting.append((level, title))

    def add_text(self, line: str) -> None:
        """A line of a paragraph."""
        if self._separator != " ":
            self.end()
            self._separator, self._marks = " ", ""
        self._lines.append(line)

    def add_as_it_stands(self, line: str) -> None:
        """A line whose break is kept, as a wiki keeps it where lines begin with a blank: programs, tables of characters."""
        if self._separator != LINE_BREAK:
            self.end()
            self._separator = LINE_BREAK
        self._lines.append(line)

    def add_item(self, marks: str, line: str) -> None:
        """An item of a list."""
        if self._separator != "\n":
            self.end()
            self._separator = "\n"
        depth = len(marks)
        if marks != self._marks:
            del self._numbers[_count_same(marks, self._marks) :]
            self._numbers += [0] * (depth - len(self._numbers))
            self._marks = marks
        self._numbers[-1] += 1
        sign = f"{self._numbers[-1]}. " if marks[-1] == "#" else "- "
        self._lines.append("  " * min(depth - 1, 8) + sign + line)

    def _show(self, level: int, title: str) -> str:
        if self._headings == "wiki":
            return f"{'=' * level} {title} {'=' * level}"
        return f"{'#' * level} {title}" if self._headings == "markdown" else title

    def join(self) -> str:
        """The text so far."""
        self.end()
        return "\n\n".join(self._blocks)


def _count_same(one: str, other: str) -> int:
    """How many characters two texts begin with together."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def lay_out(text: str, headings: Headings) -> str:
    """Make paragraphs, separated by one blank line; the rows that broken tables leave, and empty sections, are left out.

    >>> lay_out("One\\nline.\\n\\n== Dogs ==\\n* a\\n* b\\n\\n== Cats ==\\n", "wiki")
    'One line.\\n\\n== Dogs ==\\n\\n- a\\n- b'
    """
    made = _Paragraphs(headings)
    if LINE_BREAK in text:
        text = _BREAKS.sub(LINE_BREAK, text)
    lines = text.split("\n")
    for number, raw in enumerate(lines):
        line = raw.strip(_MARGIN)
        if not line:
            made.end()
            continue
        first = line[0]
        if first == "=" and (match := _HEADING.match(line)):
            title = match[2].strip()
            if title:
                made.add_heading(len(match[1]), title)
        elif first in "*#:;":
            _add_marked(made, line)
        elif first in "|!" or (first == "-" and _RULE.match(line)):
            _add_rest(made, line)
        elif raw[0] == " " and _has_neighbour(lines, number):
            made.add_as_it_stands(line)
        else:
            made.add_text(line)
    return made.join().replace(LINE_BREAK, "\n")


def _has_neighbour(lines: list[str], number: int) -> bool:
    """Whether the line before or behind begins with a blank, too: one by itself is more often what a template left."""
    neighbours = lines[max(0, number - 1) : number + 2]
    return sum(line[:1] == " " and not line.isspace() for line in neighbours) > 1


def _add_marked(made: _Paragraphs, line: str) -> None:
    match = _MARKS.match(line)
    assert match is not None, line
    marks, content = match[0], line[match.end() :].strip()
    if content and content[0] in ",;.:–)":  # an item whose first words were a template
        content = _LEFT_OVER.sub("", content)
    if not content or content[0] in "|!":
        return
    if marks[-1] in "*#":
        made.add_item(marks, content)
    else:  # a term, its definition, an indented line: a paragraph of its own
        made.end()
        made.add_text(content)
        made.end()


def _add_rest(made: _Paragraphs, line: str) -> None:
    """A row of a table that a template began, or a rule: no text; text may follow a rule on its line."""
    if line[0] == "-":
        content = line.lstrip("-").strip()
        made.end()
        if content:
            made.add_text(content)
    elif line[0] == "!" and "!!" not in line and "|" not in line and "=" not in line:
        made.add_text(line)
