"""DOCX: paragraphs of a Word document."""

from __future__ import annotations

import re

from whelp.collect.folder.archive import Archive, parse_xml

_HEADING = re.compile(r"(?i:heading|berschrift|titre|título|titolo|kop|rubrik)\s*([1-6])\Z|([1-6])\Z")


class _Paragraphs:
    """Text of `w:p` elements; cells of a table's row are joined by tabs."""

    def __init__(self) -> None:
        self.parts: list[str] = []  # of the text, each with what separates it from the one before
        self._line: list[str] = []
        self._row: list[str] = []
        self._num_rows = 0  # that are open: tables nest
        self._num_copies = 0  # of what follows in another form, for old programs
        self._prefix = ""
        self._was_item = self._is_text = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "Fallback":
            self._num_copies += 1
        elif name == "t":
            self._is_text = not self._num_copies
        elif name == "tab":
            self._line.append("\t")
        elif name in ("br", "cr"):
            self._line.append("\n")
        elif name == "tr":
            self._num_rows += 1
        elif name == "pStyle":
            match = _HEADING.search(attributes.get("w:val", ""))
            self._prefix = "#" * int(match[1] or match[2]) + " " if match else ""
        elif name == "numPr":
            self._prefix = "- "

    def end(self, name: str) -> None:
        if name == "Fallback":
            self._num_copies -= 1
        elif name == "t":
            self._is_text = False
        elif name == "p":
            line = "".join(self._line).strip()
            self._line.clear()
            if line and self._num_rows:
                self._row.append(line)
            elif line:
                self._add(self._prefix + line, is_item=self._prefix == "- ")
            self._prefix = ""
        elif name == "tr":
            self._num_rows -= 1
            if self._row and not self._num_rows:
                self._add("\t".join(self._row), is_item=False)
                self._row = []

    def _add(self, line: str, *, is_item: bool) -> None:
        separator = "" if not self.parts else "\n" if is_item and self._was_item else "\n\n"
        self.parts.append(separator + line)
        self._was_item = is_item

    def text(self, data: str) -> None:
        if self._is_text:
            self._line.append(data)


def read_docx(data: bytes, max_unpacked_bytes: int) -> str:
    """Make text of a Word document: headings with `#`, list items with `-`; headers, footnotes and comments are left out.

    Raises:
        LeftOut: When it is damaged, encrypted, or unpacks to too much.
    """
    made = _Paragraphs()
    with Archive(data, max_unpacked_bytes) as archive:
        parse_xml(archive.read("word/document.xml"), made.start, made.end, made.text)
    return "".join(made.parts)
