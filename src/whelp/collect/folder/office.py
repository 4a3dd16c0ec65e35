"""DOCX and ODT: paragraphs of documents of Word and LibreOffice."""

from __future__ import annotations

import re

from whelp.collect.folder.archive import Archive, parse_xml

_HEADING = re.compile(r"(?i:heading|berschrift|titre|título|titolo|kop|rubrik)\s*([1-6])\Z|([1-6])\Z")
_SILENT = ("note", "annotation", "tracked-changes", "deletion")  # footnotes, comments, what was deleted
_BLANKS = {"s": " ", "tab": "\t", "line-break": "\n"}
_MOST_BLANKS = 1000


class _Paragraphs:
    """The text as it grows: paragraphs, and rows of tables, whose cells are joined by tabs."""

    def __init__(self) -> None:
        self.parts: list[str] = []  # of the text, each with what separates it from the one before
        self._line: list[str] = []
        self._row: list[str] = []
        self._num_rows = 0  # that are open: tables nest
        self._prefix = ""
        self._was_item = False

    def _end_paragraph(self) -> None:
        line = "".join(self._line).strip()
        self._line.clear()
        if line and self._num_rows:
            self._row.append(line)
        elif line:
            self._add(self._prefix + line, is_item=self._prefix == "- ")
        self._prefix = ""

    def _end_row(self) -> None:
        self._num_rows -= 1
        if self._row and not self._num_rows:
            self._add("\t".join(self._row), is_item=False)
            self._row = []

    def _add(self, line: str, *, is_item: bool) -> None:
        separator = "" if not self.parts else "\n" if is_item and self._was_item else "\n\n"
        self.parts.append(separator + line)
        self._was_item = is_item


class _Docx(_Paragraphs):
    """Elements of WordprocessingML."""

    def __init__(self) -> None:
        super().__init__()
        self._num_copies = 0  # of what follows in another form, for old programs
        self._is_text = False

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
            self._end_paragraph()
        elif name == "tr":
            self._end_row()

    def text(self, data: str) -> None:
        if self._is_text:
            self._line.append(data)


class _Odt(_Paragraphs):
    """Elements of OpenDocument. White space runs together, but where an element says it."""

    def __init__(self) -> None:
        super().__init__()
        self._num_paragraphs = self._num_silent = 0  # that are open

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name in _SILENT:
            self._num_silent += 1
        elif name in ("p", "h"):
            self._num_paragraphs += 1
            level = attributes.get("text:outline-level", "1")
            self._prefix = "#" * int(level if level in tuple("123456") else 6) + " " if name == "h" else self._prefix
        elif name == "list-item":
            self._prefix = "- "
        elif name == "table-row":
            self._num_rows += 1
        elif name in _BLANKS and self._num_paragraphs and not self._num_silent:
            count = attributes.get("text:c", "1")
            self._line.append(_BLANKS[name] * (min(int(count), _MOST_BLANKS) if count.isdecimal() else 1))

    def end(self, name: str) -> None:
        if name in _SILENT:
            self._num_silent -= 1
        elif name in ("p", "h"):
            self._num_paragraphs -= 1
            if not self._num_paragraphs:
                self._end_paragraph()
        elif name == "table-row":
            self._end_row()

    def text(self, data: str) -> None:
        if self._num_paragraphs and not self._num_silent:
            self._line.append(re.sub(r"\s+", " ", data))


def read_odt(data: bytes, max_unpacked_bytes: int) -> str:
    """Make text of a document of LibreOffice, as `read_docx`; footnotes, comments and deleted text are left out.

    Raises:
        LeftOut: When it is damaged, encrypted, or unpacks to too much.
    """
    made = _Odt()
    with Archive(data, max_unpacked_bytes) as archive:
        parse_xml(archive.read("content.xml"), made.start, made.end, made.text)
    return "".join(made.parts)


def read_docx(data: bytes, max_unpacked_bytes: int) -> str:
    """Make text of a Word document: headings with `#`, list items with `-`; headers, footnotes and comments are left out.

    Raises:
        LeftOut: When it is damaged, encrypted, or unpacks to too much.
    """
    made = _Docx()
    with Archive(data, max_unpacked_bytes) as archive:
        parse_xml(archive.read("word/document.xml"), made.start, made.end, made.text)
    return "".join(made.parts)
