"""Values of parsed JSON as Arrow columns. Values of another kind than a column's are bad rows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import islice, repeat
from typing import Any

import pyarrow as pa

from whelp.corpus.any_values import encode_value, is_any
from whelp.corpus.columns import Selection
from whelp.corpus.nested import holds, look_up
from whelp.corpus.number_texts import is_number, name_note, write_number
from whelp.corpus.row_shape import (
    NAME_THE_COLUMN,
    NO_TEXT,
    NOT_A_LIST,
    NOT_AN_OBJECT,
    NOT_TEXT,
    NOT_UTF8,
    UNEVEN_LISTS,
    BadValue,
    is_turns,
)

_KINDS = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
BROKEN = "broken JSON"
_QUOTE = "Write it in quotes, or as a whole number, "


def name_kind(value: Any) -> str:
    """What a JSON value is, in words."""
    return "null" if value is None else "text" if isinstance(value, str) else _KINDS[type(value)]


def say_json_error(error: Exception) -> str:
    """What is wrong with JSON, in words."""
    if isinstance(error, json.JSONDecodeError):
        said = error.msg.removesuffix(" at")  # "Unterminated string starting at"
        if said == "Invalid control character":
            character = error.doc[error.pos]
            said = f"control character \\x{ord(character):02x}, which JSON writes as {json.dumps(character)[1:-1]},"
        return f"{said[:1].lower()}{said[1:]} at column {error.colno}"
    return "nested too deeply"


def to_arrays(rows: list[Any], selection: Selection) -> tuple[list[pa.Array], dict[int, BadValue], Counter[str]]:
    """The columns of parsed rows; the rows that are bad, by index; notes of the numbers that became text.

    A row may be a `BadValue` already.
    """
    found: dict[int, BadValue] = {}
    num_written: Counter[str] = Counter()
    values: list[list[Any]] = [[] for _ in selection.schema]
    for index, row in enumerate(rows):
        problem = row if isinstance(row, BadValue) else _find_problem(row, selection)
        if problem is not None:
            found[index] = problem
        for column, field in zip(values, selection.schema, strict=True):
            value = None if problem is not None else look_up(row, field.name)
            if isinstance(value, int) and not is_any(field.type):
                num_written[name_note(field.name, is_truth=isinstance(value, bool))] += 1
                value = write_number(value)
            column.append(_pick(value, field))
    return [pa.array(column, field.type) for column, field in zip(values, selection.schema, strict=True)], found, num_written


def _pick(value: Any, field: pa.Field) -> Any:
    if is_any(field.type):
        return encode_value(value)
    if value is None or not is_turns(field.type):
        return value
    names = [inner.name for inner in field.type.value_type]
    if isinstance(value, dict):
        columns = [value.get(name) or repeat(None) for name in names]
        length = max((len(inner) for name in names if (inner := value.get(name)) is not None), default=0)
        return [dict(zip(names, turn, strict=True)) for turn in islice(zip(*columns, strict=False), length)]
    return [{name: turn.get(name) for name in names} for turn in value]


def _find_problem(row: Any, selection: Selection) -> BadValue | None:
    if not isinstance(row, dict):
        return BadValue(NOT_AN_OBJECT, name_kind(row), "a JSON object")
    for field in selection.schema:
        value = look_up(row, field.name)
        if value is None:
            if selection.is_text:
                found = f"{field.name!r} is null" if holds(row, field.name) else f"has no {field.name!r}"
                return BadValue(NO_TEXT, found, "text")
            continue
        if is_any(field.type):
            continue
        problem = _check_turns(value, field) if is_turns(field.type) else _check_column(value, field.name, selection)
        if problem is not None:
            return problem
    return None


def _check_column(value: Any, name: str, selection: Selection) -> BadValue | None:
    if name not in selection.named:
        problem = _check_text(value, repr(name))
        return replace(problem, remedy=f"{NAME_THE_COLUMN}, ") if problem is not None and is_number(value) else problem
    if isinstance(value, float):
        return BadValue(NOT_TEXT, f"{name!r} is a number that is not written as a whole one", "text, or a whole number", _QUOTE)
    return None if is_number(value) else _check_text(value, repr(name))


def _check_text(value: Any, name: str) -> BadValue | None:
    if not isinstance(value, str):
        return BadValue(NOT_TEXT, f"{name} is {name_kind(value)}", "text")
    if value.isascii():
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return BadValue(NOT_UTF8, f"{name} holds half of a surrogate pair, which is no character", "text")
    return None


def _check_turns(value: Any, field: pa.Field) -> BadValue | None:
    if isinstance(value, dict):
        return _check_lists(value, field)
    if not isinstance(value, list):
        return BadValue(NOT_A_LIST, f"{field.name!r} is {name_kind(value)}", "a list of objects")
    for place, turn in enumerate(value, 1):
        if not isinstance(turn, dict):
            return BadValue(NOT_AN_OBJECT, f"{field.name!r} holds {name_kind(turn)} in its list", "a list of objects")
        for inner in field.type.value_type:
            inside = turn.get(inner.name)
            problem = None if inside is None else _check_text(inside, f"{inner.name!r} of turn {place} of {field.name!r}")
            if problem is not None:
                return problem
    return None


def _check_lists(value: dict[str, Any], field: pa.Field) -> BadValue | None:
    """Check an object of lists, of which number i of each make turn i."""
    names = [inner.name for inner in field.type.value_type if value.get(inner.name) is not None]
    wrong = [name for name in names if not isinstance(value[name], list)]
    if wrong or not names:
        what = f"{wrong[0]!r} of {field.name!r} is {name_kind(value[wrong[0]])}" if wrong else f"{field.name!r} is an object"
        return BadValue(NOT_A_LIST, what, "a list of objects, or an object of lists")
    if len({len(value[name]) for name in names}) > 1:
        sizes = ", ".join(f"{len(value[name]):,} of {name}" for name in names)
        return BadValue(UNEVEN_LISTS, f"{field.name!r} holds lists of different lengths ({sizes})", "equal lengths")
    for name in names:
        for place, inside in enumerate(value[name], 1):
            problem = None if inside is None else _check_text(inside, f"{name!r} of turn {place} of {field.name!r}")
            if problem is not None:
                return problem
    return None
