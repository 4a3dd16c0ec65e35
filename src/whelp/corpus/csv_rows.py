"""Rows of CSV and TSV, read by Arrow: a header, quotes as in RFC 4180, line ends within quotes allowed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pc

from whelp.base.counts import say_count
from whelp.corpus.columns import Selection
from whelp.corpus.compressed import DAMAGED, damaged
from whelp.corpus.csv_dialect import DEFAULTS, Dialect, find_dialect, find_line
from whelp.corpus.encodings import BadFile
from whelp.corpus.escaped_bytes import Escaper, is_escaped, unescape, unescape_array
from whelp.corpus.header import select_by_header
from whelp.corpus.row_shape import BadValue, too_long
from whelp.corpus.rows import HEAD_BYTES, MOST_RAW_CHARACTERS, BadRows, Reading, Rows, make_rows

_RAGGED = "wrong number of fields"
_MOST_ROWS = 1 << 60
_MOST_BLOCK_BYTES = 1 << 30  # Arrow counts the bytes of a block in 31 bits
_GROWTH = 4
_LEAST_BLOCK_BYTES = 16  # a CR must find its LF in it
_OR_LINES = ", or data.document=line to read each line as a text"


class _Ragged:
    """Remembers the rows with too few or too many fields, which Arrow passes over."""

    def __init__(self, bad: BadRows, first_number: int, end_number: int, num_header_rows: int, said_by: str) -> None:
        self._bad, self._num_header_rows, self._said_by = bad, num_header_rows, said_by
        self._first_number, self._end_number = first_number, end_number
        self._found: dict[int, tuple[int, int, str]] = {}
        self._num_told = 0
        self._last: tuple[int, str] = (0, "")

    def __call__(self, row: Any) -> str:
        # The rows are counted from 1 with the header. An exception would be lost in Arrow, so `tell` raises it later.
        number = row.number - self._num_header_rows
        shown = unescape(row.text[:MOST_RAW_CHARACTERS].encode()).decode(errors="backslashreplace")
        self._found[number] = (row.expected_columns, row.actual_columns, shown)
        self._last = (number, row.text)
        return "skip"

    @property
    def num_found(self) -> int:
        """How many there are so far."""
        return len(self._found)

    def tell(self, num_good: int = _MOST_ROWS) -> None:
        """Tell of those with fewer good rows than that before them: of one behind, it is not known yet whether the file ends in it."""
        for place, number in list(enumerate(sorted(self._found)))[self._num_told :]:
            if number - 1 - place >= num_good:
                return
            expected, actual, text = self._found[number]
            if self._first_number < number <= self._end_number:
                wanted = f"{expected}, as in {self._said_by}"
                self._bad.add(number, BadValue(_RAGGED, say_count(actual, "field"), wanted, _say_remedy(expected)), text)
            self._num_told += 1

    def check_end(self, num_good: int, stream: _Stream) -> None:
        """Tell a quote left open from a row that is ragged for another reason, when it is the last of the file."""
        number, text = self._last
        if number == num_good + len(self._found) and stream.is_left_open(text.encode()):
            raise _left_open(self._bad, number)

    def number_rows(self, first: int, num_rows: int) -> npt.NDArray[np.int64]:
        """Row numbers of the good rows `first` (from 0) and on, the bad ones counted in."""
        bad = np.sort(np.fromiter(self._found, np.int64, len(self._found)))
        num_good_before = bad - np.arange(1, len(bad) + 1)
        indices = np.arange(first, first + num_rows, dtype=np.int64)
        return indices + 1 + np.searchsorted(num_good_before, indices, side="right")


def iter_csv_rows(reading: Reading, format: str) -> Iterator[Rows]:
    """Read the columns, a block at a time. A row larger than a block makes the blocks larger.

    Raises:
        BadFile: When the file has no header, none of the columns, or cannot be cut into rows.
    """
    dialect = find_dialect(
        reading.open_file, reading.delimiter, DEFAULTS[format], reading.column_names, has_quotes=reading.has_quotes
    )
    reading.bad.find_line = partial(find_line, reading.open_file, dialect, max_line_bytes=reading.max_row_bytes)
    selection, last_column = _select(reading, dialect)
    first_number, end_number = reading.window.look(_MOST_ROWS)  # of row numbers from 0
    said_by = "the header" if dialect.num_header_rows else "data.column_names" if reading.column_names else "the first row"
    ragged = _Ragged(reading.bad, first_number, end_number, dialect.num_header_rows, said_by)
    block_bytes = max(reading.block_bytes, _LEAST_BLOCK_BYTES)
    columns = dict.fromkeys([*selection.schema.names, last_column], pa.binary())  # the last tells of a quote left open
    last_index = list(columns).index(last_column)
    convert = pc.ConvertOptions(include_columns=list(columns), column_types=columns)
    num_read = 0
    while True:
        num_seen = 0
        try:
            with reading.open_file() as stream, closing(_Stream(stream, dialect)) as checked:
                for batch, is_last in _mark_last(_open(checked, dialect, block_bytes, convert, ragged)):
                    ragged.tell(num_seen + batch.num_rows)
                    if is_last and checked.is_left_open(batch.column(last_index)[-1].as_py()):
                        raise _left_open(reading.bad, int(ragged.number_rows(num_seen + batch.num_rows - 1, 1)[0]))
                    first = max(0, num_read - num_seen)  # after a new start: rows that are out already
                    num_seen += batch.num_rows
                    if first < batch.num_rows:
                        numbers = ragged.number_rows(num_read, batch.num_rows - first)
                        num_read += len(numbers)
                        rows = _unescape_batch(batch.slice(first)) if checked.has_broken else batch.slice(first)
                        yield _make_rows(rows, numbers, selection, reading, first_number, end_number)
                        if numbers[-1] >= end_number:
                            reading.window.take(end_number)
                            return
                ragged.check_end(num_seen, checked)
            ragged.tell()
            reading.window.take(num_seen + ragged.num_found)
            return
        except pa.ArrowInvalid as error:
            block_bytes = _grow(error, block_bytes, reading.max_row_bytes)


def _unescape_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([unescape_array(column) for column in batch.columns], schema=batch.schema)


def _make_rows(
    batch: pa.RecordBatch,
    numbers: npt.NDArray[np.int64],
    selection: Selection,
    reading: Reading,
    first_number: int,
    end_number: int,
) -> Rows:
    first, end = np.searchsorted(numbers, [first_number, end_number], side="right").tolist()  # numbers count from 1
    arrays = [batch.column(index).slice(first, end - first) for index in range(len(selection.schema))]
    return make_rows(selection, arrays, numbers[first:end], reading)


def _open(stream: Any, dialect: Dialect, block_bytes: int, convert: pc.ConvertOptions, ragged: Any) -> Any:
    names = list(dialect.column_names) or None
    return pc.open_csv(
        stream,
        read_options=pc.ReadOptions(use_threads=False, block_size=block_bytes, column_names=names),
        parse_options=pc.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char='"' if dialect.has_quotes else False,
            newlines_in_values=True,
            invalid_row_handler=ragged,
        ),
        convert_options=convert,
    )


class _Stream:
    """Passes a stream on as UTF-8, in blocks that end with a row, where one does; remembers the last ones.

    Arrow can cut a block anywhere, but loses its place, or a LF, when the cut is between CR and LF or near a quote. It
    reads ahead in a thread of its own, which must be kept off the file before that is closed: hence the lock.
    """

    def __init__(self, stream: Any, dialect: Dialect) -> None:
        self._lock = threading.Lock()
        self._stream = stream
        stream.read(dialect.num_skipped_bytes)
        self._dialect = dialect
        self._escaper = Escaper()
        self._held = b""
        self._is_quoted = False
        self._last = (b"", b"")
        self._is_at_end = False
        self.closed = False

    @property
    def has_broken(self) -> bool:
        """Whether any of it was not UTF-8 so far: what Arrow makes of it is to be unescaped."""
        return self._escaper.has_broken

    def read(self, num_bytes: int) -> bytes:
        with self._lock:
            return b"" if self.closed else self._read(num_bytes)

    def _read(self, num_bytes: int) -> bytes:
        more = b""
        while not more and len(self._held) < num_bytes and not self._is_at_end:
            raw: bytes = self._stream.read(num_bytes - len(self._held))
            self._is_at_end = not raw
            more = self._escaper.escape(raw, is_last=self._is_at_end)
        held = self._held + more
        data = held[:num_bytes]  # escaped bytes take more room
        num_given = self._find_row_end(data) or len(data) - (data.endswith(b"\r") and len(data) > 1)
        data, self._held = data[:num_given], held[num_given:]
        self._is_quoted ^= self._dialect.has_quotes and data.count(b'"') % 2 == 1
        self._last = (self._last[1], data) if data else self._last
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        with self._lock:
            self.closed = True

    def _find_row_end(self, data: bytes) -> int:
        """Where the last whole row ends: after a newline with an even number of quotes before it. 0: nowhere."""
        if not self._dialect.has_quotes:
            return data.rfind(b"\n") + 1
        values = np.frombuffer(data, np.uint8)
        newlines = np.flatnonzero(values == ord("\n"))
        num_quotes = np.searchsorted(np.flatnonzero(values == ord('"')), newlines) + self._is_quoted
        ends = newlines[num_quotes % 2 == 0]
        return int(ends[-1]) + 1 if len(ends) else 0

    def is_left_open(self, field: bytes) -> bool:
        """Tell whether the last field of the file, or its last row, begins with a quote that does not end.

        Arrow takes it to reach to the end of the file, and so would swallow all rows there. Line ends need quotes; of a field
        without any the first quote is looked for, where there is an odd number: a row is never longer than two blocks.
        """
        if not self._dialect.has_quotes:
            return False
        end = b"".join(self._last).rstrip(b"\r\n")
        if (b"\n" in field or b"\r" in field) and not end.endswith(b'"'):
            return True
        opened = b'"' + field.rstrip(b"\r\n").replace(b'"', b'""')
        before = end[: -len(opened)][-1:]
        return self._is_quoted and end.endswith(opened) and before in (b"", b"\n", b"\r", self._dialect.delimiter.encode())


def _mark_last(batches: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Pass on what has rows, and say whether it is the last."""
    held = None
    for batch in batches:
        if batch.num_rows:
            if held is not None:
                yield held, False
            held = batch
    if held is not None:
        yield held, True


def _left_open(bad: BadRows, number: int) -> BadFile:
    reason = f"a quote that opens in {bad.say_place(number)} is never closed"
    next_step = (
        "Where the file is cut off, get a whole copy; else close it, or, where quotes are text like any other, set "
        "data.quoted_fields=false."
    )
    return BadFile(DAMAGED, reason, next_step)


def _say_remedy(num_expected: int) -> str:
    if num_expected > 1:
        return ""
    return "Put quotes around texts with commas, say data.delimiter, read each line as a text by data.document=line, "


def _select(reading: Reading, dialect: Dialect) -> tuple[Selection, str]:
    """The columns to read, and the last one of the file."""
    schema = _read_schema(reading, dialect, pc.ConvertOptions(check_utf8=False))
    if dialect.delimiter != ",":  # 3,50 is a number there
        with_commas = _read_schema(reading, dialect, pc.ConvertOptions(check_utf8=False, decimal_point=","))
        pairs = zip(schema, with_commas, strict=True)
        schema = pa.schema([field if pa.types.is_string(other.type) else other for field, other in pairs])
    return select_by_header(reading, schema, _OR_LINES), schema.names[-1]


def _read_schema(reading: Reading, dialect: Dialect, convert: pc.ConvertOptions) -> pa.Schema:
    """The columns, with the types that the values of the first block look like."""
    block_bytes = HEAD_BYTES
    while True:
        try:
            with reading.open_file() as stream, closing(_Stream(stream, dialect)) as checked:
                schema = _open(checked, dialect, block_bytes, convert, lambda row: "skip").schema
            if checked.has_broken and any(map(is_escaped, schema.names)):
                next_step = "Write the file as UTF-8, or set data.encoding to the one it was written in."
                raise BadFile("wrong encoding", "a header that is not UTF-8 text", next_step)
            return schema
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                raise BadFile(
                    "no rows", "no header and no rows", "Give it a first row with the names of the columns."
                ) from None
            if "CSV parse error" in str(error) and dialect.column_names:
                found = f"rows that have other fields than data.column_names ({len(dialect.column_names)})"
                raise BadFile("no text column", found, "Name every column, in order.") from None
            block_bytes = _grow(error, block_bytes, reading.max_row_bytes)


def _grow(error: pa.ArrowInvalid, block_bytes: int, max_row_bytes: int) -> int:
    """The next size of a block, when a row did not fit, or Arrow lost its place at the end of one."""
    is_of_blocks = "block" in str(error) or "out of sync" in str(error)
    if not is_of_blocks or block_bytes * _GROWTH > _MOST_BLOCK_BYTES:
        raise damaged("CSV data", error) from None
    if block_bytes > max_row_bytes:
        value = too_long("a row", max_row_bytes)  # or a quote left open, which no row behind it tells of
        next_step = (
            "Cut its text into several, close its quote, or raise data.max_row_bytes (memory grows with it, several times)."
        )
        raise BadFile(value.reason, value.found, next_step)
    return block_bytes * _GROWTH
