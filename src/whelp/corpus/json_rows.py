"""Rows of JSON: one object a line (`.jsonl`, `.ndjson`), or an array of objects (`.json`).

Lines are parsed by Arrow, a block at a time, and only the columns asked for. Where Arrow stumbles over a block, or could
have read it otherwise than line by line, Python's parser looks at each line of it and has the last word.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from whelp.base.arrays import find_byte
from whelp.corpus.any_values import guess_type, is_any, parse_number
from whelp.corpus.columns import Selection, list_candidates, list_missing_companions, select_columns
from whelp.corpus.encodings import BadFile
from whelp.corpus.json_values import BROKEN, name_kind, say_json_error, to_arrays
from whelp.corpus.nested import TEXT_ITSELF, find_place, holds, is_path, look_at_rows, look_up, nest
from whelp.corpus.row_shape import NOT_UTF8, BadValue, is_turns, too_long
from whelp.corpus.rows import HEAD_BYTES, NUM_HEAD_ROWS, Reading, Rows, make_no_rows, make_rows
from whelp.corpus.whole_lines import LONG_LINE_BYTES, Data, LongLine, iter_blocks, iter_whole_lines, strip_mark

_MOST_BLOCK_BYTES = 1 << 30  # Arrow counts the bytes of a block in 31 bits
_ARRAY_ROWS = 4096
_SEEN_BYTES = 64  # in which a file shows what it begins with
_IS_INK = np.ones(256, np.bool_)
_WHITE_SPACE = b" \t\n\r"
_IS_INK[list(_WHITE_SPACE)] = False
_EXPORT = "Write it as one JSON object a line, or as an array of objects."
_OF_MANY = (
    "Where it holds objects one behind the other, write each on a line of its own (`jq -c . FILE > rows.jsonl`); else mend it."
)
_OF_ONE = "Where it is a row itself, name its column of text in data.custom_text_key."
_OF_TEXTS = 'Each of its texts is an object then: {"text": "..."}.'
_OF_FRAME = "Of a pandas frame: frame.to_json(path, orient='records', lines=True)."


def iter_json_lines(reading: Reading) -> Iterator[Rows]:
    """One object a line; blank lines are passed over. Memory: a few blocks, or the longest line.

    An array of objects, which some programs write under this name, is taken as that.
    """
    if not _is_of_lines(reading, "jsonl"):
        reading.bad.unit = "row"
        yield from _iter_array(reading)
        return
    selection = _select_of_lines(reading)
    line = 1
    with reading.open_file() as stream:
        for block in iter_whole_lines(iter_blocks(stream, reading.block_bytes), reading.max_row_bytes):
            if isinstance(block, LongLine):
                first, end = reading.window.take(1)
                if first < end:
                    reading.bad.add(line, too_long("a line", reading.max_row_bytes), block.say())
                line += 1
                continue
            rows, num_lines = _read_lines(block, line, selection, reading)
            line += num_lines
            del block  # a line may be as large as memory allows: nothing holds it while its rows are encoded
            yield rows
            if reading.window.is_done:
                return


def iter_json_array(reading: Reading) -> Iterator[Rows]:
    """An array of objects, or an object with one such array; read whole. One object a line is taken as that.

    Raises:
        BadFile: When it is neither.
    """
    if _is_of_lines(reading, "json"):
        reading.bad.unit = "line"
        yield from iter_json_lines(reading)
        return
    yield from _iter_array(reading)


def _iter_array(reading: Reading) -> Iterator[Rows]:
    with reading.open_file() as stream:
        data = b"".join(iter(lambda: stream.read(HEAD_BYTES), b""))
    rows = _find_rows(_parse_whole(data), list_candidates(reading.shape, reading.asked))
    columns = look_at_rows(islice(_iter_objects(rows), NUM_HEAD_ROWS))
    missing = [name for name in list_candidates(reading.shape, reading.asked) if name not in columns]
    columns |= {name: TEXT_ITSELF for name in missing if any(holds(row, name) for row in _iter_objects(rows))}
    selection = select_columns(reading.shape, reading.asked, columns, absent_too=True)
    for start in range(0, len(rows), _ARRAY_ROWS):
        chunk = rows[start : start + _ARRAY_ROWS]
        first, end = reading.window.take(len(chunk))
        wanted = chunk[first:end]
        arrays, found, num_written = to_arrays(wanted, selection)
        numbers = np.arange(start + first + 1, start + end + 1, dtype=np.int64)
        yield make_rows(
            selection,
            arrays,
            numbers,
            reading,
            found=found,
            num_written=num_written,
            say_row=lambda index, wanted=wanted: json.dumps(wanted[index], ensure_ascii=False),  # type: ignore[misc]  # no type for a lambda's default
            is_checked=True,
        )
        if reading.window.is_done:
            return


def iter_parsed(reading: Reading, format: str) -> Iterator[tuple[int, Any]]:
    """Every row as it was parsed, with its number; one that cannot be is a `BadValue`. Memory: a block of lines, or a whole array.

    Raises:
        BadFile: When it is a `.json` without rows.
    """
    is_of_lines = _is_of_lines(reading, format)
    reading.bad.unit = "line" if is_of_lines else "row"
    with reading.open_file() as stream:
        blocks = iter_blocks(stream, reading.block_bytes)
        if not is_of_lines:
            yield from enumerate(_find_rows(_parse_whole(b"".join(blocks))), 1)
            return
        number = 0
        for block in iter_whole_lines(blocks, reading.max_row_bytes):
            if isinstance(block, LongLine):
                number += 1
                yield number, too_long("a line", reading.max_row_bytes)
                continue
            for place, line in enumerate(bytes(block).split(b"\n"), number + 1):
                if line.strip():
                    yield place, _parse_line(memoryview(line))
            number += block.count(b"\n")


def _iter_objects(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    return (row for row in rows if isinstance(row, dict))


def _read_head(reading: Reading) -> bytes:
    """Whole lines from the start, of `HEAD_BYTES`, or more when the first is longer; none that is too long for a row."""
    lines: list[Data] = []
    num_read = 0

    def iter_counted(stream: Any) -> Iterator[bytes]:
        nonlocal num_read
        for block in iter_blocks(stream, HEAD_BYTES):
            num_read += len(block)
            yield block

    with reading.open_file() as stream:
        for some in iter_whole_lines(iter_counted(stream), reading.max_row_bytes):
            lines += [] if isinstance(some, LongLine) else [some]
            if num_read >= HEAD_BYTES and not all(some.isspace() for some in lines):
                break
    return b"".join(lines)


def _iter_head_lines(reading: Reading) -> Iterator[bytes | memoryview]:
    """The lines of the head that are not blank; long ones are not copied."""
    head = _read_head(reading)
    start = 0
    while start < len(head):
        end = head.find(b"\n", start)
        end = len(head) if end < 0 else end
        line = head[start:end] if end - start <= LONG_LINE_BYTES else memoryview(head)[start:end]
        start = end + 1
        if not isinstance(line, bytes) or line.strip():
            yield line


def holds_json_lines(head: bytes) -> bool:
    """Whether a text begins with two lines that are a JSON object each.

    >>> holds_json_lines(b'{"a": 1}\\n{"a": 2}\\n'), holds_json_lines(b'{"a": 1}\\nand so on\\n')
    (True, False)
    """
    lines = list(islice((line for line in head.splitlines(keepends=True) if line.strip()), 2))
    return len(lines) == 2 and all(isinstance(_try_parse(line), dict) for line in lines)


def is_array(head: bytes) -> bool:
    """Whether whole lines from the start of a file are of one JSON array, not of lines one of which may be broken.

    >>> is_array(b'[{"a": 1},\\n{"a": 2}]'), is_array(b'[{"a": 1}]\\n[{"a": 2}]'), is_array(b'[{"a":\\n{"a": 2}')
    (True, False, False)
    """
    lines = list(islice((line.strip() for line in strip_mark(head).splitlines() if line.strip()), 2))
    if not lines or not lines[0].startswith(b"["):
        return False
    return len(lines) == 1 or lines[0] == b"[" or (_try_parse(lines[0]) is None and not isinstance(_try_parse(lines[1]), dict))


def _is_of_lines(reading: Reading, format: str) -> bool:
    """Whether a file holds an object a line, whichever of the two its name says."""
    if format == "json":
        return _is_lines(_read_head(reading))
    return not (_begins_with_bracket(reading) and is_array(_read_head(reading)))


def _begins_with_bracket(reading: Reading) -> bool:
    with reading.open_file() as stream:
        return bool(strip_mark(stream.read(_SEEN_BYTES)).lstrip().startswith(b"["))


def _is_lines(head: bytes) -> bool:
    lines = list(islice((line for line in head.splitlines() if line.strip()), 2))
    return len(lines) == 2 and isinstance(_try_parse(lines[0]), dict)


def _select_of_lines(reading: Reading) -> Selection:
    rows = list(_iter_objects(map(_parse_for_columns, islice(_iter_head_lines(reading), NUM_HEAD_ROWS))))
    columns = look_at_rows(rows)
    candidates = list_candidates(reading.shape, reading.asked)
    columns |= {name: TEXT_ITSELF for name in candidates if is_path(name) and any(holds(row, name) for row in rows)}
    if not columns:  # no object among the first lines: reading them says what is wrong with the first
        columns = dict.fromkeys(candidates, TEXT_ITSELF)
    elif candidates and not any(name in columns for name in candidates):
        columns |= dict.fromkeys(_find_later(reading, candidates), TEXT_ITSELF)
    for name in list_missing_companions(reading.shape, columns):
        columns |= dict.fromkeys(_find_later(reading, [name]), TEXT_ITSELF)
    return select_columns(reading.shape, reading.asked, columns, absent_too=True)


def _parse_for_columns(line: bytes | memoryview) -> Any:
    """As `_try_parse`; of a long line only which columns it has, and which of them are text.

    Python's parser takes up to six times the memory of a line, Arrow's as much again.
    """
    if not LONG_LINE_BYTES < len(line) < _MOST_BLOCK_BYTES:
        return _try_parse(bytes(line))
    options = pj.ReadOptions(use_threads=False, block_size=len(line) + 1)
    try:
        schema = pj.read_json(pa.BufferReader(line), read_options=options).schema
    except pa.ArrowException:
        return _try_parse(bytes(line))
    return _make_sample(pa.struct(list(schema)))


def _make_sample(kind: pa.DataType) -> Any:
    """A value of a type that Arrow's parser found: all texts in it are empty."""
    if pa.types.is_struct(kind):
        return {field.name: _make_sample(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_make_sample(kind.value_type)]
    return (
        "" if pa.types.is_string(kind) or pa.types.is_timestamp(kind) else None
    )  # it takes dates in quotes for more than text


def _find_later(reading: Reading, names: list[str]) -> list[str]:
    """Which columns come anywhere in the file. Only lines that have a name in quotes are parsed."""
    last = [*names, *(name.rpartition(".")[2] for name in names if is_path(name))]
    quoted = {json.dumps(name, ensure_ascii=is_ascii).encode() for name in last for is_ascii in (True, False)}
    with reading.open_file() as stream:
        for block in iter_whole_lines(iter_blocks(stream, reading.block_bytes), reading.max_row_bytes):
            if isinstance(block, LongLine) or not any(word in block for word in quoted):
                continue
            for line in block.split(b"\n"):
                if any(word in line for word in quoted):
                    row = _try_parse(line)
                    if isinstance(row, dict) and any(holds(row, name) for name in names):
                        return [name for name in names if holds(row, name)]
    return []


def _read_lines(block: Data, first_line: int, selection: Selection, reading: Reading) -> tuple[Rows, int]:
    """The good rows of whole lines, and how many line ends there are."""
    if not block:
        return make_no_rows(selection), 0
    data = np.frombuffer(block, np.uint8)
    newlines = find_byte(data, ord("\n"))
    starts = np.concatenate([np.zeros(1, np.int64), newlines + 1])
    ends = np.append(newlines, len(block))
    if starts[-1] == len(block):
        starts, ends = starts[:-1], ends[:-1]
    has_ink = _IS_INK[data[starts]]
    if (~has_ink & (ends - starts > 1)).any():  # only lines that begin with a space need a look at every byte
        has_ink = np.logical_or.reduceat(_IS_INK[data], starts)
    numbers = (first_line + np.flatnonzero(has_ink)).astype(np.int64, copy=False)
    starts, ends = starts[has_ink], ends[has_ink]
    first, end = reading.window.take(len(starts))
    if first == end:
        return make_no_rows(selection), len(newlines)
    if end - first < len(starts):
        starts, ends, numbers = starts[first:end], ends[first:end], numbers[first:end]
        block = block[starts[0] : ends[-1]]
        data = np.frombuffer(block, np.uint8)
        starts, ends = starts - starts[0], ends - starts[0]

    def say_row(index: int) -> str:
        return block[starts[index] : ends[index]].decode(errors="backslashreplace").strip()

    arrays = _read_with_arrow(block, data, starts, ends, selection)
    found: dict[int, BadValue] = {}
    num_written: Counter[str] = Counter()
    if arrays is None:
        lines = zip(starts.tolist(), ends.tolist(), strict=True)
        view = memoryview(block)
        arrays, found, num_written = to_arrays([_parse_line(view[start:stop]) for start, stop in lines], selection)
    rows = make_rows(
        selection, arrays, numbers, reading, found=found, num_written=num_written, say_row=say_row, is_checked=True
    )
    return rows, len(newlines)


def _read_with_arrow(
    block: Data, data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], selection: Selection
) -> list[pa.Array] | None:
    """One value a line for each column, or None when this is not plainly one good object on every line."""
    last = ends - 1 - (data[ends - 1] == ord("\r"))
    if len(block) > _MOST_BLOCK_BYTES or (data[starts] != ord("{")).any() or (data[last] != ord("}")).any():
        return None
    first = memoryview(block)[starts[0] : ends[0]]
    guessed = _guess_types(first, [field.name for field in selection.schema if is_any(field.type)])
    if None in guessed.values():
        return None
    types = {field.name: guessed.get(field.name) or _to_json_type(field.type) for field in selection.schema}
    arrays = _parse_columns(block, len(starts), types)
    if arrays is None and len(first) <= LONG_LINE_BYTES:
        texts = [field.name for field in selection.schema if field.name in selection.named and types[field.name] == pa.string()]
        numbers = {name: kind for name, kind in _guess_types(first, texts).items() if kind not in (None, pa.string())}
        types |= numbers
        arrays = _parse_columns(block, len(starts), types) if numbers else None
    if arrays is None and any(is_turns(field.type) for field in selection.schema):
        types |= {
            field.name: _to_json_type(field.type, is_transposed=True) for field in selection.schema if is_turns(field.type)
        }
        arrays = _parse_columns(block, len(starts), types)
    # With one text a row, a null is a bad row, and only a look at the line tells null from missing.
    return None if arrays is None or (selection.is_text and arrays[0].null_count) else arrays


def _guess_types(line: memoryview, names: list[str]) -> dict[str, pa.DataType | None]:
    """Of each column, the type that the first line of a block suggests; None where Arrow's parser cannot help."""
    if not names:
        return {}
    row = _try_parse(bytes(line))
    return {name: guess_type(look_up(row, name) if isinstance(row, dict) else None) for name in names}


def _parse_columns(block: Data, num_rows: int, types: Mapping[str, pa.DataType]) -> list[pa.Array] | None:
    schema = _nest_as_in(block, types)
    if schema is None:
        return None
    try:
        table = pj.read_json(
            pa.BufferReader(block),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
        if table.num_rows != num_rows or table.num_columns != len(schema):
            return None
        arrays = []
        for name in types:
            root, below = find_place(schema, name)
            values = table.column(root)
            values = values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()  # which copies even one
            values = pc.struct_field(values, below) if below else values
            values.validate(full=True)  # half a surrogate pair comes through Arrow's parser as bytes that are not UTF-8
            arrays.append(values)
    except pa.ArrowException:
        return None
    return arrays


def _nest_as_in(block: Data, types: Mapping[str, pa.DataType]) -> pa.Schema | None:
    """The types that a block is parsed with: a name with dots is that of a field, but where a column has that very name.

    None where that is not the same for all lines, or for all names.
    """
    paths = [name for name in types if is_path(name)]
    columns = [name for name in paths if _quote(name) in block]
    if any(_quote(name.partition(".")[0]) in block for name in columns):
        return None
    return nest(types, columns)


def _quote(name: str) -> bytes:
    return json.dumps(name, ensure_ascii=False).encode()


def _to_json_type(kind: pa.DataType, *, is_transposed: bool = False) -> pa.DataType:
    """The type that Arrow's parser knows: it has no large ones. `is_transposed`: turns as an object of lists."""
    if not is_turns(kind):
        return pa.string()
    if is_transposed:
        return pa.struct([(field.name, pa.list_(pa.string())) for field in kind.value_type])
    return pa.list_(pa.struct([(field.name, pa.string()) for field in kind.value_type]))


def _parse_line(line: memoryview) -> Any:
    try:
        return json.loads(str(line, "utf-8").rstrip(_WHITE_SPACE.decode()), parse_int=parse_number)
    except UnicodeDecodeError as error:
        found = f"not UTF-8 text (byte 0x{error.object[error.start]:02x} at column {error.start + 1})"
        return BadValue(NOT_UTF8, found, "UTF-8")
    except (ValueError, RecursionError) as error:
        return BadValue(BROKEN, f"broken JSON ({say_json_error(error)})", "one JSON object")


def _try_parse(line: Data) -> Any:
    try:
        return json.loads(line, parse_int=parse_number)
    except (ValueError, RecursionError):
        return None


def _parse_whole(data: bytes) -> Any:
    try:
        return json.loads(strip_mark(data).decode(), parse_int=parse_number)
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 text (first bad byte 0x{error.object[error.start]:02x} at byte {error.start})"
        raise BadFile("wrong encoding", reason, "Write it as UTF-8.") from None
    except json.JSONDecodeError as error:
        reason = f"broken JSON at line {error.lineno} ({say_json_error(error)})"
        is_one_of_many = error.msg == "Extra data" and error.doc[error.pos : error.pos + 1] in ("{", "[")
        raise BadFile(BROKEN, reason, _OF_MANY if is_one_of_many else "Mend it, or write it again.") from None
    except (ValueError, RecursionError) as error:
        raise BadFile(BROKEN, f"broken JSON ({say_json_error(error)})", _EXPORT) from None


def _find_rows(value: Any, wanted: Collection[str] | None = None) -> list[Any]:
    """The objects of an array, or of the only one in an object. An object may be a row itself, as of files with an article each.

    Args:
        wanted: Columns that make it one; None where any do.

    >>> _find_rows({"about": "x", "data": [{"text": "a"}]}, ["text"]), _find_rows({"text": "a", "links": [{"to": "b"}]}, ["text"])
    ([{'text': 'a'}], [{'text': 'a', 'links': [{'to': 'b'}]}])
    """
    if isinstance(value, dict):
        arrays = {name: inner for name, inner in value.items() if isinstance(inner, list) and _has_object(inner)}
        is_frame = not arrays and bool(value) and all(isinstance(inner, dict | list) for inner in value.values())
        if wanted is None:
            is_row = bool(value) and not arrays and not is_frame
        else:
            is_row = _holds_any([value], wanted) and not any(_holds_any(rows, wanted) for rows in arrays.values())
        if is_row:
            return [value]
        if len(arrays) == 1:
            return next(iter(arrays.values()))
        what = f"{len(arrays)} arrays of objects ({', '.join(arrays)})" if arrays else "no array of objects in it"
        next_step = f"{_EXPORT} {_OF_FRAME}" if is_frame else _EXPORT if arrays else f"{_EXPORT} {_OF_ONE}"
        raise BadFile("no rows", f"a JSON object with {what}", next_step)
    if isinstance(value, list) and _has_object(value):
        return value
    what = "an array without objects" if isinstance(value, list) else name_kind(value)
    is_of_texts = isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)
    raise BadFile("no rows", f"JSON, but {what}", f"{_EXPORT} {_OF_TEXTS}" if is_of_texts else _EXPORT)


def _holds_any(rows: list[Any], names: Collection[str]) -> bool:
    """Whether any of the objects has text, or turns of a conversation, under one of the names."""
    values = [look_up(row, name) for row in _iter_objects(rows) for name in names]
    return any(isinstance(value, str) or (isinstance(value, list) and _has_object(value)) for value in values)


def _has_object(values: list[Any]) -> bool:
    return any(isinstance(value, dict) for value in values)
