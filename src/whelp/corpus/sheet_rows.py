"""Rows of a sheet of a spreadsheet (`.xlsx`, `.xlsm`, `.xlsb`, `.xls`, `.ods`), by the package python-calamine.

The first row that is not blank is the header. Every value is text: whole numbers as their digits, others in the fewest digits
that mean them, dates as ISO 8601 writes them; formulas have the value that they had when the file was saved.
"""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa

from whelp.corpus.compressed import damaged
from whelp.corpus.encodings import BadFile
from whelp.corpus.header import select_by_header
from whelp.corpus.magic import find_kind_of_rows
from whelp.corpus.number_texts import write_number
from whelp.corpus.rows import NUM_HEAD_ROWS, Reading, Rows, make_rows
from whelp.corpus.sheet_size import MOST_BYTES, MOST_CELLS, check_size, too_much

_ROWS = 1024  # at a time
_MOST_NAMED = 20
_NUM_LETTERS = 26
_HEAD_BYTES = 64
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_ZIP = b"PK"

Cells = list[Any]


def iter_sheet_rows(reading: Reading) -> Iterator[Rows]:
    """Read the columns of a sheet; a row's number is the one that a spreadsheet shows beside it. The sheet is read whole.

    Raises:
        BadFile: When it is no spreadsheet, has no such sheet, or several and none is named, or none of the columns; or when
            the package that reads it is not installed.
    """
    with _open_sheet(reading) as sheet:
        left = (sheet.start or (0, 0))[1]
        filled = ((number, cells) for number, cells in enumerate(sheet.iter_rows(), 1) if not _is_blank(cells))
        header = list(reading.column_names) or _read_header(filled)
        head = list(islice(filled, NUM_HEAD_ROWS))
        if not reading.column_names:
            _check_header(header, head)
        names = _name_columns(header, sheet, left)
        if reading.column_names and len(names) != len(header):
            found = f"has {len(names)} columns, but data.column_names has {len(header)} names"
            raise BadFile("no text column", found, "Name every column, in order.")
        schema = pa.schema([(name, _look_at(place, head)) for place, name in names.items()])
        selection = select_by_header(reading, schema)
        places = [next(place for place, name in names.items() if name == field.name) for field in selection.schema]
        rows = chain(head, filled)
        while some := list(islice(rows, _ROWS)):
            first, end = reading.window.take(len(some))
            wanted = some[first:end]
            arrays = [
                pa.array([_write(cells[place]) if place < len(cells) else "" for _, cells in wanted], pa.large_string())
                for place in places
            ]
            numbers = np.array([number for number, _ in wanted], np.int64)
            yield make_rows(selection, arrays, numbers, reading, is_checked=True)
            if reading.window.is_done:
                return


@contextmanager
def _open_sheet(reading: Reading) -> Iterator[Any]:
    """The sheet that is asked for, or the only one to be seen that holds anything."""
    try:
        import python_calamine as calamine
    except ImportError:
        reason = "a spreadsheet, and the package python-calamine, which reads it, is not installed"
        raise BadFile("spreadsheet", reason, 'Run `pip install "whelp[sheets]"`, or save it as CSV.') from None
    with reading.open_file() as stream:
        data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise too_much()
        check_size(data)
        try:
            with calamine.CalamineWorkbook.from_filelike(io.BytesIO(data)) as book:
                yield _choose_sheet(book, calamine, reading.sheet)
        except calamine.PasswordError:
            raise _encrypted() from None
        except calamine.CalamineError as error:
            raise _explain(data, error) from None


def _explain(data: bytes, error: Exception) -> BadFile:
    if "encrypted" in str(error).lower() or "EncryptedPackage".encode("utf-16-le") in data[: 1 << 20]:
        return _encrypted()
    if zipfile.is_zipfile(io.BytesIO(data)):  # and whole
        reason = f"a spreadsheet that python-calamine cannot read: broken, or with more than {MOST_CELLS:,} cells ({error})"
        return BadFile("unreadable", reason, "Save it anew, or as CSV.")
    kind = find_kind_of_rows(data[:_HEAD_BYTES])
    if data.startswith((_ZIP, _OLD_OFFICE)) or kind is None:
        return damaged("data of a spreadsheet", error)
    return BadFile(kind.counted_as, f"{kind.name}, and no spreadsheet, though its name says so", kind.next_step)


def _encrypted() -> BadFile:
    return BadFile("encrypted", "a spreadsheet with a password", "Save it without one.")


def _choose_sheet(book: Any, calamine: Any, asked: str | None) -> Any:
    if asked is not None:
        if asked not in book.sheet_names:
            reason = f"has no sheet {asked!r}; it has {_join(book.sheet_names)}"
            raise BadFile("no such sheet", reason, "Correct data.sheet.")
        return book.get_sheet_by_name(asked)
    kind, visible = calamine.SheetTypeEnum.WorkSheet, calamine.SheetVisibleEnum.Visible  # others are pictures, or hidden
    seen = [sheet.name for sheet in book.sheets_metadata if sheet.typ == kind and sheet.visible == visible]
    filled = [sheet for sheet in map(book.get_sheet_by_name, seen) if sheet.start is not None]
    if len(filled) == 1:
        return filled[0]
    if not filled:
        raise BadFile("no rows", f"no sheet of it holds anything ({_join(book.sheet_names)})", "Name another file.")
    reason = f"has {len(filled)} sheets: {_join([sheet.name for sheet in filled])}"
    raise BadFile("several sheets", reason, f"Choose one: data.sheet={filled[0].name!r}.")


def _join(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _is_blank(cells: Cells) -> bool:
    return all(isinstance(value, str) and not value.strip() for value in cells)


def _read_header(filled: Iterator[tuple[int, Cells]]) -> list[str]:
    _, cells = next(filled, (0, []))
    if not cells:
        raise BadFile("no rows", "no header and no rows", "Give it a first row with the names of the columns.")
    return [_write(value).strip() for value in cells]


def _check_header(header: list[str], head: list[tuple[int, Cells]]) -> None:
    """A title above the header is no header."""
    if header[0] and not any(header[1:]) and head and not _is_blank(head[0][1][1:]):
        reason = f"its first row names one column alone ({header[0]!r}), as a title would"
        raise BadFile("no header", reason, "Delete the rows above the names of the columns, or name the others, too.")


def _name_columns(header: list[str], sheet: Any, left: int) -> dict[int, str]:
    """The columns by their places; one without a name that holds anything has the letters that a spreadsheet shows above it."""
    names = {}
    for place in range(max(sheet.width, len(header))):
        name = header[place] if place < len(header) else ""
        if name or any(not _is_blank(cells[place : place + 1]) for cells in sheet.iter_rows()):
            names[place] = name or _spell_column(left + place)
    return names


def _spell_column(place: int) -> str:
    """The letters of a column, counted from 0.

    >>> [_spell_column(place) for place in (0, 25, 26, 701)]
    ['A', 'Z', 'AA', 'ZZ']
    """
    letters = ""
    place += 1
    while place:
        place, letter = divmod(place - 1, _NUM_LETTERS)
        letters = chr(ord("A") + letter) + letters
    return letters


def _look_at(place: int, head: list[tuple[int, Cells]]) -> pa.DataType:
    """Text where any of the first values is; a column of numbers is not taken for the one that holds text."""
    values = [cells[place] for _, cells in head if place < len(cells)]
    filled = [value for value in values if not isinstance(value, str) or value.strip()]
    return pa.string() if not filled or any(isinstance(value, str) for value in filled) else pa.float64()


def _write(value: Any) -> str:
    """A cell as text.

    >>> [_write(value) for value in (7.0, 0.1, True, datetime.date(2024, 3, 1), "a")]
    ['7', '0.1', 'true', '2024-03-01', 'a']
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return write_number(int(value)) if value.is_integer() and abs(value) < 1 << 53 else repr(value)
    if isinstance(value, bool | int):
        return write_number(value)
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
