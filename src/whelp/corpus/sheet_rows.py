"""Rows of a sheet of a spreadsheet (`.xlsx`, `.xlsm`, `.xlsb`, `.xls`, `.ods`), by the package python-calamine.

The first row that is not blank is the header. Every value is text: whole numbers as their digits, others in the fewest digits
that mean them, dates as ISO 8601 writes them; formulas have the value that they had when the file was saved.
"""

from __future__ import annotations

import datetime
from collections.abc import Generator, Iterator
from contextlib import closing
from importlib.util import find_spec
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from whelp.base.limited_process import Limits, OverLimitError, iterate_within
from whelp.corpus.encodings import BadFile
from whelp.corpus.header import select_by_header
from whelp.corpus.number_texts import write_number
from whelp.corpus.row_shape import too_long
from whelp.corpus.rows import NUM_HEAD_ROWS, Reading, Rows, make_rows
from whelp.corpus.sheet_cells import Row, SheetShape, is_blank, iter_sheet_cells
from whelp.corpus.sheet_size import AS_CSV, SheetLimits, too_much

LIMITS = SheetLimits()
_ROWS = 1024  # at a time
_NUM_LETTERS = 26


def iter_sheet_rows(reading: Reading) -> Iterator[Rows]:
    """Read the columns of a sheet; a row's number is the one that a spreadsheet shows beside it. The sheet is read whole.

    Raises:
        BadFile: When it is no spreadsheet, has no such sheet, or several and none is named, or none of the columns; or when
            the package that reads it is not installed, or it takes too much time or memory.
    """
    with closing(_iter_cells(reading)) as told:
        shape: SheetShape = next(told)
        filled = chain.from_iterable(told)
        header = list(reading.column_names) or _read_header(filled)
        head = list(islice(filled, NUM_HEAD_ROWS))
        if not reading.column_names:
            _check_header(header, head)
        names = _name_columns(header, shape)
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
                pa.array(
                    [_write(cells[place]) if cells and place < len(cells) else "" for _, cells in wanted], pa.large_string()
                )
                for place in places
            ]
            numbers = np.array([number for number, _ in wanted], np.int64)
            long = {index: too_long("a row", reading.max_row_bytes) for index, (_, cells) in enumerate(wanted) if cells is None}
            yield make_rows(selection, arrays, numbers, reading, found=long, is_checked=True)
            if reading.window.is_done:
                return


def _iter_cells(reading: Reading) -> Generator[Any]:
    """As `iter_sheet_cells`, within limits."""
    if find_spec("python_calamine") is None:
        reason = "a spreadsheet, and the package python-calamine, which reads it, is not installed"
        raise BadFile("spreadsheet", reason, 'Run `pip install "whelp[sheets]"`, or save it as CSV.')
    with reading.open_file() as stream:
        data = stream.read(LIMITS.max_bytes + 1)
    if len(data) > LIMITS.max_bytes:
        raise too_much(LIMITS)
    seconds = LIMITS.seconds + LIMITS.seconds_per_megabyte * len(data) / 1e6
    limits = Limits(seconds, LIMITS.max_memory_bytes)
    try:
        yield from iterate_within(limits, iter_sheet_cells, data, reading.sheet, reading.max_row_bytes, LIMITS)
    except OverLimitError as error:
        raise _over_limit(error, seconds) from None


def _over_limit(error: OverLimitError, seconds: float) -> BadFile:
    if error.limit == "time":
        reason = f"a spreadsheet that is not read after {seconds:,.0f} seconds, as some that are broken"
        return BadFile("unreadable", reason, "Open it and save it anew, or as CSV.")
    most = f"{LIMITS.max_memory_bytes / (1 << 30):g} GiB" if error.limit == "memory" else "there is, or breaks its reader"
    reason = f"a spreadsheet that takes more memory to read than {most}"
    next_step = "Delete cells that stand far from the others (Ctrl+End shows where they end), or long texts that stand in many."
    return BadFile("too large", reason, f"{next_step} {AS_CSV}")


def _read_header(filled: Iterator[Row]) -> list[str]:
    _, cells = next(filled, (0, []))
    if not cells:
        raise BadFile("no rows", "no header and no rows", "Give it a first row with the names of the columns.")
    return [_write(value).strip() for value in cells]


def _check_header(header: list[str], head: list[Row]) -> None:
    """A title above the header is no header."""
    if header[0] and not any(header[1:]) and head and not is_blank((head[0][1] or [])[1:]):
        reason = f"its first row names one column alone ({header[0]!r}), as a title would"
        raise BadFile("no header", reason, "Delete the rows above the names of the columns, or name the others, too.")


def _name_columns(header: list[str], shape: SheetShape) -> dict[int, str]:
    """The columns by their places; one without a name that holds anything has the letters that a spreadsheet shows above it."""
    names = {}
    for place, (name, is_filled) in enumerate(zip_longest(header, shape.is_filled, fillvalue="")):
        if name or is_filled:
            names[place] = name or _spell_column(shape.left + place)
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


def _look_at(place: int, head: list[Row]) -> pa.DataType:
    """Text where any of the first values is; a column of numbers is not taken for the one that holds text."""
    values = [cells[place] for _, cells in head if cells is not None and place < len(cells)]
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
