"""Rows of Parquet, of Arrow IPC (`.arrow`, `.feather`; file or stream), and of tables that are no files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from whelp.corpus.columns import Selection, select_typed
from whelp.corpus.compressed import damaged, open_seekable
from whelp.corpus.encodings import BadFile
from whelp.corpus.magic import find_kind
from whelp.corpus.nested import list_roots, read_column
from whelp.corpus.rows import Reading, Rows, make_rows

if TYPE_CHECKING:
    import pyarrow.parquet as pq

BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 20
_FILE_MAGIC = b"ARROW1"
_HEAD_BYTES = 64
_OLD_FEATHER_MAGIC = b"FEA1"


class Table(Protocol):
    """Rows that are no file."""

    @property
    def schema(self) -> pa.Schema: ...
    @property
    def num_bytes(self) -> int: ...
    def iter_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows, `BATCH_ROWS` at a time, so that equal contents give equal batches."""
        ...


def iter_parquet_rows(reading: Reading) -> Iterator[Rows]:
    """Read the columns of a Parquet file, some rows at a time. Row groups that are not wanted are passed over.

    Raises:
        BadFile: When it is not a whole Parquet file, or has none of the columns.
    """
    import pyarrow.parquet as pq  # and file systems of clouds: 20 ms that other sources need not wait for

    with reading.open_file() as stream, open_seekable(stream) as seekable:
        try:
            file = pq.ParquetFile(seekable, pre_buffer=False, buffer_size=_BUFFER_BYTES)
            selection = select_typed(reading.shape, reading.asked, file.schema_arrow)
            yield from _iter_groups(file, selection, reading)
        except (pa.ArrowException, OSError) as error:
            raise _explain("Parquet data", error, reading) from None


def _iter_groups(file: pq.ParquetFile, selection: Selection, reading: Reading) -> Iterator[Rows]:
    number = 1
    for index in range(file.num_row_groups):  # one by one: Arrow holds on to what it has read of a run of groups
        num_rows = file.metadata.row_group(index).num_rows
        first, end = reading.window.look(num_rows)
        if first == end:
            reading.window.take(num_rows)
        else:
            batches = file.iter_batches(
                batch_size=BATCH_ROWS, row_groups=[index], columns=selection.schema.names, use_threads=False
            )
            yield from _iter_batches(batches, selection, reading, number)
        number += num_rows
        if reading.window.is_done:
            return


def iter_arrow_rows(reading: Reading) -> Iterator[Rows]:
    """Read the columns of an Arrow IPC file or stream.

    Raises:
        BadFile: When it is neither, or is cut off, or has none of the columns.
    """
    with reading.open_file() as stream:
        magic = stream.read(len(_FILE_MAGIC))
    if magic.startswith(_OLD_FEATHER_MAGIC):
        raise BadFile("old format", "a Feather file of version 1", "Write it as version 2, or as Parquet.")
    with reading.open_file() as stream, open_seekable(stream) as seekable:
        try:
            if magic == _FILE_MAGIC:
                file = pa.ipc.open_file(seekable)
                batches: Iterable[pa.RecordBatch] = (file.get_batch(index) for index in range(file.num_record_batches))
            else:
                batches = file = pa.ipc.open_stream(seekable)
            yield from _iter_batches(batches, select_typed(reading.shape, reading.asked, file.schema), reading)
        except (pa.ArrowException, OSError) as error:
            raise _explain("Arrow data", error, reading) from None


def _explain(what: str, error: Exception, reading: Reading) -> BadFile:
    """The error for a file that is broken, or another one than its name says."""
    with reading.open_file() as stream:
        kind = find_kind(stream.read(_HEAD_BYTES))
    if kind is None or kind.name == what:
        return damaged(what, error)
    return BadFile(kind.counted_as, f"{kind.name}, and no {what}, though its name says so", kind.next_step)


def iter_table_rows(table: Table, reading: Reading) -> Iterator[Rows]:
    """Read the columns of a table.

    Raises:
        BadFile: When it has none of the columns.
    """
    selection = select_typed(reading.shape, reading.asked, table.schema)
    roots = list_roots(table.schema, selection.schema.names)
    yield from _iter_batches(table.iter_batches(roots), selection, reading)


def _iter_batches(batches: Iterable[pa.RecordBatch], selection: Selection, reading: Reading, number: int = 1) -> Iterator[Rows]:
    for batch in batches:
        first, end = reading.window.take(batch.num_rows)
        if end > first:
            wanted = batch.slice(first, end - first)
            arrays = [read_column(wanted, name) for name in selection.schema.names]
            numbers = np.arange(number + first, number + end, dtype=np.int64)
            yield make_rows(selection, arrays, numbers, reading)
        number += batch.num_rows
        if reading.window.is_done:
            return
