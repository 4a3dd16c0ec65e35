"""A tokenizer.json as text: read with the text of its model as it stands there, and written.

The model is nearly all of a large file. Encoders want the file with other settings around the same model, and take longer to be
told of it than to be opened when the model is written as JSON anew.
"""

from __future__ import annotations

import json
import re
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
_parse = json.JSONDecoder().raw_decode


def read_specification(text: str) -> tuple[Any, slice | None]:
    """The values, and where the member `model` stands in the text; None where it has none.

    >>> read_specification('{"model": {"type": "BPE"}}')
    ({'model': {'type': 'BPE'}}, slice(10, 25, None))

    Raises:
        ValueError: When it is no JSON.
    """
    try:
        return _read_members(text)
    except (ValueError, IndexError):  # no object, an empty one, or broken: which says the parser of the whole
        return json.loads(text), None


def _read_members(text: str) -> tuple[dict[str, Any], slice | None]:
    values: dict[str, Any] = {}
    model: slice | None = None
    end = _take(text, 0, "{")
    while True:
        name, end = _parse(text, end)
        start = _take(text, end, ":")
        values[name], end = _parse(text, start)
        if name == "model":
            model = slice(start, end)
        if text[_skip(text, end)] == "}":
            break
        end = _take(text, end, ",")
    if _skip(text, _take(text, end, "}")) < len(text) or not all(isinstance(name, str) for name in values):
        raise ValueError
    return values, model


def _take(text: str, place: int, sign: str) -> int:
    """The place after a sign and the white space around it."""
    place = _skip(text, place)
    if text[place] != sign:
        raise ValueError
    return _skip(text, place + 1)


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None, place  # no white space matches, too
    return found.end()


def write_specification(model: dict[str, Any], *, special: dict[str, int], pre_tokenizer: dict[str, Any]) -> str:
    """The text of a tokenizer.json whose tokens are spelled byte by byte, and read back so.

    Args:
        model: With the special tokens in its vocabulary, too: one that it has not is numbered anew when read.
        special: Control tokens and their ids, in the order of ids.
    """
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    specification = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token_id, "content": token, **flags} for token, token_id in special.items()],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": model,
    }
    return dump_json(specification)


def dump_json(value: Any) -> str:
    """JSON without indents, which take half as long again to read."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
