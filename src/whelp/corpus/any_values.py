"""Columns of any values, which are carried beside the text and never looked at: as JSON, a value each, in a column of bytes.

A shape asks for one with the type `ANY`. Null stays null. What is kept beside a text is so written again as it was read,
whatever it is: a number, true or false, a list, an object.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from whelp.artifacts.json_lines import write_json_values

ANY = pa.large_binary()
_MOST_DIGITS = 4000  # Python refuses to read longer numbers, which take quadratic time


def is_any(kind: pa.DataType) -> bool:
    """Whether a candidate column is one of any values."""
    return bool(kind == ANY)


def encode_value(value: Any) -> bytes | None:
    """One value as JSON. What JSON does not know is written as text; numbers that are none as null.

    >>> encode_value({"id": 7, "tags": ["é"]}), encode_value(None), encode_value([float("nan")])
    (b'{"id": 7, "tags": ["\\xc3\\xa9"]}', None, b'[null]')
    """
    if value is None:
        return None
    plain = _make_plain(value)
    try:
        return json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair: as an escape, as it was read
        return json.dumps(plain).encode()


def _make_plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): _make_plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_make_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def encode_values(values: pa.Array) -> pa.LargeBinaryArray:
    """An array of any type as JSON, a value each; text, whole numbers and true or false without a Python object for each."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        written = write_json_values(values).cast(ANY)
        return pc.if_else(values.is_null(), pa.scalar(None, ANY), written) if values.null_count else written
    return pa.array(map(encode_value, values.to_pylist()), ANY)


def parse_number(digits: str) -> int | float:
    """A whole number of JSON as it is; one of more digits than Python reads as the float next to it."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


def guess_type(value: Any) -> pa.DataType | None:
    """The Arrow type that holds all values of a JSON column whose first is this; None when only Python's parser will do.

    >>> guess_type("u1"), guess_type(7), guess_type([7])
    (DataType(string), DataType(int64), None)
    """
    if value is None or isinstance(value, str):
        return pa.string()
    if isinstance(value, bool):
        return pa.bool_()
    return pa.int64() if isinstance(value, int) else None
