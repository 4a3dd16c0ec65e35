"""What a spreadsheet will take in memory, found before it is read: a few kilobytes can hold gigabytes, and one cell far off, too."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from xml.parsers import expat

from whelp.corpus.compressed import damaged
from whelp.corpus.encodings import BadFile

_BLOCK_BYTES = 1 << 20
_WHATEVER_IT_SAYS = 1 << 62
_REFERENCE = re.compile(r"([A-Z]{1,3})(\d{1,7})\Z")
# A cell in a column from CR on, the 96th: with fewer, all rows of a spreadsheet are not too many cells. Or one that has no place.
_FAR = re.compile(rb'r="(?:C[R-Z]|[D-Z][A-Z]|[A-Z]{3})\d|<(?:\w+:)?c(?:>|\s(?!r="))')
_OPEN_DOCUMENT, _MANIFEST, _ENCRYPTED = "content.xml", "META-INF/manifest.xml", b"encryption-data"
_FAR_BYTES = 32  # that show it
AS_CSV = "Save the sheet as CSV, which is read a part at a time."


@dataclass(frozen=True, kw_only=True)
class SheetLimits:
    """What a spreadsheet may take."""

    max_bytes: int = 1 << 31  # packed, or unpacked
    max_cells: int = 100_000_000  # as python-calamine has it for .ods
    max_memory_bytes: int = 4 << 30  # of the process that reads it
    seconds: float = 60.0  # until there are rows; and
    seconds_per_megabyte: float = 10.0  # of the file, more


def check_size(data: bytes, limits: SheetLimits) -> None:
    """Look through a spreadsheet. One that is no archive is bounded by its format; one that is broken is left to its reader.

    Raises:
        BadFile: When it would take too much.
    """
    with suppress(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError):
        _check_archive(zipfile.ZipFile(io.BytesIO(data)), limits)


def _check_archive(archive: zipfile.ZipFile, limits: SheetLimits) -> None:
    num_left = limits.max_bytes
    is_encrypted = _MANIFEST in archive.namelist() and any(_ENCRYPTED in block for block in _iter_blocks(archive, _MANIFEST))
    for member in archive.infolist():
        member.file_size = _WHATEVER_IT_SAYS
        has_far, end = False, b""
        for block in _iter_blocks(archive, member):
            num_left -= len(block)
            if num_left < 0:
                raise too_much(limits)
            has_far = has_far or _FAR.search(end + block) is not None
            end = block[-_FAR_BYTES:]
        if member.filename == _OPEN_DOCUMENT and not is_encrypted:
            _check_xml(_iter_blocks(archive, member))
        if has_far:
            _check_cells(_iter_blocks(archive, member), limits.max_cells)


def _check_xml(blocks: Iterable[bytes]) -> None:
    """The reader of OpenDocument waits for ever for what an element does not end with."""
    parser = expat.ParserCreate()
    try:
        for block in blocks:
            parser.Parse(block, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise damaged("data of a spreadsheet", Exception(f"{_OPEN_DOCUMENT} in it is no whole XML: {error}")) from None


def too_much(limits: SheetLimits) -> BadFile:
    """The error for a spreadsheet of which there is too much."""
    return BadFile("too large", f"a spreadsheet that unpacks to more than {limits.max_bytes / (1 << 30):g} GiB", AS_CSV)


def _iter_blocks(archive: zipfile.ZipFile, member: zipfile.ZipInfo | str) -> Iterator[bytes]:
    with archive.open(member) as stream:
        yield from iter(partial(stream.read, _BLOCK_BYTES), b"")


def _check_cells(blocks: Iterable[bytes], max_cells: int) -> None:
    """Look how far the cells of a sheet reach that hold anything; the reader keeps all between them."""
    row = column = last_row = last_column = 0  # from 1

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal row, column, last_row, last_column
        name = name.rpartition(":")[2]
        if name == "row":
            row, column = int(attributes.get("r", row + 1)), 0
        elif name == "c":
            column += 1
            reference = _REFERENCE.match(attributes.get("r", ""))
            if reference is not None:
                column, row = count_column(reference[1]), int(reference[2])
        elif name in ("v", "is"):
            last_row, last_column = max(last_row, row), max(last_column, column)
            if last_row * last_column > max_cells:
                reason = (
                    f"a sheet with cells in row {last_row:,} and in column {last_column:,}, and all between them lie in memory"
                )
                next_step = f"Delete those that stand far from the others (Ctrl+End shows where they end). {AS_CSV}"
                raise BadFile("too large", reason, next_step)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    with suppress(expat.ExpatError):  # its reader says what is wrong
        for block in blocks:
            parser.Parse(block, False)


def count_column(letters: str) -> int:
    """The number of a column, from 1, that a spreadsheet shows as letters.

    >>> [count_column(letters) for letters in ("A", "Z", "AA", "CR", "XFD")]
    [1, 26, 27, 96, 16384]
    """
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number
