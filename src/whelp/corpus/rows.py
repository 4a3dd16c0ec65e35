"""Structured files: one row, one document. What a format's reader is told, what it gives, and what becomes of bad rows.

The formats are in `json_rows.py`, `csv_rows.py`, `sheet_rows.py`, `arrow_rows.py` and `wet_rows.py`; each reads in blocks or batches,
and gives `Rows`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.arrays import find_valid, to_arrow
from whelp.base.errors import SourceError
from whelp.corpus.any_values import is_any
from whelp.corpus.columns import Selection, iter_leaves, measure_texts, to_column
from whelp.corpus.compressed import split_name
from whelp.corpus.encodings import Inspection
from whelp.corpus.html_columns import read_html_column
from whelp.corpus.number_texts import count_numbers
from whelp.corpus.row_shape import NO_TEXT, BadValue, BadValueLike, RowShape
from whelp.corpus.row_window import Window

HEAD_BYTES = 1 << 20  # looked at for columns; a fixed size, so that blocks do not matter
NUM_HEAD_ROWS = 100
TABLE = "table"  # the format of rows that are no file: a frame, a dataset
MOST_RAW_CHARACTERS = 2000
SHEET = "sheet"
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".wet": "wet",
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), SHEET),
}

Open = Callable[[], Any]  # opens the file from its start; what pyarrow's readers take


@dataclass(frozen=True)
class Rows:
    """Good rows: the columns as delivered, and where each is: `numbers`, a line or a row, from 1."""

    batch: pa.RecordBatch
    numbers: npt.NDArray[np.int64]


@dataclass(frozen=True)
class BadRow:
    """A row that was skipped: where it is, why (`reason` to count by, `found` says more), and the start of it as it stands.

    `number` is a line or a row, from 1. `text` is None where the file does not hold rows as text.
    """

    file: str
    number: int
    reason: str
    found: str
    text: str | None


class UnfitRowError(SourceError):
    """A row that has no text where it is looked for: perhaps its whole file has not."""


class BadRows:
    """Stops at the first row that cannot be used, or keeps and counts such rows; counts what was made text, too."""

    def __init__(self, where: object, label: str, unit: str, *, stops: bool) -> None:
        self.where, self.label, self.unit = where, label, unit
        self.counts: Counter[str] = Counter()
        self.rows: list[BadRow] = []
        self.guess: Inspection | None = None  # where the encoding of the file was guessed
        self.find_line: Callable[[int], int | None] = lambda number: None  # on which a row begins, where lines are not counted
        self._stops = stops

    def add(self, number: int, value: BadValueLike, text: str | None = None, *, is_unfit: bool = False) -> None:
        """Note one bad row.

        Args:
            is_unfit: It has no text where it is looked for.

        Raises:
            SourceError: When bad rows are to stop the work.
        """
        if self._stops:
            remedy = value.remedy if isinstance(value, BadValue) else ""
            remedy = remedy or f"Correct the {self.unit}, "
            next_step = f"{remedy}or set data.on_bad_rows=skip to leave out such rows (they are counted)."
            kind = UnfitRowError if is_unfit else SourceError
            raise kind(f"{self.where}, {self.say_place(number)}", value.found, value.expected, next_step)
        self.counts[f"rows skipped: {value.reason}"] += 1
        kept = None if text is None else text[:MOST_RAW_CHARACTERS]
        self.rows.append(BadRow(self.label, number, value.reason, value.found, kept))

    def say_place(self, number: int) -> str:
        """A row as people find it: with the line of the file that it begins on, where that is another number."""
        line = self.find_line(number)
        return f"{self.unit} {number:,}" + (f" (line {line:,})" if line is not None else "")

    def tell_guess(self, inspection: Inspection) -> None:
        """Note that the encoding of the file was guessed."""
        self.guess = inspection


@dataclass(frozen=True)
class Reading:
    """How one file's rows are read."""

    open_file: Open
    shape: RowShape
    asked: str | None  # the column asked for by name
    bad: BadRows
    window: Window
    block_bytes: int
    max_row_bytes: int  # a larger row is bad, and not taken into memory
    delimiter: str | None = None  # of CSV, with the names of its columns, where they are said
    column_names: tuple[str, ...] = ()
    has_quotes: bool = True
    sheet: str | None = None  # of a spreadsheet
    html_columns: frozenset[str] = frozenset()  # that are read as text


def find_format(path: Path) -> str | None:
    """The structured format that a file's name says; None for text.

    >>> find_format(Path("a.JSONL.gz")), find_format(Path("a.feather")), find_format(Path("a.txt"))
    ('jsonl', 'arrow', None)
    """
    return FORMATS.get(split_name(path)[0])


def name_unit(format: str | None) -> str:
    """What is counted in a format (None: text): the lines of the file, its records, or its rows."""
    return "line" if format in ("jsonl", None) else "record" if format == "wet" else "row"


def iter_rows(format: str, reading: Reading) -> Iterator[Rows]:
    """Read the good rows of one file.

    Raises:
        BadFile: When the file is broken, holds no rows, or has none of the columns.
        SourceError: At the first bad row, when `reading.bad` stops.
    """
    if format == "jsonl":
        from whelp.corpus.json_rows import iter_json_lines

        return iter_json_lines(reading)
    if format == "json":
        from whelp.corpus.json_rows import iter_json_array

        return iter_json_array(reading)
    if format in ("csv", "tsv"):
        from whelp.corpus.csv_rows import iter_csv_rows

        return iter_csv_rows(reading, format)
    if format == SHEET:
        from whelp.corpus.sheet_rows import iter_sheet_rows

        return iter_sheet_rows(reading)
    if format == "wet":
        from whelp.corpus.wet_rows import iter_wet_rows

        return iter_wet_rows(reading)
    from whelp.corpus.arrow_rows import iter_arrow_rows, iter_parquet_rows

    return (iter_parquet_rows if format == "parquet" else iter_arrow_rows)(reading)


def make_rows(
    selection: Selection,
    arrays: list[pa.Array],
    numbers: npt.NDArray[np.int64],
    reading: Reading,
    *,
    found: dict[int, BadValue] | None = None,
    num_written: Counter[str] | None = None,
    say_row: Callable[[int], str] | None = None,
    is_checked: bool = False,
) -> Rows:
    """Turn the columns of a block into good rows.

    Args:
        found: What is known to be wrong, by index.
        num_written: Notes of the numbers that were made text already.
        say_row: Gives a row as it stands in the file, by index.
        is_checked: All text is known to be UTF-8.
    """
    bad = reading.bad
    wrong: dict[int, BadValueLike] = dict(found or {})
    cast: dict[int, BadValue] = {}
    bad.counts.update(num_written or {})
    for field, values in zip(selection.schema, arrays, strict=True):
        bad.counts.update({} if is_any(field.type) else count_numbers(field.name, values))
    columns = [
        to_column(field, values, cast, is_checked=is_checked) for field, values in zip(selection.schema, arrays, strict=True)
    ]
    for place, name in enumerate(selection.schema.names):
        if name in reading.html_columns:
            columns[place] = read_html_column(name, columns[place], bad.counts)
    batch = pa.RecordBatch.from_arrays(columns, schema=selection.schema)
    unfit = _leave_empty(batch, selection.shape.find_bad(batch))
    for more in (cast, unfit):
        wrong = {**more, **wrong}  # what was known first is the reason
    for index in sorted(wrong):
        value = wrong[index]
        is_unfit = value.reason == NO_TEXT or unfit.get(index) is value
        bad.add(int(numbers[index]), value, say_row(index) if say_row is not None else None, is_unfit=is_unfit)
    if wrong:
        is_good = np.ones(len(numbers), np.bool_)
        is_good[list(wrong)] = False
        batch, numbers = batch.filter(to_arrow(is_good)), numbers[is_good]
    return Rows(pa.RecordBatch.from_arrays(batch.columns, schema=selection.delivered), numbers)


def _leave_empty(batch: pa.RecordBatch, bad: Mapping[int, BadValueLike]) -> Mapping[int, BadValueLike]:
    """Those bad rows that are not just empty: empty documents are dropped, and stop nothing. Null is not empty."""
    if not bad:
        return bad
    indices = np.array(sorted(bad))
    chosen = batch.take(to_arrow(indices))
    has_value = np.zeros(len(indices), np.bool_)
    for column in chosen.columns:
        if not is_any(column.type):
            has_value |= find_valid(column)
    is_empty = has_value & measure(chosen)[1]
    return {int(index): bad[int(index)] for index in indices[~is_empty]} if is_empty.any() else bad


def make_no_rows(selection: Selection) -> Rows:
    """Rows of a block that has none."""
    return Rows(pa.RecordBatch.from_pylist([], schema=selection.delivered), np.zeros(0, np.int64))


def measure(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Of each row: how many bytes of text it has, and whether that is none but white space."""
    num_bytes = np.zeros(batch.num_rows, np.int64)
    is_empty = np.ones(batch.num_rows, np.bool_)
    for texts, offsets in iter_leaves(batch):
        if texts.null_count == len(texts):
            continue
        sizes, is_blank = measure_texts(texts)
        if offsets is None:
            num_bytes += sizes
            is_empty &= is_blank
        else:
            num_bytes += np.diff(np.concatenate([[0], np.cumsum(sizes)])[offsets])
            is_empty &= np.diff(np.concatenate([[0], np.cumsum(~is_blank)])[offsets]) == 0
    return num_bytes, is_empty
