"""Tables as text: a line for each row, cells with a bar between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from whelp.collect.wikitext.lines import LINE_BREAK

Tables = Literal["drop", "rows"]

BEGINNING = "\x05"  # of a table's first line, so that later passes take it for text whatever stands there; goes in the end
_BARS = re.compile(r"\|\||!!")
_LINE_TAG = re.compile(r"</?(?:br|hr|p|div|li|ul|ol)\b[^<>]*>", re.IGNORECASE)
_HTML_ROW = re.compile(r"<(?:tr|caption)\b[^<>]*>", re.IGNORECASE)
_HTML_CELL = re.compile(r"<t[dh]\b([^<>]*)>", re.IGNORECASE)
_SPAN = re.compile(r"\b(row|col)span\s*=\s*[\"']?\s*(\d{1,5})", re.IGNORECASE)
_MOST_ROWS, _MOST_COLUMNS = 65_534, 1_000  # that a cell may span, as browsers have it
_MOST_ADDED = 8  # for each cell of a table, and once more: a few bytes may ask for millions
_HTML_EDGE = re.compile(r"</?(?:table|tbody|thead|tfoot|colgroup|col|tr|td|th|caption)\b[^<>]*>", re.IGNORECASE)
_MARKS = "*#:;"


@dataclass(frozen=True)
class _Cell:
    """A cell, and how many rows and columns it spans."""

    text: str
    num_rows: int = 1
    num_columns: int = 1


def show_table(content: str) -> str:
    r"""The rows of a table, given what stands between `{|` and `|}`; its templates and links are resolved already.

    What spans rows stands in each of them; what spans columns in the first of them, and the others are empty. The lines end in
    the mark of a line break.

    >>> show_table(" class=wikitable\n|+ Dogs\n! Name !! Age\n|-\n| align=left | Rex || 3\n|-\n").split(LINE_BREAK)
    ['\n\n\x05Dogs', 'Name | Age', 'Rex | 3\n\n']
    >>> show_table("\n|rowspan=2| Rex || 2024 || 3\n|-\n| 2025 || 4").split(LINE_BREAK)
    ['\n\n\x05Rex | 2024 | 3', 'Rex | 2025 | 4\n\n']
    """
    rows: list[list[list[str]]] = [[]]  # of each cell its lines
    for line in content.split("\n")[1:]:  # the first holds attributes of the table
        text = line.strip()
        if text.startswith("|+"):
            rows += [[[text[2:]]], []]
        elif text.startswith("|-"):
            rows.append([])
        elif text[:1] in ("|", "!"):
            cells = _BARS.split(text[1:]) if text[0] == "!" else text[1:].split("||")
            rows[-1] += [[cell] for cell in cells]
        elif rows[-1]:  # a cell goes on
            rows[-1][-1].append(text.lstrip(_MARKS))
    return _lay_out([[_read_cell(lines) for lines in row] for row in rows])


def _read_cell(lines: list[str]) -> _Cell:
    """What stands behind a single bar is text; what stands before it is about looks, as MediaWiki reads it."""
    before, bar, after = lines[0].partition("|")
    return _make_cell(before, [after, *lines[1:]]) if bar else _make_cell("", lines)


def _make_cell(attributes: str, lines: list[str]) -> _Cell:
    text = _clean_cell(" ".join(lines))
    if "span" not in attributes.lower():
        return _Cell(text)
    spans = {name.lower(): int(number) for name, number in _SPAN.findall(attributes)}
    num_rows = spans.get("row", 1) or _MOST_ROWS  # 0: to the end of the table
    return _Cell(text, min(num_rows, _MOST_ROWS), min(spans.get("col", 1) or 1, _MOST_COLUMNS))


def show_html_table(content: str) -> str:
    """The rows of a table written in HTML, given what stands between its tags."""
    rows = []
    for row in _HTML_ROW.split(content):
        first, *parts = _HTML_CELL.split(row)  # a caption, or what stands before the first cell
        cells = [_make_cell(attributes, [text]) for attributes, text in zip(parts[::2], parts[1::2], strict=True)]
        rows.append([_make_cell("", [first]), *cells] if first.strip() else cells)
    return _lay_out(rows)


def _lay_out(rows: list[list[_Cell]]) -> str:
    lines = []
    for own, cells in zip(rows, _spread(rows), strict=True):
        while cells and not cells[-1]:
            cells.pop()
        if any(cell.text for cell in own):
            lines.append(" | ".join(cells).lstrip())
    return f"\n\n{BEGINNING}{LINE_BREAK.join(lines)}\n\n" if lines else "\n"


def _spread(rows: list[list[_Cell]]) -> Iterator[list[str]]:
    """The texts of each row, each in its column."""
    spanning: dict[int, tuple[str, int]] = {}  # by column: what stands there in how many rows more
    left = _MOST_ADDED * (1 + sum(map(len, rows)))
    for row in rows:
        texts: list[str] = []
        if not row:  # no row for a browser either
            yield texts
            continue
        begun: dict[int, tuple[str, int]] = {}
        for cell in row:
            while len(texts) in spanning:
                texts.append(spanning[len(texts)][0])
            first = len(texts)
            texts.append(cell.text)
            while len(texts) - first < min(cell.num_columns, left) and len(texts) not in spanning:
                texts.append("")
            left -= len(texts) - first - 1
            if cell.num_rows > 1:
                begun[first] = cell.text, cell.num_rows
                begun |= dict.fromkeys(range(first + 1, len(texts)), ("", cell.num_rows))
        num_own = len(texts)
        for column in sorted(spanning):
            if len(texts) <= column < num_own + left:
                texts += [""] * (column - len(texts)) + [spanning[column][0]]
        left -= len(texts) - num_own + len(spanning)
        spanning = {column: (text, more - 1) for column, (text, more) in (spanning | begun).items() if more > 1}
        if left <= 0:
            spanning = {}
        yield texts


def _clean_cell(cell: str) -> str:
    text = _HTML_EDGE.sub(" ", _LINE_TAG.sub(" ", cell)).replace(BEGINNING, "").replace(LINE_BREAK, "; ")
    return " ".join(text.split())
