"""Rows of Parquet, and of Arrow IPC (`.arrow`, `.feather`; file or stream)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from whelp.corpus.packed import damaged, open_seekable
from whelp.corpus.rows import BadRows, Open, Rows, choose_column, clean
from whelp.corpus.text import BadFile

_BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 20
_FILE_MAGIC = b"ARROW1"
_OLD_FEATHER_MAGIC = b"FEA1"


def iter_parquet_rows(open_file: Open, asked: str | None, bad: BadRows) -> Iterator[Rows]:
    """Read the text column of a Parquet file, some rows at a time.

    Raises:
        BadFile: When it is not a whole Parquet file, or has no text column.
    """
    with open_file() as stream, open_seekable(stream) as seekable:
        try:
            file = pq.ParquetFile(seekable, pre_buffer=False, buffer_size=_BUFFER_BYTES)
            column = _choose_column(file.schema_arrow, asked)
            yield from _iter_batches(_iter_groups(file, column), column, bad)
        except (pa.ArrowException, OSError) as error:
            raise damaged("Parquet data", error) from None


def _iter_groups(file: pq.ParquetFile, column: str) -> Iterator[pa.RecordBatch]:
    for index in range(file.num_row_groups):  # one by one: Arrow holds on to what it has read of a run of groups
        yield from file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[index], columns=[column], use_threads=False)


def iter_arrow_rows(open_file: Open, asked: str | None, bad: BadRows) -> Iterator[Rows]:
    """Read the text column of an Arrow IPC file or stream.

    Raises:
        BadFile: When it is neither, or is cut off, or has no text column.
    """
    with open_file() as stream:
        magic = stream.read(len(_FILE_MAGIC))
    if magic.startswith(_OLD_FEATHER_MAGIC):
        raise BadFile("old format", "a Feather file of version 1", "Write it as version 2, or as Parquet.")
    with open_file() as stream, open_seekable(stream) as seekable:
        try:
            if magic == _FILE_MAGIC:
                file = pa.ipc.open_file(seekable)
                batches: Any = (file.get_batch(index) for index in range(file.num_record_batches))
            else:
                batches = file = pa.ipc.open_stream(seekable)
            yield from _iter_batches(batches, _choose_column(file.schema, asked), bad)
        except (pa.ArrowException, OSError) as error:
            raise damaged("Arrow data", error) from None


def _iter_batches(batches: Any, column: str, bad: BadRows) -> Iterator[Rows]:
    number = 1
    for batch in batches:
        values = batch.column(batch.schema.names.index(column))
        yield clean(values, np.arange(number, number + len(values), dtype=np.int64), column, bad)
        number += len(values)


def _choose_column(schema: pa.Schema, asked: str | None) -> str:
    column = choose_column(asked, {field.name: _holds_text(field.type) for field in schema})
    kind = schema.types[schema.names.index(column)]
    if not _holds_text(kind) and not pa.types.is_null(kind):
        raise BadFile(
            "no text column",
            f"its column {column} holds {kind}",
            "Set data.custom_text_key to a column of text, or convert this one.",
        )
    return str(column)


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
