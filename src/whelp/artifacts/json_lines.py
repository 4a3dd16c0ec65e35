"""Rows as JSON lines, by whole columns: no Python object is made per row, as long as there are no rare control characters."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc

_ESCAPES = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
_RARE = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"


def make_json_lines(batch: pa.RecordBatch) -> bytes:
    """One JSON object a line, UTF-8; columns of text, of numbers, and null.

    >>> make_json_lines(pa.record_batch({"text": pa.array(["a\\n", None]), "line": [1, 2]}))
    b'{"text": "a\\\\n", "line": 1}\\n{"text": null, "line": 2}\\n'
    """
    if not batch.num_rows:
        return b""
    pieces: list[pa.Array | pa.Scalar] = []
    for number, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
        head = ("{" if number == 0 else ", ") + json.dumps(name, ensure_ascii=False) + ": "
        pieces += [_text(head), _write_column(column)]
    lines = pc.binary_join_element_wise(*pieces, _text("}\n"), _text(""))
    _, offsets, data = lines.buffers()
    first, end = lines.offset, lines.offset + len(lines)
    places = memoryview(offsets).cast("q")
    return bytes(memoryview(data)[places[first] : places[end]])


def _write_column(column: pa.Array) -> pa.LargeStringArray:
    if not (pa.types.is_large_string(column.type) or pa.types.is_string(column.type)):
        return column.cast(pa.large_string()).fill_null("null")
    column = column.cast(pa.large_string())
    if pc.any(pc.match_substring_regex(column, _RARE)).as_py():
        written = [None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()]
        return pa.array(written, pa.large_string()).fill_null("null")
    for found, written_as in _ESCAPES:
        column = pc.replace_substring(column, found, written_as)
    return pc.binary_join_element_wise(_text('"'), column, _text('"'), _text("")).fill_null("null")


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, pa.large_string())
