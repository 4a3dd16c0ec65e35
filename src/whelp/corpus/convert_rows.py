"""Rows of all files that a source reads, of XML and of SQLite databases, as JSON lines, CSV or text, with the columns of one's choice."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from whelp.base.arrays import holds_text
from whelp.base.errors import SourceError, say_first_line
from whelp.corpus import convert_sqlite, convert_xml
from whelp.corpus.columns import ListingShape
from whelp.corpus.compressed import open_seekable, split_name, unpack
from whelp.corpus.convert_json import holds_values, iter_object_batches, make_lines, to_plain
from whelp.corpus.convert_texts import ReadingOptions, explained, iter_text_batches, make_reading
from whelp.corpus.csv_dialect import DEFAULTS
from whelp.corpus.json_rows import iter_parsed
from whelp.corpus.json_values import name_kind
from whelp.corpus.number_texts import holds_numbers, write_numbers
from whelp.corpus.row_shape import NOT_AN_OBJECT, BadValue
from whelp.corpus.rows import FORMATS, find_format

Format = Literal["jsonl", "csv", "tsv", "txt"]
READABLE = (*FORMATS, convert_xml.SUFFIX, *convert_sqlite.SUFFIXES)
_BATCH_ROWS = 1024
_MAX_BATCH_BYTES = 1 << 30
_FILE_MAGIC = b"ARROW1"


@dataclass
class Counts:
    """What conversion met that is worth saying."""

    rows: int = 0
    empty_texts: int = 0
    texts_with_blank_lines: int = 0
    numbers_without_json: int = 0


def iter_batches(
    path: Path, columns: Sequence[str] | None, options: ReadingOptions, table: str | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a file, some at a time, with the columns in the order asked for; `table` is of SQLite.

    Raises:
        SourceError: When it cannot be read, or has no such column.
    """
    suffix, format = split_name(path)[0], find_format(path)

    def choose(names: list[str]) -> list[str]:
        return _choose(path, names, columns)

    try:
        if format == "parquet":
            with _open(path) as stream, pq.ParquetFile(stream, pre_buffer=False) as file:
                names = choose(file.schema_arrow.names)
                for index in range(file.num_row_groups):
                    _check_size(path, file.metadata.row_group(index))
                    for batch in file.iter_batches(_BATCH_ROWS, row_groups=[index], columns=names, use_threads=False):
                        yield batch.select(names)
        elif format == "arrow":
            with _open(path) as stream:
                magic = stream.read(len(_FILE_MAGIC))
                stream.seek(0)
                reader: Any = pa.ipc.open_file(stream) if magic == _FILE_MAGIC else pa.ipc.open_stream(stream)
                names = choose(reader.schema.names)
                numbers = range(reader.num_record_batches) if magic == _FILE_MAGIC else None
                batches = (reader.get_batch(number) for number in numbers) if numbers is not None else iter(reader)
                for batch in batches:
                    yield batch.select(names)
        elif suffix in convert_sqlite.SUFFIXES:
            yield from convert_sqlite.iter_sqlite_batches(path, table, _BATCH_ROWS, choose)
        elif format in ("json", "jsonl") or suffix == convert_xml.SUFFIX:
            yield from iter_object_batches(lambda: _iter_objects(path, options), columns, choose, _BATCH_ROWS)
        else:
            yield from iter_text_batches(path, options, choose)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise SourceError(path, "there is no such file", "", "Check the spelling.") from None
        reason = say_first_line(error)
        raise SourceError(path, f"cannot be read ({reason})", f"a whole {suffix} file", "Get it again.") from None


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """A file to jump about in, unpacked where its name says so."""
    with open(path, "rb") as handle, open_seekable(unpack(handle, path)) as stream:
        yield stream


def _iter_objects(path: Path, options: ReadingOptions) -> Iterator[dict[str, Any]]:
    reading = make_reading(path, options, ListingShape())
    format = find_format(path)
    with explained(path):
        if format is None:
            yield from convert_xml.iter_xml_objects(reading, options.element, options.encoding)
            return
        for number, row in iter_parsed(reading, format):
            if not isinstance(row, dict):
                value = row if isinstance(row, BadValue) else BadValue(NOT_AN_OBJECT, name_kind(row), "a JSON object")
                reading.bad.add(number, value)
            yield row


def _check_size(path: Path, group: pq.RowGroupMetaData) -> None:
    """A few kilobytes can hold gigabytes; what a file says of its sizes is checked before it is unpacked."""
    row_bytes = group.total_byte_size // max(group.num_rows, 1)
    if row_bytes * min(_BATCH_ROWS, group.num_rows) > _MAX_BATCH_BYTES:
        found = f"unpacks to {row_bytes:,} bytes a row"
        raise SourceError(path, found, f"at most {_MAX_BATCH_BYTES // _BATCH_ROWS:,}", "Split its rows first.")


def _choose(path: Path, names: list[str], columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        return names
    missing = [name for name in columns if name not in names]
    if missing:
        raise SourceError(path, f"has no column {', '.join(missing)}", f"one of {', '.join(names)}", "Choose with --column.")
    return list(columns)


class Writer:
    """Makes bytes of batches; all files must have the columns of the first."""

    def __init__(self, format: Format, separator: str) -> None:
        self.counts = Counts()
        self._format, self._separator = format, separator.encode()
        self._schema: pa.Schema | None = None

    def write(self, batch: pa.RecordBatch, path: Path, *, is_first: bool) -> bytes:
        """The bytes of a batch; `is_first` when nothing stands before it.

        Raises:
            SourceError: When the format cannot hold a column.
        """
        is_of_values = all(map(holds_values, batch.schema))
        if not is_of_values:
            batch = _read_bytes_as_text(batch, path)
        elif self._format != "jsonl":
            batch = to_plain(batch)
        if self._schema is None or is_of_values:  # any value may be a list
            self._check(batch.schema, path)
        if self._schema is not None and self._schema.names != batch.schema.names:
            found = f"has the columns {', '.join(batch.schema.names)}"
            expected = f"those of the first file: {', '.join(self._schema.names)}"
            raise SourceError(path, found, expected, "Choose with --column.")
        self._schema = batch.schema
        self.counts.rows += batch.num_rows
        if self._format == "jsonl" and is_of_values:
            return make_lines(batch)
        if self._format == "jsonl":
            try:
                return "".join(map(self._make_line, batch.to_pylist())).encode("utf-8", "replace")
            except UnicodeDecodeError:
                found = "has bytes that are no text inside a list or a record"
                raise SourceError(path, found, "text", "Choose other columns with --column.") from None
        if self._format == "txt":
            return self._make_text(batch)
        return self._make_csv(batch, is_first)

    def _check(self, schema: pa.Schema, path: Path) -> None:
        nested = [field.name for field in schema if self._format in ("csv", "tsv") and pa.types.is_nested(field.type)]
        if nested:
            found = f"has columns of lists or records: {', '.join(nested)}"
            raise SourceError(path, found, f"plain values for .{self._format}", "Choose others with --column, or write .jsonl.")
        if self._format == "txt":
            texts = [field.name for field in schema if holds_text(field.type)]
            if len(schema) != 1 or not texts:
                found = f"has the columns {', '.join(schema.names)}" if len(schema) != 1 else f"{schema.names[0]} holds no text"
                raise SourceError(path, found, "one column of text for .txt", f"Choose it with --column: {', '.join(texts)}.")

    def _make_line(self, row: dict[str, Any]) -> str:
        try:
            return json.dumps(row, ensure_ascii=False, allow_nan=False, default=_to_json) + "\n"
        except ValueError:
            self.counts.numbers_without_json += 1
            return json.dumps(_without_nan(row), ensure_ascii=False, default=_to_json) + "\n"

    def _make_text(self, batch: pa.RecordBatch) -> bytes:
        texts = []
        for text in batch.column(0).to_pylist():
            if text is None or not text.strip():
                self.counts.empty_texts += 1
                continue
            self.counts.texts_with_blank_lines += "\n\n" in text.strip("\n")
            texts.append(text.strip("\n").encode("utf-8", "replace") + self._separator)
        return b"".join(texts)

    def _make_csv(self, batch: pa.RecordBatch, is_first: bool) -> bytes:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=DEFAULTS[self._format], lineterminator="\n")
        if is_first:
            writer.writerow(batch.schema.names)
        columns = [
            (write_numbers(column) if holds_numbers(column.type) else column).to_pylist()  # Python's own would be True, False
            for column in batch.columns
        ]
        writer.writerows(zip(*columns, strict=True))
        return out.getvalue().encode("utf-8", "replace")


def _read_bytes_as_text(batch: pa.RecordBatch, path: Path) -> pa.RecordBatch:
    """Old files hold their texts as bytes; bytes that are no text are none of ours."""
    arrays = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
            try:
                array = array.cast(pa.large_string())
            except pa.ArrowInvalid:
                found = f"{name} holds bytes that are no text"
                raise SourceError(
                    path, found, "text, numbers, lists or records", "Choose other columns with --column."
                ) from None
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _to_json(value: Any) -> Any:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, datetime.timedelta)):
        return str(value)
    return value.decode() if isinstance(value, bytes) else str(value)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return value
