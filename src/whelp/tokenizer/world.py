"""RWKV's World vocabulary: its text file, and the same as a tokenizer.json.

A line of the file is an id, a Python literal of text or of bytes, and the number of bytes: `33 ' ' 1`. Literals are read as
literals, never run. Id 0 is the end of text and stands in no line; the last one is 65,529, and the models have 65,536 rows:
the ids between are reserved tokens here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np

from whelp.base.errors import TokenizerError
from whelp.tokenizer._bytes import CHARACTER_OF_BYTE, describe_missing, spell_bytes
from whelp.tokenizer._specification import write_specification
from whelp.tokenizer.config import END_TOKEN
from whelp.tokenizer.encoding.greedy import find_neighbours

_MOST_IDS = 1 << 16
_ROUND = 64  # the number of ids is a multiple of it
_NEXT_STEP = "Copy it again from the rwkv package."


def looks_like_world(path: Path) -> bool:
    """Whether the first line is that of a World vocabulary."""
    with open(path, "rb") as file:
        parts = file.readline(200).split(b" ")
    return len(parts) >= 3 and parts[0] == b"1" and parts[-1].strip() == b"1"


def read_world(path: Path) -> dict[bytes, int]:
    """Read the vocabulary file: bytes -> id.

    Raises: TokenizerError: When a line cannot be read, an id or a token stands there twice, or a single byte is missing.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise TokenizerError(path, f"not UTF-8 text (byte {error.start})", "a World vocabulary", _NEXT_STEP) from None
    ids: dict[bytes, int] = {}
    used: set[int] = set()
    for number, line in enumerate(lines, 1):
        try:
            id_text, rest = line.split(" ", 1)
            literal, length = rest.rsplit(" ", 1)
            value = ast.literal_eval(literal)
            token, token_id = (value.encode() if isinstance(value, str) else value), int(id_text)
            is_right = isinstance(token, bytes) and 0 < len(token) == int(length) and 0 < token_id < _MOST_IDS
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            is_right = False
        if not is_right:
            found = f"line {number} is {line[:60]!r}"
            raise TokenizerError(path, found, "an id, a text and its number of bytes, such as 34 '!' 1", _NEXT_STEP)
        if token in ids or token_id in used:
            what = f"the token {token!r}" if token in ids else f"the id {token_id}"
            raise TokenizerError(path, f"line {number} has {what} a second time", "each once", _NEXT_STEP)
        ids[token] = token_id
        used.add(token_id)
    missing = describe_missing(ids)
    if missing is not None:
        raise TokenizerError(path, missing, "all of them, so that every text can be written", _NEXT_STEP)
    return ids


def make_world_json(ids: dict[bytes, int]) -> str:
    """The tokenizer.json of a greedy vocabulary: WordPiece without a prefix, over pieces that no token crosses."""
    num_ids = -(-(max(ids.values()) + 1) // _ROUND) * _ROUND
    special = {END_TOKEN: 0, **{f"<|reserved_{number}|>": number for number in range(max(ids.values()) + 1, num_ids)}}
    tokens = {spell_bytes(token): token_id for token, token_id in ids.items()}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    cut = {"type": "Split", "pattern": {"Regex": _make_border_pattern(ids)}, "behavior": "Isolated", "invert": False}
    model = {
        "type": "WordPiece",
        "unk_token": END_TOKEN,
        "continuing_subword_prefix": "",
        "max_input_chars_per_word": 1 << 30,
        "vocab": {**special, **tokens},  # in text the special ones are cut, for no token holds "|>"
    }
    return write_specification(model, special=special, pre_tokenizer={"type": "Sequence", "pretokenizers": [byte_level, cut]})


def _make_border_pattern(ids: dict[bytes, int]) -> str:
    """A regular expression of one piece: bytes of which each may be followed by the next, as far as that goes."""
    follows = find_neighbours(ids).reshape(256, 256)
    groups: dict[bytes, list[int]] = {}
    for byte in range(256):
        groups.setdefault(follows[byte].tobytes(), []).append(byte)
    inside = [
        f"{_make_class(firsts)}(?={_make_class(np.flatnonzero(follows[firsts[0]]).tolist())})"
        for firsts in groups.values()
        if follows[firsts[0]].any()
    ]
    return f"(?:{'|'.join(inside)})*[\\s\\S]"


def _make_class(values: list[int]) -> str:
    """A character class of the characters that spell these bytes, runs of them as ranges."""
    points = sorted(ord(CHARACTER_OF_BYTE[value]) for value in values)
    runs: list[list[int]] = []
    for point in points:
        if runs and point == runs[-1][1] + 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    spelled = [f"\\x{{{low:x}}}" + (f"-\\x{{{high:x}}}" if high > low else "") for low, high in runs]
    return f"[{''.join(spelled)}]"
