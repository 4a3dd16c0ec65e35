"""Rows as JSON lines, by whole columns: no Python object is made per row, as long as there are no rare control characters."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

_ESCAPES = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
_RARE = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"


def make_json_lines(batch: pa.RecordBatch) -> bytes:
    """One JSON object a line, UTF-8; columns of text, of numbers, lists and structs of these, null, and of bytes that are JSON.

    >>> make_json_lines(pa.record_batch({"text": pa.array(["a\\n", None]), "line": [1, 2]}))
    b'{"text": "a\\\\n", "line": 1}\\n{"text": null, "line": 2}\\n'
    """
    if not batch.num_rows:
        return b""
    lines = _write_objects(batch.schema.names, batch.columns, end="}\n")
    _, offsets, data = lines.buffers()
    first, end = lines.offset, lines.offset + len(lines)
    places = memoryview(offsets).cast("q")
    return bytes(memoryview(data)[places[first] : places[end]])


def write_json_values(column: pa.Array) -> pa.LargeStringArray:
    """Each value of a column as JSON; null as the word."""
    return _write_column(column)


def _write_objects(names: Sequence[str], columns: Sequence[pa.Array], end: str = "}") -> pa.LargeStringArray:
    pieces: list[pa.Array | pa.Scalar] = []
    for number, (name, column) in enumerate(zip(names, columns, strict=True)):
        head = ("{" if number == 0 else ", ") + json.dumps(name, ensure_ascii=False) + ": "
        pieces += [_text(head), _write_column(column)]
    return pc.binary_join_element_wise(*pieces, _text(end), _text(""))


def _write_column(column: pa.Array) -> pa.LargeStringArray:
    if pa.types.is_struct(column.type):
        fields = [column.field(number) for number in range(column.type.num_fields)]
        written = _write_objects([field.name for field in column.type], fields)
        return pc.if_else(column.is_null(), _text("null"), written)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return _write_lists(column)
    if not (pa.types.is_large_string(column.type) or pa.types.is_string(column.type)):
        return column.cast(pa.large_string()).fill_null("null")
    column = column.cast(pa.large_string())
    if pc.any(pc.match_substring_regex(column, _RARE)).as_py():
        written = [None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()]
        return pa.array(written, pa.large_string()).fill_null("null")
    for found, written_as in _ESCAPES:
        column = pc.replace_substring(column, found, written_as)
    return pc.binary_join_element_wise(_text('"'), column, _text('"'), _text("")).fill_null("null")


def _write_lists(column: pa.Array) -> pa.LargeStringArray:
    lengths = pc.fill_null(pc.list_value_length(column), 0).cast(pa.int64())
    ends = pc.cumulative_sum(lengths)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    items = pa.LargeListArray.from_arrays(offsets, _write_column(column.flatten()))
    joined = pc.binary_join(items, _text(", "))
    written = pc.binary_join_element_wise(_text("["), joined, _text("]"), _text(""))
    return pc.if_else(column.is_null(), _text("null"), written)


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, pa.large_string())
