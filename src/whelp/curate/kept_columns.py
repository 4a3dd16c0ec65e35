"""Columns kept beside the text, which travel as JSON (see `whelp.corpus.any_values`), as columns of a Parquet file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pyarrow as pa

JSON = pa.large_binary()


def find_types(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> dict[str, pa.DataType]:
    """The type that holds all values of each column: as narrow as they allow; text where they have nothing in common."""
    found: dict[str, pa.DataType | None] = {name: pa.null() for name in names}
    for batch in batches:
        for name, kind in found.items():
            if kind is not None and name in batch.schema.names:
                found[name] = _unite(kind, batch.column(name))
    return {name: _widen(kind) for name, kind in found.items()}


def _unite(kind: pa.DataType, column: pa.Array) -> pa.DataType | None:
    if column.type != JSON:
        return column.type
    try:
        own = pa.array(_parse(column)).type
        return pa.unify_schemas([pa.schema([("", kind)]), pa.schema([("", own)])], promote_options="permissive").field(0).type
    except (pa.ArrowException, OverflowError):
        return None


def _parse(column: pa.Array) -> list[object]:
    return [None if value is None else json.loads(value) for value in column.to_pylist()]


def _widen(kind: pa.DataType | None) -> pa.DataType:
    """As text: what has no type, and what is text."""
    is_text = kind is None or pa.types.is_null(kind) or pa.types.is_string(kind)
    return pa.large_string() if is_text else kind


def decode_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """JSON as values of a type; where that is text and they are something else, the JSON itself."""
    if column.type != JSON:
        return column
    values = _parse(column)
    if kind == pa.large_string():
        pairs = zip(values, column.to_pylist(), strict=True)
        values = [value if value is None or isinstance(value, str) else written.decode() for value, written in pairs]
    return pa.array(values, kind)
