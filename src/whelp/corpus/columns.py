"""Which columns of a file are read, and how their Arrow types become those of a shape."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import find_valid, holds_text, to_numpy, view_text
from whelp.corpus.any_values import encode_values, is_any
from whelp.corpus.encodings import BadFile
from whelp.corpus.nested import Holding, advise, look_at_schema, look_at_type, spread
from whelp.corpus.number_texts import holds_numbers, write_numbers
from whelp.corpus.row_shape import NAME_THE_COLUMN, NOT_UTF8, TEXT, BadValue, RowShape, TextShape, is_turns
from whelp.corpus.turns import blank, holds_turns, to_turns

_MOST_NAMES = 20
_MOST_INSIDE = 4  # columns of which it is said what is inside
_SEVERAL_COLUMNS = (
    "Set data.custom_text_key to the column that holds the text, or data.multi_column_keys to those that make a text together."
)
_FLATTEN = "Write a column of text in its place, or hand the rows over from Python: whelp.prepare(..., rows=...)."
_CONVERT_ONE = "Name a file that has a column of text, or convert one of these."
_OTHER_COLUMN = "Leave it out of the options that name columns, or convert it."
_WRITE_AS_TEXT = (
    "`whelp convert FILE --out FILE.csv` writes such values as text; or leave it out of the options that name columns."
)


@dataclass(frozen=True)
class Selection:
    """The columns to read: `schema` has their names in the file; `delivered` those in a partition; `shape` judges them.

    In columns that are `named` by the user, whole numbers, true and false are text, too.
    """

    schema: pa.Schema
    delivered: pa.Schema
    shape: RowShape
    named: frozenset[str]

    @property
    def is_text(self) -> bool:
        """Whether a row is one text, which must be there."""
        return isinstance(self.shape, TextShape)


@dataclass(frozen=True)
class ListingShape(RowShape):
    """Wants nothing: a file of rows that is read by it says which columns it has, as `ColumnsFound`, and no row."""

    @property
    def schema(self) -> pa.Schema:
        """No column."""
        return pa.schema([])

    def find_bad(self, rows: pa.RecordBatch) -> dict[int, BadValue]:
        """There are no rows."""
        raise AssertionError(f"{rows.num_rows} rows were read")


class ColumnsFound(BadFile):
    """What reading by a `ListingShape` ends with: what each column holds."""

    def __init__(self, columns: Mapping[str, Holding]) -> None:
        super().__init__("columns", f"has the columns {', '.join(columns)}", "")
        self.columns = dict(columns)


def list_candidates(shape: RowShape, asked: str | None) -> list[str]:
    """The names to look for in a file."""
    return [asked or TEXT] if isinstance(shape, TextShape) else list(shape.schema.names)


def select_columns(
    shape: RowShape, asked: str | None, columns: Mapping[str, Holding], *, absent_too: bool = False
) -> Selection:
    """The shape's columns that a file has; where it has none, `text`, or the one text column where no column was named.

    Args:
        columns: What each column of the file holds; of those that are asked for, fields of objects, too.
        absent_too: Select every candidate when one is there: the others may come later.

    Raises:
        BadFile: When neither is there; it names what there is, nearest first.
        ColumnsFound: When the shape is there to list them.
    """
    if isinstance(shape, ListingShape):
        raise ColumnsFound(columns)
    if not isinstance(shape, TextShape):
        usable = [name for name in shape.schema.names if shape.companions.get(name, name) in columns or name not in columns]
        names = [name for name in usable if name in columns]
        if names:
            schema = pa.schema([shape.schema.field(name) for name in (usable if absent_too else names)])
            selection = Selection(schema, schema, shape, frozenset(shape.named) | ({asked} if asked is not None else set()))
            _check_inside(selection, columns)
            return selection
    if shape.named and asked is None and TEXT not in columns and not isinstance(shape, TextShape):
        raise _explain_named(shape.named, columns)
    try:
        column = choose_column(asked, columns)
    except BadFile as error:
        if isinstance(shape, TextShape) or asked is not None:
            raise
        if shape.named:
            raise _explain_named(shape.named, columns) from None
        if len(_list_texts(columns)) < 2:
            raise
        raise BadFile(error.kind, error.reason, " ".join(filter(None, [_SEVERAL_COLUMNS, advise(columns)]))) from None
    schema = pa.schema([(column, pa.large_string())])
    selection = Selection(schema, pa.schema([(TEXT, pa.large_string())]), TextShape(column), frozenset({column} & {asked}))
    _check_inside(selection, columns)
    return selection


def _check_inside(selection: Selection, columns: Mapping[str, Holding]) -> None:
    """Refuse a column that the user named for its text, where text is only further inside of it."""
    for field in selection.schema:
        held = columns.get(field.name)
        if held is None or not held.fields or field.name not in selection.named or field.type != pa.large_string():
            continue
        next_step = advise({field.name: held}) or _FLATTEN
        raise BadFile("no text column", f"its column {field.name} holds {held.say_inside()}, not text", next_step)


def _explain_named(named: Mapping[str, str], columns: Mapping[str, Holding]) -> BadFile:
    options = " or ".join(dict.fromkeys(named.values()))
    reason = f"has no column {' or '.join(named)}, which {options} names; it has {_list_names(next(iter(named)), columns)}"
    return BadFile("no text column", reason, f"Correct {options}, or name another file.")


def _list_texts(columns: Mapping[str, Holding]) -> list[str]:
    return [name for name, held in columns.items() if held.is_text]


def list_missing_companions(shape: RowShape, columns: Collection[str]) -> list[str]:
    """The candidates that would make others of use, which a file has."""
    wanted = dict.fromkeys(companion for name, companion in shape.companions.items() if name in columns)
    return [name for name in wanted if name not in columns]


def select_typed(shape: RowShape, asked: str | None, schema: pa.Schema) -> Selection:
    """As `select_columns`, for a file that says the types of its columns.

    Raises:
        BadFile: Also when a column holds something else.
    """
    whole = spread(schema, list_candidates(shape, asked))
    selection = select_columns(shape, asked, look_at_schema(whole))
    _check_selected(selection, whole)
    return selection


def _check_selected(selection: Selection, schema: pa.Schema) -> None:
    for field in selection.schema:
        if schema.names.count(field.name) > 1:
            reason = f"has {schema.names.count(field.name)} columns {field.name!r}"
            raise BadFile("no text column", reason, "Give each its own name.")
        kind = schema.field(field.name).type
        if is_any(field.type):
            continue
        if is_turns(field.type):
            if not holds_turns(kind, field.type):
                reason = f"its column {field.name} holds {kind}, not lists of objects with text"
                raise BadFile("no list of objects", reason, _OTHER_COLUMN)
        elif holds_numbers(kind) and field.name in selection.named:
            continue
        elif not holds_text(kind) and not pa.types.is_null(kind):
            held = look_at_type(kind)
            reason = f"its column {field.name} holds {f'{held.say_inside()}, not text' if held.fields else kind}"
            raise BadFile("no text column", reason, _say_remedy(field.name, kind, is_text=selection.is_text))


def _say_remedy(name: str, kind: pa.DataType, *, is_text: bool) -> str:
    """What to do about a column that holds something else."""
    if holds_numbers(kind):
        return f"{NAME_THE_COLUMN}, or leave the column out of the file."
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "If its bytes are text, `whelp convert` makes JSON lines of the file, with text in it."
    if pa.types.is_nested(kind):
        return (
            advise({name: look_at_type(kind)})
            or "Write a column of text in its place, or hand the rows over from Python: whelp.prepare(..., rows=...)."
        )
    return "Set data.custom_text_key to a column of text, or convert this one." if is_text else _WRITE_AS_TEXT


def select_of_texts(shape: RowShape, asked: str | None, schema: pa.Schema) -> Selection:
    """As `select_typed`, for a file where every value is text whatever it looks like: `schema` says what it looks like.

    Raises:
        BadFile: Also when a column is asked for that text cannot be.
    """
    selection = select_columns(shape, asked, look_at_schema(schema))
    _check_selected(selection, pa.schema([(name, pa.string()) for name in schema.names]))
    return selection


def choose_column(asked: str | None, columns: Mapping[str, Holding]) -> str:
    """The column asked for, else `text`, else the only one that holds text, where none has text further inside.

    Raises:
        BadFile: When there is no such column, or there are several; it names what there is, nearest first.
    """
    if asked is None and TEXT in columns:
        return TEXT
    holding_text = _list_texts(columns)
    inside = {name: held for name, held in columns.items() if held.fields}
    if asked is None and len(holding_text) == 1 and not inside:
        return holding_text[0]
    if asked is not None and asked in columns:
        return asked
    wanted = asked if asked is not None else TEXT
    names = _list_names(wanted, columns)
    said_inside = "; ".join(f"{name} ({held.say_inside()})" for name, held in list(inside.items())[:_MOST_INSIDE])
    if asked is None and holding_text:
        several = f"{len(holding_text)} columns hold" if len(holding_text) > 1 else "one column holds"
        reason = f"has no column {wanted!r}, and {several} text: {_list_names(wanted, holding_text)}"
        reason += f"; there is text further inside of {said_inside}" if inside else ""
    elif asked is None and inside:
        reason = f"has no column {wanted!r}, and text is only further inside of {said_inside}"
    elif asked is None:
        reason = f"has no column {wanted!r}, and none holds text: {names}"
    else:
        reason = f"has no column {wanted!r}; it has {names}"
    next_step = "Set data.custom_text_key to the column that holds the text."
    if asked is None and inside:
        next_step = " ".join(filter(None, [next_step if holding_text else "", advise(inside)])) or _CONVERT_ONE
    elif asked is None and not holding_text:
        next_step = _CONVERT_ONE
    raise BadFile("no text column", reason, next_step)


def _list_names(wanted: str, columns: Collection[str]) -> str:
    names = list(columns)
    if isinstance(columns, Mapping):  # fields of objects, too
        names += [f"{name}.{path}" for name, held in columns.items() if not held.is_list for path in held.fields]

    def distance(name: str) -> float:
        return -difflib.SequenceMatcher(None, wanted.lower(), name.lower()).ratio()

    ordered = sorted(names, key=distance)
    more = f" and {len(ordered) - _MOST_NAMES} more" if len(ordered) > _MOST_NAMES else ""
    return (", ".join(ordered[:_MOST_NAMES]) or "no columns") + more


def to_column(field: pa.Field, values: pa.Array, found: dict[int, BadValue], *, is_checked: bool = False) -> pa.Array:
    """Cast an array to the type of a candidate column; rows that cannot be are noted in `found`, and become null.

    Args:
        is_checked: The text is known to be UTF-8, and bytes to be JSON.
    """
    if values.null_count == len(values):  # as most columns are that a template can use
        return pa.nulls(len(values), field.type)
    if is_any(field.type):
        if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
            return values if is_checked else encode_values(_to_text(field.name, values, found, is_checked=False))
        return encode_values(values)
    if is_turns(field.type):
        return to_turns(field, values, found, is_checked=is_checked)
    return _to_text(field.name, values, found, is_checked=is_checked)


def _to_text(name: str, values: pa.Array, found: dict[int, BadValue], *, is_checked: bool) -> pa.Array:
    if holds_numbers(values.type):
        return write_numbers(values)
    try:
        texts = values.cast(pa.large_string())
        if not is_checked:
            texts.validate(full=True)
        return texts
    except pa.ArrowInvalid:
        raw = values.cast(pa.large_binary(), safe=False)
    is_good = np.ones(len(raw), np.bool_)
    for index, value in enumerate(raw):
        try:
            (value.as_py() or b"").decode()
        except UnicodeDecodeError as error:
            is_good[index] = False
            byte = error.object[error.start]
            found.setdefault(index, BadValue(NOT_UTF8, f"{name!r} is not UTF-8 text (byte 0x{byte:02x} in it)", "UTF-8"))
    return blank(raw, is_good).cast(pa.large_string())


def measure_texts(texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """Of each text: how many bytes it has, and whether that is none but white space. A null has none.

    >>> measure_texts(pa.array(["a", " ", ""], pa.large_string()))
    (array([1, 1, 0]), array([False,  True,  True]))
    """
    data, offsets = view_text(texts)
    sizes = np.diff(offsets)
    if texts.null_count:
        sizes[~find_valid(texts)] = 0
    is_blank = sizes == 0
    begins = data[offsets[:-1][~is_blank]]
    if not ((begins > ord(" ")) & (begins < 0x80)).all():  # else each begins with a letter or a sign, and is not blank
        is_space = pc.utf8_is_space(texts)
        is_blank |= to_numpy(is_space.fill_null(True) if texts.null_count else is_space)
    return sizes, is_blank


def iter_leaves(batch: pa.RecordBatch) -> Iterable[tuple[pa.Array, np.ndarray | None]]:
    """The arrays of text in a batch; those of turns with the list offsets that say whose they are."""
    for column in batch.columns:
        if is_any(column.type):
            continue
        if not is_turns(column.type):
            yield column, None
            continue
        offsets = to_numpy(column.offsets)
        first, end = int(offsets[0]), int(offsets[-1])
        turns = column.values.slice(first, end - first)
        for index in range(turns.type.num_fields):
            yield turns.field(index), offsets - first
