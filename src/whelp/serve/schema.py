"""Check a JSON value against the JSON schema that the documentation shows: one table says both what is true and what is told."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whelp.base.visible_text import cut_short

Schema = Mapping[str, Any]

_SHOWN_CHARACTERS = 60  # of a name or a value, in a message

_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}


@dataclass(frozen=True)
class Problem:
    """Where in a value, and what is wrong there."""

    path: str
    message: str


def check(value: Any, schema: Schema, path: str = "") -> Problem | None:
    """The first thing wrong with `value`, or None. Knows the part of JSON schema that our tables use.

    >>> check({"n": 0}, {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}).message
    'n is 0, but at least 1 is expected'
    """
    if "anyOf" in schema:
        return _check_any(value, schema["anyOf"], path)
    if "enum" in schema:
        if any(_is_same(value, choice) for choice in schema["enum"]):
            return None
        if "description" in schema:
            return Problem(path, f"{path} is {_show(value)}. {schema['description']}")
        choices = ", ".join(map(_show, schema["enum"]))
        return Problem(path, f"{path} is {_show(value)}, but expected {'one of ' if len(schema['enum']) > 1 else ''}{choices}")
    kind = schema.get("type")
    if kind is not None and not _has_type(value, kind):
        return Problem(path, f"{path or 'the body'} is {_show(value)}, but {_WORDS[kind]} is expected")
    if isinstance(value, str):
        if "pattern" in schema and not re.fullmatch(schema["pattern"].strip("^$"), value):
            return Problem(path, f"{path} is {_show(value)}, but expected {schema['description']}")
        return _check_length(value, schema, path, "Length", "characters")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _check_number(value, schema, path)
    if isinstance(value, list):
        return _check_length(value, schema, path, "Items", "entries") or _check_items(value, schema, path)
    if isinstance(value, dict):
        return _check_object(value, schema, path)
    return None


def _check_any(value: Any, options: list[Schema], path: str) -> Problem | None:
    problems = [check(value, option, path) for option in options]
    if None in problems:
        return None
    fitting = [p for p, option in zip(problems, options, strict=True) if p and _fits_roughly(value, option)]
    if len({problem.message for problem in fitting}) == 1:
        return fitting[0]
    deeper = [problem for problem in fitting if problem.path != path]
    if deeper:
        return max(deeper, key=lambda problem: len(problem.path))
    words = " or ".join(_describe(option) for option in options)
    return Problem(path, f"{path} is {_show(value)}, but expected {words}")


def _fits_roughly(value: Any, option: Schema) -> bool:
    kind = option.get("type")
    return kind is not None and _has_type(value, kind)


def _describe(option: Schema) -> str:
    if "enum" in option:
        return " or ".join(map(_show, option["enum"]))
    kind = option["type"]
    return str(option.get("description") or _WORDS[kind])


def _check_length(value: str | list[Any], schema: Schema, path: str, suffix: str, unit: str) -> Problem | None:
    low, high = schema.get(f"min{suffix}"), schema.get(f"max{suffix}")
    if low is not None and len(value) < low:
        return Problem(path, f"{path} has {len(value)} {unit}, but at least {low} is expected")
    if high is not None and len(value) > high:
        return Problem(path, f"{path} has {len(value)} {unit}, but at most {high} are allowed")
    return None


def _check_number(value: float, schema: Schema, path: str) -> Problem | None:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and value < low:
        return Problem(path, f"{path} is {_show(value)}, but at least {low} is expected")
    if high is not None and value > high:
        return Problem(path, f"{path} is {_show(value)}, but at most {high} is allowed")
    return None


def _check_items(value: list[Any], schema: Schema, path: str) -> Problem | None:
    if "items" not in schema:
        return None
    for index, item in enumerate(value):
        problem = check(item, schema["items"], f"{path}[{index}]")
        if problem is not None:
            return problem
    return None


def _check_object(value: dict[str, Any], schema: Schema, path: str) -> Problem | None:
    properties = schema.get("properties", {})
    prefix = f"{path}." if path else ""
    others = schema.get("additionalProperties", True)
    for name, entry in value.items():
        if name in properties:
            problem = check(entry, properties[name], f"{prefix}{name}")
        elif others is False:
            near = difflib.get_close_matches(name, properties, n=1, cutoff=0.6)
            hint = f" Did you mean {prefix}{near[0]}?" if near else ""
            problem = Problem(
                f"{prefix}{cut_short(name, _SHOWN_CHARACTERS)}",
                f"unknown parameter {prefix}{cut_short(name, _SHOWN_CHARACTERS)}.{hint}",
            )
        else:
            names = schema.get("propertyNames")
            problem = check(name, names, f"{prefix}{cut_short(name, _SHOWN_CHARACTERS)}") if names else None
            if problem is None and isinstance(others, Mapping):
                problem = check(entry, others, f"{prefix}{cut_short(name, _SHOWN_CHARACTERS)}")
        if problem is not None:
            return problem
    missing = next((name for name in schema.get("required", []) if name not in value), None)
    return None if missing is None else Problem(f"{prefix}{missing}", f"{prefix}{missing} is missing")


def _has_type(value: Any, kind: str) -> bool:
    if kind == "null":
        return value is None
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in ("integer", "number"):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return False
        return kind == "number" or float(value).is_integer()
    return isinstance(value, {"string": str, "array": list, "object": dict}[kind])


def _is_same(value: Any, choice: Any) -> bool:
    return type(value) is type(choice) and bool(value == choice)


def _show(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (str, int, float)):
        return cut_short(repr(value), _SHOWN_CHARACTERS)
    if isinstance(value, list):
        return "a list"
    return "{}" if value == {} else "an object"
