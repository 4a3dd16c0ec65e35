"""Rows of JSON: one object a line (`.jsonl`, `.ndjson`), or an array of objects (`.json`).

Lines are parsed by Arrow, a block at a time, and only the column asked for. Where Arrow stumbles over a block, or could
have read it otherwise than line by line, Python's parser looks at each line of it and has the last word.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.json as pj

from whelp.corpus.rows import HEAD_BYTES, NO_TEXT, NOT_TEXT, NOT_UTF8, NUM_HEAD_ROWS, BadRows, Open, Rows, choose_column, clean
from whelp.corpus.text import BadFile

_BROKEN = "broken JSON"
_NOT_AN_OBJECT = "not an object"
_MOST_BLOCK_BYTES = 1 << 30  # Arrow counts the bytes of a block in 31 bits
_IS_INK = np.ones(256, np.bool_)
_WHITE_SPACE = b" \t\n\r"
_IS_INK[list(_WHITE_SPACE)] = False
_KINDS = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
_EXPORT = "Write it as one JSON object a line, or as an array of objects."


def iter_json_lines(open_file: Open, asked: str | None, bad: BadRows, block_bytes: int) -> Iterator[Rows]:
    """One object a line; blank lines are passed over. Memory: a few blocks, or the longest line."""
    with open_file() as stream:
        column = _choose_line_column(_read_head(stream), asked)
    line = 1
    with open_file() as stream:
        for block in _iter_whole_lines(stream, block_bytes):
            yield _read_lines(block, line, column, bad)
            line += block.count(b"\n")


def iter_json_array(open_file: Open, asked: str | None, bad: BadRows, block_bytes: int) -> Iterator[Rows]:
    """An array of objects, or an object with one such array; read whole. One object a line is taken as that.

    Raises:
        BadFile: When it is neither.
    """
    with open_file() as stream:
        head = _read_head(stream)
    if _is_lines(head):
        bad.unit = "line"
        yield from iter_json_lines(open_file, asked, bad, block_bytes)
        return
    with open_file() as stream:
        data = b"".join(iter(lambda: stream.read(HEAD_BYTES), b""))
    rows = _find_rows(_parse_whole(data))
    column = choose_column(asked, _look_at_columns(row for row in rows if isinstance(row, dict)))
    texts: list[str] = []
    numbers: list[int] = []
    for number, row in enumerate(rows, 1):
        text = _take_text(row, column, number, bad)
        if text is not None:
            texts.append(text)
            numbers.append(number)
    yield Rows(pa.array(texts, pa.large_string()), np.array(numbers, np.int64))


def _read_head(stream: Any) -> bytes:
    """Whole lines from the start: of `HEAD_BYTES`, or more when the first is longer."""
    head = b""
    while block := stream.read(HEAD_BYTES):
        head += block
        if len(head) >= HEAD_BYTES and head.strip().find(b"\n") >= 0:
            return _strip_mark(head[: head.rfind(b"\n")])
    return _strip_mark(head)


def _strip_mark(data: bytes) -> bytes:
    return data[len(codecs.BOM_UTF8) :] if data.startswith(codecs.BOM_UTF8) else data


def _is_lines(head: bytes) -> bool:
    lines = list(islice((line for line in head.splitlines() if line.strip()), 2))
    return len(lines) == 2 and isinstance(_try_parse(lines[0]), dict)


def _choose_line_column(head: bytes, asked: str | None) -> str:
    lines = islice((line for line in head.split(b"\n") if line.strip()), NUM_HEAD_ROWS)
    columns = _look_at_columns(row for row in map(_try_parse, lines) if isinstance(row, dict))
    if not columns:  # no object among the first lines: reading them says what is wrong with the first
        return asked if asked is not None else "text"
    return choose_column(asked, columns)


def _look_at_columns(rows: Iterator[dict[str, Any]]) -> dict[str, bool]:
    """Which columns the first rows have, and whether each holds any text."""
    kinds: dict[str, set[type]] = {}
    for row in islice(rows, NUM_HEAD_ROWS):
        for name, value in row.items():
            kinds.setdefault(name, set()).add(type(value))
    return {name: str in found for name, found in kinds.items()}


def _iter_whole_lines(stream: Any, block_bytes: int) -> Iterator[bytes]:
    pending: list[bytes] = []
    is_first = True
    while block := stream.read(block_bytes):
        pending.append(block)
        end = block.rfind(b"\n") + 1
        if not end:
            continue
        pending[-1] = block[:end]
        whole = b"".join(pending)
        yield _strip_mark(whole) if is_first else whole
        is_first = False
        pending = [block[end:]]
    rest = b"".join(pending)
    if rest:
        yield _strip_mark(rest) if is_first else rest


def _read_lines(block: bytes, first_line: int, column: str, bad: BadRows) -> Rows:
    if not block:
        return Rows(pa.array([], pa.large_string()), np.zeros(0, np.int64))
    data = np.frombuffer(block, np.uint8)
    newlines = np.flatnonzero(data == 10).astype(np.int64, copy=False)
    starts = np.concatenate([np.zeros(1, np.int64), newlines + 1])
    ends = np.append(newlines, len(block))
    if starts[-1] == len(block):
        starts, ends = starts[:-1], ends[:-1]
    has_ink = np.logical_or.reduceat(_IS_INK[data], starts)
    numbers = (first_line + np.flatnonzero(has_ink)).astype(np.int64, copy=False)
    starts, ends = starts[has_ink], ends[has_ink]
    if not len(starts):
        return Rows(pa.array([], pa.large_string()), numbers)
    values = _read_with_arrow(block, data, starts, ends, column)
    if values is None:
        return _read_one_by_one(block, starts, ends, numbers, column, bad)
    return clean(values, numbers, column, bad)


def _read_with_arrow(
    block: bytes, data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], column: str
) -> Any:
    """One value a line, or None when this is not plainly one good object on every line."""
    last = ends - 1 - (data[ends - 1] == ord("\r"))
    if len(block) > _MOST_BLOCK_BYTES or (data[starts] != ord("{")).any() or (data[last] != ord("}")).any():
        return None
    try:
        table = pj.read_json(
            pa.BufferReader(block),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=pa.schema([(column, pa.string())]), unexpected_field_behavior="ignore"
            ),
        )
        if table.num_rows != len(starts) or table.num_columns != 1:
            return None
        values = table.column(0).combine_chunks()
        values = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
        values.validate(full=True)  # half a surrogate pair comes through Arrow's parser as bytes that are not UTF-8
    except pa.ArrowException:
        return None
    return None if values.null_count else values


def _read_one_by_one(
    block: bytes,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    column: str,
    bad: BadRows,
) -> Rows:
    texts: list[str] = []
    kept: list[int] = []
    for start, end, number in zip(starts.tolist(), ends.tolist(), numbers.tolist(), strict=True):
        try:
            row = json.loads(block[start:end].rstrip(_WHITE_SPACE).decode(), parse_int=float)
        except UnicodeDecodeError as error:
            found = f"not UTF-8 text (byte 0x{error.object[error.start]:02x} at column {error.start + 1})"
            bad.add(number, NOT_UTF8, found, "UTF-8")
            continue
        except (ValueError, RecursionError) as error:
            bad.add(number, _BROKEN, f"broken JSON ({_say(error)})", "one JSON object")
            continue
        text = _take_text(row, column, number, bad)
        if text is not None:
            texts.append(text)
            kept.append(number)
    return Rows(pa.array(texts, pa.large_string()), np.array(kept, np.int64))


def _take_text(row: Any, column: str, number: int, bad: BadRows) -> str | None:
    if not isinstance(row, dict):
        bad.add(number, _NOT_AN_OBJECT, _name_kind(row), "a JSON object")
        return None
    if row.get(column) is None:
        bad.add(number, NO_TEXT, f"{column!r} is null" if column in row else f"has no {column!r}", "text")
        return None
    text = row[column]
    if not isinstance(text, str):
        bad.add(number, NOT_TEXT, f"{column!r} is {_name_kind(text)}", "text")
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        bad.add(number, NOT_UTF8, f"{column!r} holds half of a surrogate pair, which is no character", "text")
        return None
    return text


def _name_kind(value: Any) -> str:
    return "null" if value is None else "text" if isinstance(value, str) else _KINDS[type(value)]


def _try_parse(line: bytes) -> Any:
    try:
        return json.loads(line, parse_int=float)
    except (ValueError, RecursionError):
        return None


def _say(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}"
    return "nested too deeply"


def _parse_whole(data: bytes) -> Any:
    try:
        return json.loads(_strip_mark(data).decode(), parse_int=float)
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 text (first bad byte 0x{error.object[error.start]:02x} at byte {error.start})"
        raise BadFile("wrong encoding", reason, "Write it as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise BadFile(_BROKEN, f"broken JSON at line {error.lineno} ({_say(error)})", "Mend it, or write it again.") from None
    except (ValueError, RecursionError) as error:
        raise BadFile(_BROKEN, f"broken JSON ({_say(error)})", _EXPORT) from None


def _find_rows(value: Any) -> list[Any]:
    if isinstance(value, dict):
        arrays = {name: inner for name, inner in value.items() if isinstance(inner, list) and _has_object(inner)}
        if len(arrays) == 1:
            return next(iter(arrays.values()))
        what = f"{len(arrays)} arrays of objects ({', '.join(arrays)})" if arrays else "no array of objects in it"
        raise BadFile("no rows", f"a JSON object with {what}", _EXPORT)
    if isinstance(value, list) and _has_object(value):
        return value
    what = "an array without objects" if isinstance(value, list) else _name_kind(value)
    raise BadFile("no rows", f"JSON, but {what}", _EXPORT)


def _has_object(values: list[Any]) -> bool:
    return any(isinstance(value, dict) for value in values)
