"""Which pattern a request asks for, in whichever of the ways that clients have for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whelp.base.errors import WhelpError
from whelp.serve.errors import ApiError

_OBJECT = {"type": "object"}
_OLD_NAMES = {"guided_json": "json", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "grammar"}
_SETTINGS = {"json": "json_schema", "regex": "regex", "choice": "choice", "grammar": "grammar"}


@dataclass(frozen=True)
class AskedPattern:
    """What a text shall be: a setting of the engine, and where in the request it stands."""

    place: str
    setting: str
    value: Any

    def explain(self, error: WhelpError) -> str:
        """An error of the engine, in the words of the request."""
        message = str(error)
        return f"{self.place}{message.removeprefix(error.where)}" if error.where == self.setting else message


def read_pattern(body: Mapping[str, Any]) -> AskedPattern | None:
    """What a request asks for, which is one thing at most.

    >>> read_pattern({"response_format": {"type": "json_object"}})
    AskedPattern(place='response_format', setting='json_schema', value={'type': 'object'})
    >>> read_pattern({"structured_outputs": {"choice": ["yes", "no"]}})
    AskedPattern(place='structured_outputs.choice', setting='choice', value=['yes', 'no'])

    Raises: ApiError: 400 When there are several, or one is not whole.
    """
    asked = [*_read_format(body.get("response_format", {})), *_read_others(body)]
    if len(asked) > 1:
        message = f"{' and '.join(each.place for each in asked)} are given, but a text follows one pattern."
        raise ApiError(400, message, code="invalid_value", param=asked[0].place)
    return asked[0] if asked else None


def _read_format(asked: Mapping[str, Any]) -> list[AskedPattern]:
    where = "response_format"
    kind = asked.get("type", "text")
    if kind == "json_schema" and asked.get("json_schema") is None:
        message = f"{where}.json_schema is missing: it holds the schema that the text is to be valid by."
        raise ApiError(400, message, code="invalid_value", param=f"{where}.json_schema")
    if kind == "text":
        return []
    return [AskedPattern(where, "json_schema", _OBJECT if kind == "json_object" else asked["json_schema"]["schema"])]


def _read_others(body: Mapping[str, Any]) -> list[AskedPattern]:
    where, inner = "structured_outputs", body.get("structured_outputs", {})
    asked = {f"{where}.{name}": (name, value) for name, value in inner.items()}
    asked |= {name: (_OLD_NAMES[name], body[name]) for name in _OLD_NAMES if name in body}
    found = []
    for place, (name, value) in asked.items():
        if name == "json_object" and value:
            found.append(AskedPattern(place, "json_schema", _OBJECT))
        elif name != "json_object" and value is not None:
            found.append(AskedPattern(place, _SETTINGS[name], _read_schema(value, place) if name == "json" else value))
    return found


def _read_schema(value: Any, where: str) -> Any:
    """A schema; vLLM's clients may send one as text."""
    if not isinstance(value, str):
        return value
    try:
        schema = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"{where} is not JSON ({error}).", code="invalid_value", param=where) from None
    if not isinstance(schema, dict):
        raise ApiError(400, f"{where} is no JSON schema: an object is expected.", code="invalid_value", param=where)
    return schema
