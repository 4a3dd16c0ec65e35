"""The cells of a sheet of a spreadsheet, read in a process of its own: what a broken or hostile one makes of its reader stays there."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from whelp.base.errors import say_first_line
from whelp.corpus.compressed import damaged
from whelp.corpus.encodings import BadFile
from whelp.corpus.magic import find_kind_of_rows
from whelp.corpus.sheet_size import SheetLimits, check_size

_MOST_NAMED = 20
_HEAD_BYTES = 64
_BLOCK_ROWS = 1024
_BLOCK_CHARACTERS = 1 << 22
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_ZIP = b"PK"

Cells = list[Any]
Row = tuple[int, Cells | None]  # its number, from 1; None where it is too long


@dataclass(frozen=True)
class SheetShape:
    """What there is of a sheet: its first column, from 0, and which of the columns from there on hold anything."""

    left: int
    is_filled: list[bool]


def iter_sheet_cells(data: bytes, sheet_name: str | None, max_row_bytes: int, limits: SheetLimits) -> Iterator[Any]:
    """Yield the shape of the sheet that is asked for, or of the only one to be seen that holds anything; then its rows, in lists.

    Rows that are blank are left out.

    Raises:
        BadFile: When it is no spreadsheet, has no such sheet, or several and none is named, or would take too much memory.
    """
    import python_calamine as calamine

    check_size(data, limits)
    try:
        with calamine.CalamineWorkbook.from_filelike(io.BytesIO(data)) as book:
            sheet = _choose_sheet(book, calamine, sheet_name)
            yield SheetShape((sheet.start or (0, 0))[1], _find_filled(sheet))
            yield from _iter_blocks(sheet, max_row_bytes)
    except calamine.PasswordError:
        raise _encrypted() from None
    except calamine.CalamineError as error:
        raise _explain(data, error, limits) from None


def is_blank(cells: Cells) -> bool:
    """Whether cells hold nothing but white space."""
    return all(isinstance(value, str) and not value.strip() for value in cells)


def _find_filled(sheet: Any) -> list[bool]:
    is_filled: list[bool] = [False] * sheet.width
    unseen = set(range(sheet.width))
    for cells in sheet.iter_rows():
        if not unseen:
            break
        found = {place for place in unseen if not is_blank(cells[place : place + 1])}
        unseen -= found
        for place in found:
            is_filled[place] = True
    return is_filled


def _iter_blocks(sheet: Any, max_row_bytes: int) -> Iterator[list[Row]]:
    block: list[Row] = []
    num_characters = 0
    for number, cells in enumerate(sheet.iter_rows(), 1):
        if is_blank(cells):
            continue
        length = sum(len(value) for value in cells if isinstance(value, str))
        block.append((number, cells if length <= max_row_bytes else None))
        num_characters += min(length, max_row_bytes)
        if len(block) == _BLOCK_ROWS or num_characters > _BLOCK_CHARACTERS:
            yield block
            block, num_characters = [], 0
    if block:
        yield block


def _explain(data: bytes, error: Exception, limits: SheetLimits) -> BadFile:
    if "encrypted" in str(error).lower() or "EncryptedPackage".encode("utf-16-le") in data[: 1 << 20]:
        return _encrypted()
    if zipfile.is_zipfile(io.BytesIO(data)):  # and whole
        reason = (
            f"a spreadsheet that python-calamine cannot read: broken, or with more than {limits.max_cells:,} cells "
            f"({say_first_line(error)})"
        )
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
