"""All columns of a file of texts (CSV, a spreadsheet, a WET archive), to be written otherwise: what stands there, no guess at its type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from whelp.base.errors import SourceError
from whelp.corpus.columns import ColumnsFound, ListingShape
from whelp.corpus.encodings import BadFile
from whelp.corpus.open_file import SourceFile, open_checked
from whelp.corpus.row_shape import BadValue, RowShape
from whelp.corpus.row_window import Window
from whelp.corpus.rows import BadRows, Reading, find_format, iter_rows, name_unit

_BLOCK_BYTES = 16 << 20
_MOST_ROW_BYTES = 1 << 28
WRONG_ENCODING = "wrong encoding"
OF_SHEETS = ("several sheets", "no such sheet")


@dataclass(frozen=True)
class ReadingOptions:
    """How a file is read where it does not show it.

    As in `SourceConfig`: `encoding` of CSV and XML, `delimiter` of CSV, `sheet` of a spreadsheet; and which `element` of XML is a row.
    """

    encoding: str = "auto"
    delimiter: str | None = None
    sheet: str | None = None
    element: str | None = None


@dataclass(frozen=True)
class _TextColumns(RowShape):
    """Wants some columns, whatever is in them."""

    names: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.large_string()) for name in self.names])

    def find_bad(self, rows: pa.RecordBatch) -> dict[int, BadValue]:
        return {}


def iter_text_batches(
    path: Path, options: ReadingOptions, choose: Callable[[list[str]], Sequence[str]]
) -> Iterator[pa.RecordBatch]:
    """The rows of a file, some at a time.

    Args:
        choose: From the names of all columns to those that are wanted.

    Raises:
        SourceError: When it cannot be read, or at a row that cannot.
    """
    format = find_format(path)
    assert format is not None, path
    with explained(path):
        chosen = tuple(choose(_list_columns(make_reading(path, options, ListingShape()), format)))
    rows = iter_rows(format, make_reading(path, options, _TextColumns(chosen)))
    while True:
        with explained(path):
            some = next(rows, None)
        if some is None:
            return
        if some.batch.num_rows:
            yield some.batch


def make_reading(path: Path, options: ReadingOptions, shape: RowShape) -> Reading:
    """How all rows of a file are read; the first bad one stops it."""
    status = path.stat()
    format = find_format(path)
    file = SourceFile(path, str(path), status.st_size, status.st_mtime_ns, True, format)
    return Reading(
        lambda: open_checked(file, options.encoding),
        shape,
        None,
        BadRows(path, str(path), name_unit(format), stops=True),
        Window(),
        _BLOCK_BYTES,
        _MOST_ROW_BYTES,
        options.delimiter,
        sheet=options.sheet,
    )


def _list_columns(reading: Reading, format: str) -> list[str]:
    try:
        next(iter_rows(format, reading))
    except ColumnsFound as found:
        return list(found.columns)
    raise AssertionError("a shape that lists columns reads no row")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors with what to do about them where no recipe is."""
    try:
        yield
    except BadFile as error:
        next_step = "Correct it, or get a whole copy." if "data." in error.next_step else error.next_step
        if error.kind == WRONG_ENCODING:
            next_step = "Set encoding to the one it was written in, such as latin-1, cp1251, shift_jis, utf-16-le or gb18030."
        elif error.kind in OF_SHEETS:
            next_step = "Choose with --sheet."
        raise SourceError(path, error.reason, "a whole file of rows", next_step) from None
    except SourceError as error:
        next_step = "Correct the row." if "data." in error.next_step else error.next_step
        raise SourceError(error.where, error.found, error.expected, next_step) from None
