"""Rows of JSON and XML files, to be written otherwise: each value as it was, whatever it is, as JSON in a column of bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from whelp.corpus.any_values import ANY, encode_value
from whelp.corpus.nested import holds, look_up
from whelp.corpus.number_texts import is_number, write_number

Objects = Iterable[Mapping[str, Any]]
_OF_VALUES = {b"values": b"json"}  # what marks a column of any values


def iter_object_batches(
    read: Callable[[], Objects], columns: Sequence[str] | None, choose: Callable[[list[str]], Sequence[str]], num_rows: int
) -> Iterator[pa.RecordBatch]:
    """The rows of a file, so many at a time. A column that a row has not is null there.

    Args:
        read: Reads all objects of the file, from the start. It is read twice: the columns are those that any row has.
        columns: Those that are asked for; fields of objects are named with dots.
        choose: From the names of all columns to those that are wanted.
    """
    names = list(choose(_list_names(read(), columns)))
    schema = pa.schema([pa.field(name, ANY, metadata=_OF_VALUES) for name in names])
    rows = iter(read())
    while some := list(islice(rows, num_rows)):
        arrays = [pa.array([encode_value(look_up(row, name)) for row in some], ANY) for name in names]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _list_names(objects: Objects, wanted: Sequence[str] | None) -> list[str]:
    """The columns in the order in which they are met, with those fields that are wanted; no further than all of these."""
    names: dict[str, None] = {}
    for row in objects:
        names |= dict.fromkeys(row)
        if wanted is not None:
            names |= dict.fromkeys(name for name in wanted if name not in names and holds(row, name))
            if all(name in names for name in wanted):
                break
    return list(names)


def holds_values(field: pa.Field) -> bool:
    """Whether a column is one of any values, as JSON."""
    return bool(field.metadata == _OF_VALUES)


def make_lines(batch: pa.RecordBatch) -> bytes:
    """The rows of such columns as lines of JSON."""
    names = [json.dumps(name, ensure_ascii=False).encode("utf-8", "replace") for name in batch.schema.names]
    rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
    return b"".join(
        b"{%b}\n"
        % b", ".join(b"%b: %b" % (name, b"null" if value is None else value) for name, value in zip(names, row, strict=True))
        for row in rows
    )


def to_plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Such columns as text: numbers, true and false as JSON writes them. Those that hold lists or objects stay lists."""
    arrays = [
        _to_plain([None if value is None else json.loads(value) for value in column.to_pylist()]) for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _to_plain(values: list[Any]) -> pa.Array:
    if any(isinstance(value, list | dict) for value in values):
        return pa.nulls(len(values), pa.list_(pa.null()))
    texts = [
        value if value is None or isinstance(value, str) else write_number(value) if is_number(value) else json.dumps(value)
        for value in values
    ]
    return pa.array(texts, pa.large_string())
