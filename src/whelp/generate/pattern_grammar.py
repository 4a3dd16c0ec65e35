"""What a text shall be, as a grammar in the words of llguidance (Lark's, with regular expressions and JSON schemas in them)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from whelp.base.errors import ConfigError, PlanError
from whelp.generate.config import GenerateConfig
from whelp.generate.pattern_regex import convert_regex, write_ranges

_HEAD = '%llguidance {"no_forcing": true}\n'  # the model chooses the tokens, also where it has no choice of letters
_LAYOUT = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
}  # a small model would fill pages with space
_MOST_REMAINDERS = 10_000  # of multipleOf: the library compiles an automaton with a state for each, and has no bound of its own
_STRUCTURE = {
    "object": '{}":',
    "array": "[],",
    "string": '"',
    "integer": "0123456789",
    "number": "0123456789",
    "boolean": "truefalse",
    "null": "null",
}
"""Letters that JSON needs, by type."""
KEEPING_TO_LETTERS = ("regex", "choice")
"""Patterns whose grammar keeps to the letters that can be written."""


def write_grammar(config: GenerateConfig, letters: frozenset[str] | None, written: str | None = None) -> str:
    """The grammar of the pattern that a request asks for.

    Args:
        letters: All that can be written; None where that is not known by letters, or all can be.
        written: A regular expression of all texts that can be written, where that is known otherwise.

    Raises: PlanError: When it is no pattern, or needs other letters.
    """
    if config.choice:
        _check_letters("choice", "".join(config.choice), letters)
        texts = " | ".join(json.dumps(text, ensure_ascii=False) for text in config.choice)
        both = f"({texts}) & /{written}/" if written else texts
        return f"{_HEAD}start: TEXT\nTEXT: {both}\n"  # one automaton, of however many
    if config.regex is not None:
        return _HEAD + _write_regex(config.regex, letters, written)
    if config.json_schema is not None:
        _check_multiples("json_schema", config.json_schema)
        layout = config.json_schema.get("x-guidance", _LAYOUT)
        return f"{_HEAD}start: %json {json.dumps({**config.json_schema, 'x-guidance': layout})}\n"
    assert config.grammar is not None, "a pattern was asked for"
    return _HEAD + _read_grammar(config.grammar)


def _write_regex(regex: str, letters: frozenset[str] | None, within: str | None) -> str:
    from llguidance import regex_to_lark

    written = f"/{regex_to_lark(convert_regex(regex), '')}/"
    if letters is not None:  # the text keeps to these: so it never comes to where only another one could follow
        written += f" & /[{write_ranges(map(ord, letters))}]*/"
    elif within is not None:
        written += f" & /{within}/"
    return f"start: TEXT\nTEXT: {written}\n"


def _read_grammar(text: str) -> str:
    """A grammar in Lark's form, or in that of llama.cpp (GBNF)."""
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        grammar = str(any_to_lark(text))
    except Exception as error:  # of several kinds
        raise PlanError("grammar", f"it cannot be read ({error})", "a grammar in Lark's form, or llama.cpp's (GBNF)") from None
    _check_multiples("grammar", [*_find_schemas(grammar)])
    return grammar


def _find_schemas(grammar: str) -> Iterator[Any]:
    """JSON schemas within a grammar in Lark's form; what is no JSON is left for the library to refuse."""
    decoder = json.JSONDecoder(parse_int=float)  # of however many digits
    for match in re.finditer(r"%json\s*(?={)", grammar):
        try:
            yield decoder.raw_decode(grammar, match.end())[0]
        except ValueError:
            continue


def _check_multiples(where: str, schema: Any) -> None:
    num_remainders = math.lcm(*_find_multiples(schema))  # of several: they may be asked of one number
    if num_remainders > _MOST_REMAINDERS:
        found = "its multipleOf, all together, has more remainders than are followed"
        raise PlanError(
            where, found, f"a least common multiple of {_MOST_REMAINDERS:,} at most", "Ask for multiples of a smaller number."
        )


def _find_multiples(schema: Any) -> Iterator[int]:
    """Each `multipleOf`, as a whole number: without the point."""
    for entry in schema if isinstance(schema, list) else schema.values() if isinstance(schema, dict) else ():
        yield from _find_multiples(entry)
    multiple = schema.get("multipleOf") if isinstance(schema, dict) else None
    if isinstance(multiple, (int, float)) and not isinstance(multiple, bool) and 0 < multiple < math.inf:
        written = f"{Decimal(str(multiple)):f}"
        yield int((written.rstrip("0") if "." in written else written).replace(".", ""))


def _check_letters(where: str, needed: Iterable[str], letters: frozenset[str] | None) -> None:
    missing = sorted(set(needed) - letters) if letters is not None else []
    if missing:
        shown = ", ".join(map(repr, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise PlanError(where, f"the vocabulary cannot write {shown}", "", "Ask for a text of its letters.")


def check_schema_letters(schema: Any, letters: frozenset[str] | None) -> None:
    """Raises: PlanError: When a schema that no text fits needs other letters."""
    _check_letters("json_schema", _find_letters(schema), letters)


def _find_letters(schema: Any) -> Iterator[str]:
    """Letters without which no text fits a schema, or hardly any."""
    if isinstance(schema, list):
        for entry in schema:
            yield from _find_letters(entry)
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        if key == "properties" and isinstance(value, dict):
            yield from "".join(value)
            for entry in value.values():
                yield from _find_letters(entry)
        elif key in ("const", "enum"):
            yield from "".join(json.dumps(entry, ensure_ascii=False) for entry in (value if key == "enum" else [value]))
        elif key == "type":
            for kind in value if isinstance(value, list) else [value]:
                yield from _STRUCTURE.get(str(kind), "")
        else:
            yield from _find_letters(value)


def read_json_schema(text: str | bytes, where: object) -> dict[str, Any]:
    """A JSON schema in a file, or in a text.

    Raises: ConfigError: When it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(where, [f"it is not JSON ({error})"], "A JSON schema is expected.") from None
    if not isinstance(value, dict):
        raise ConfigError(where, ["it is no JSON schema: an object is expected"])
    return value
