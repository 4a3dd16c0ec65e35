"""Structured files: one row, one document. Which column is the text, and what happens to rows that have none.

The formats are in `json_rows.py`, `csv_rows.py` and `arrow_rows.py`; each reads in blocks or batches, and gives `Rows`.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.errors import SourceError
from whelp.corpus.packed import split_name
from whelp.corpus.split import Documents
from whelp.corpus.text import BadFile

HEAD_BYTES = 1 << 20  # looked at for columns; a fixed size, so that blocks do not matter
NUM_HEAD_ROWS = 100
NO_TEXT = "null or missing text"
NOT_TEXT = "a value that is not text"
NOT_UTF8 = "text that is not UTF-8"
_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
_DEFAULT_COLUMN = "text"
_MOST_NAMES = 20

Open = Callable[[], Any]  # opens the file from its start; what pyarrow's readers take


@dataclass(frozen=True)
class Rows:
    """Texts (large_string, no null) of good rows, and where each is: `numbers`, a line or a row, from 1."""

    texts: pa.LargeStringArray
    numbers: npt.NDArray[np.int64]


class BadRows:
    """Stops at the first row without text, or counts such rows by reason."""

    def __init__(self, where: object, unit: str, *, stops: bool) -> None:
        self.where, self.unit = where, unit
        self.counts: Counter[str] = Counter()
        self._stops = stops

    def add(self, number: int, reason: str, found: str, expected: str) -> None:
        """Note one bad row.

        Raises:
            SourceError: When bad rows are to stop the work.
        """
        if self._stops:
            next_step = f"Correct the {self.unit}, or set data.on_bad_rows=skip to leave out such rows (they are counted)."
            raise SourceError(f"{self.where}, {self.unit} {number:,}", found, expected, next_step)
        self.counts[f"rows skipped: {reason}"] += 1


def find_format(path: Path) -> str | None:
    """The structured format that a file's name says; None for text.

    >>> find_format(Path("a.JSONL.gz")), find_format(Path("a.feather")), find_format(Path("a.txt"))
    ('jsonl', 'arrow', None)
    """
    return _FORMATS.get(split_name(path)[0])


def name_unit(format: str) -> str:
    """What is counted in a format: the lines of the file, or its rows."""
    return "line" if format == "jsonl" else "row"


def iter_rows(format: str, open_file: Open, column: str | None, bad: BadRows, block_bytes: int) -> Iterator[Rows]:
    """Read the good rows of one file.

    Raises:
        BadFile: When the file is broken, holds no rows, or has no text column.
        SourceError: At the first bad row, when `bad` stops.
    """
    if format == "jsonl":
        from whelp.corpus.json_rows import iter_json_lines

        return iter_json_lines(open_file, column, bad, block_bytes)
    if format == "json":
        from whelp.corpus.json_rows import iter_json_array

        return iter_json_array(open_file, column, bad, block_bytes)
    if format in ("csv", "tsv"):
        from whelp.corpus.csv_rows import iter_csv_rows

        return iter_csv_rows(open_file, "," if format == "csv" else "\t", column, bad, block_bytes)
    from whelp.corpus.arrow_rows import iter_arrow_rows, iter_parquet_rows

    return (iter_parquet_rows if format == "parquet" else iter_arrow_rows)(open_file, column, bad)


def choose_column(asked: str | None, columns: Mapping[str, bool]) -> str:
    """The column asked for, else `text`, else the only one that holds text. `columns` says of each whether it holds text.

    Raises:
        BadFile: When there is no such column, or there are several; it names what there is, nearest first.
    """
    if asked is None and _DEFAULT_COLUMN in columns:
        return _DEFAULT_COLUMN
    holding_text = [name for name, holds_text in columns.items() if holds_text]
    if asked is None and len(holding_text) == 1:
        return holding_text[0]
    if asked is not None and asked in columns:
        return asked
    wanted = asked if asked is not None else _DEFAULT_COLUMN
    names = _list_names(wanted, columns)
    if asked is None and holding_text:
        reason = f"has no column {wanted!r}, and {len(holding_text)} columns hold text: {_list_names(wanted, holding_text)}"
    elif asked is None:
        reason = f"has no column {wanted!r}, and none holds text: {names}"
    else:
        reason = f"has no column {wanted!r}; it has {names}"
    raise BadFile("no text column", reason, "Set data.custom_text_key to the column that holds the text.")


def _list_names(wanted: str, names: Any) -> str:
    def distance(name: str) -> float:
        return -difflib.SequenceMatcher(None, wanted.lower(), name.lower()).ratio()

    ordered = sorted(names, key=distance)
    more = f" and {len(ordered) - _MOST_NAMES} more" if len(ordered) > _MOST_NAMES else ""
    return (", ".join(ordered[:_MOST_NAMES]) or "no columns") + more


def clean(values: Any, numbers: npt.NDArray[np.int64], column: str, bad: BadRows) -> Rows:
    """Turn an Arrow array of strings or bytes into good rows; nulls, and bytes that are not UTF-8, are bad rows."""
    if values.null_count:
        is_good = values.is_valid().to_numpy(zero_copy_only=False)
        for number in numbers[~is_good]:
            bad.add(int(number), NO_TEXT, f"{column!r} is null", "text")
        values, numbers = values.drop_null(), numbers[is_good]
    try:
        texts = values.cast(pa.large_string())
        texts.validate(full=True)
        return Rows(texts, numbers)
    except pa.ArrowInvalid:
        raw = values.cast(pa.large_binary(), safe=False)
    is_good = np.ones(len(raw), np.bool_)
    for index, value in enumerate(raw):
        try:
            value.as_py().decode()
        except UnicodeDecodeError as error:
            is_good[index] = False
            found = f"{column!r} is not UTF-8 text (byte 0x{error.object[error.start]:02x} in it)"
            bad.add(int(numbers[index]), NOT_UTF8, found, "UTF-8")
    return Rows(raw.filter(pa.array(is_good)).cast(pa.large_string()), numbers[is_good])


def make_documents(rows: Rows, offset: int) -> Documents:
    """Rows as documents. `offset` is the number of bytes of text before them."""
    lengths = pc.binary_length(rows.texts)
    starts = np.concatenate([np.full(1, offset, np.int64), offset + np.cumsum(lengths.to_numpy(), dtype=np.int64)])[:-1]
    is_empty: Any = pc.or_(pc.equal(lengths, 0), pc.utf8_is_space(rows.texts))
    return Documents(rows.texts, rows.numbers, starts, is_empty.to_numpy(zero_copy_only=False))
