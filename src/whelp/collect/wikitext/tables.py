"""Tables as text: a line for each row, cells with a bar between them."""

from __future__ import annotations

import re
from typing import Literal

from whelp.collect.wikitext.lines import LINE_BREAK

Tables = Literal["drop", "rows"]

BEGINNING = "\x05"  # of a table's first line, so that later passes take it for text whatever stands there; goes in the end
_BARS = re.compile(r"\|\||!!")
_LINE_TAG = re.compile(r"</?(?:br|hr|p|div|li|ul|ol)\b[^<>]*>", re.IGNORECASE)
_HTML_ROW = re.compile(r"<(?:tr|caption)\b[^<>]*>", re.IGNORECASE)
_HTML_CELL = re.compile(r"<t[dh]\b[^<>]*>", re.IGNORECASE)
_HTML_EDGE = re.compile(r"</?(?:table|tbody|thead|tfoot|colgroup|col|tr|td|th|caption)\b[^<>]*>", re.IGNORECASE)
_MARKS = "*#:;"


def show_table(content: str) -> str:
    r"""The rows of a table, given what stands between `{|` and `|}`; its templates and links are resolved already.

    Which rows and columns a cell spans is lost: it stands where it begins. The lines end in the mark of a line break.

    >>> show_table(" class=wikitable\n|+ Dogs\n! Name !! Age\n|-\n| align=left | Rex || 3\n|-\n").split(LINE_BREAK)
    ['\n\n\x05Dogs', 'Name | Age', 'Rex | 3\n\n']
    """
    rows: list[list[list[str]]] = [[]]  # of each cell its lines
    for line in content.split("\n")[1:]:  # the first holds attributes of the table
        text = line.strip()
        if text.startswith("|+"):
            rows += [[[_without_attributes(text[2:])]], []]
        elif text.startswith("|-"):
            rows.append([])
        elif text[:1] in ("|", "!"):
            cells = _BARS.split(text[1:]) if text[0] == "!" else text[1:].split("||")
            rows[-1] += [[_without_attributes(cell)] for cell in cells]
        elif rows[-1]:  # a cell goes on
            rows[-1][-1].append(text.lstrip(_MARKS))
    return _lay_out([[" ".join(lines) for lines in row] for row in rows])


def _without_attributes(cell: str) -> str:
    """What stands behind a single bar; what stands before it is about looks, as MediaWiki reads it."""
    return cell.partition("|")[2] if "|" in cell else cell


def show_html_table(content: str) -> str:
    """The rows of a table written in HTML, given what stands between its tags."""
    rows = [_HTML_CELL.split(row) for row in _HTML_ROW.split(content)]
    return _lay_out([cells if cells[0].strip() else cells[1:] for cells in rows])


def _lay_out(rows: list[list[str]]) -> str:
    lines = []
    for row in rows:
        cells = [_clean_cell(cell) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if any(cells):
            lines.append(" | ".join(cells).lstrip())
    return f"\n\n{BEGINNING}{LINE_BREAK.join(lines)}\n\n" if lines else "\n"


def _clean_cell(cell: str) -> str:
    text = _HTML_EDGE.sub(" ", _LINE_TAG.sub(" ", cell)).replace(BEGINNING, "").replace(LINE_BREAK, "; ")
    return " ".join(text.split())
