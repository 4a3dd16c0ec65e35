"""All columns of a CSV file as text, to be written otherwise: what stands there, no guess at its type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from whelp.base.errors import SourceError
from whelp.corpus.columns import ColumnsFound, ListingShape
from whelp.corpus.csv_rows import iter_csv_rows
from whelp.corpus.encodings import BadFile
from whelp.corpus.open_file import SourceFile, open_checked
from whelp.corpus.row_shape import BadValue, RowShape
from whelp.corpus.row_window import Window
from whelp.corpus.rows import BadRows, Reading

_BLOCK_BYTES = 16 << 20
_MOST_ROW_BYTES = 1 << 28
WRONG_ENCODING = "wrong encoding"


@dataclass(frozen=True)
class CsvOptions:
    """How CSV is read where the file does not show it: as in `SourceConfig`."""

    encoding: str = "auto"
    delimiter: str | None = None


@dataclass(frozen=True)
class _TextColumns(RowShape):
    """Wants some columns, whatever is in them."""

    names: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.large_string()) for name in self.names])

    def find_bad(self, rows: pa.RecordBatch) -> dict[int, BadValue]:
        return {}


def iter_csv_batches(path: Path, options: CsvOptions, choose: Callable[[list[str]], Sequence[str]]) -> Iterator[pa.RecordBatch]:
    """The rows of a file, some at a time.

    Args:
        choose: From the names of all columns to those that are wanted.

    Raises:
        SourceError: When it cannot be read, or at a row that cannot.
    """
    status = path.stat()
    file = SourceFile(path, str(path), status.st_size, status.st_mtime_ns, True, path.suffix.lower().removeprefix("."))
    bad = BadRows(path, str(path), "row", stops=True)

    def read(shape: RowShape) -> Reading:
        return Reading(
            lambda: open_checked(file, options.encoding),
            shape,
            None,
            bad,
            Window(),
            _BLOCK_BYTES,
            _MOST_ROW_BYTES,
            options.delimiter,
        )

    assert file.format is not None, path
    with _explained(path):
        chosen = tuple(choose(_list_columns(read(ListingShape()), file.format)))
    rows = iter_csv_rows(read(_TextColumns(chosen)), file.format)
    while True:
        with _explained(path):
            some = next(rows, None)
        if some is None:
            return
        if some.batch.num_rows:
            yield some.batch


def _list_columns(reading: Reading, format: str) -> list[str]:
    try:
        next(iter_csv_rows(reading, format))
    except ColumnsFound as found:
        return list(found.columns)
    raise AssertionError("a shape that lists columns reads no row")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Errors with what to do about them where no recipe is."""
    try:
        yield
    except BadFile as error:
        next_step = "Correct it, or get a whole copy." if "data." in error.next_step else error.next_step
        if error.kind == WRONG_ENCODING:
            next_step = "Set encoding to the one it was written in, such as latin-1, cp1251, shift_jis, utf-16-le or gb18030."
        raise SourceError(path, error.reason, "a whole file of rows", next_step) from None
    except SourceError as error:
        next_step = "Correct the row." if "data." in error.next_step else error.next_step
        raise SourceError(error.where, error.found, error.expected, next_step) from None
