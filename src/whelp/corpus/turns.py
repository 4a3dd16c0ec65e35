"""Columns of conversations: lists of turns, each an object with text, whichever way round they are stored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import find_valid, holds_text, to_arrow, to_numpy
from whelp.corpus.row_shape import NOT_A_LIST, NOT_AN_OBJECT, NOT_UTF8, UNEVEN_LISTS, BadValue


def holds_turns(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether an Arrow type is a list of objects with text, or an object of lists of text, as `datasets` stores such lists."""
    if pa.types.is_null(kind):
        return True
    names = [field.name for field in wanted.value_type]
    if pa.types.is_struct(kind):
        kinds = [kind.field(name).type for name in names if kind.get_field_index(name) >= 0]
        return any(map(_is_list, kinds)) and all(_is_list(inner) and _is_text(inner.value_type) for inner in kinds)
    if not _is_list(kind):
        return False
    inner = kind.value_type
    if pa.types.is_null(inner):
        return True
    if not pa.types.is_struct(inner):
        return False
    return all(_is_text(inner.field(name).type) for name in names if inner.get_field_index(name) >= 0)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return holds_text(kind) or bool(pa.types.is_null(kind))


def to_turns(field: pa.Field, values: pa.Array, found: dict[int, BadValue], *, is_checked: bool) -> pa.Array:
    """Lists of objects, or objects of lists, as the list column of a shape; rows that cannot be are noted in `found`.

    Args:
        is_checked: The text is known to be UTF-8.
    """
    if pa.types.is_struct(values.type):
        values = _transpose(field, values, found)
    if not (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)):
        values = values.cast(pa.list_(values.type.value_type))
    is_null = values.is_null()
    offsets, turns = values.offsets.cast(pa.int64()), values.values
    if pa.types.is_null(turns.type):
        turns = pa.nulls(len(turns), field.type.value_type)
    _find_null_turns(field.name, turns, to_numpy(offsets), to_numpy(is_null), found)
    columns = []
    for inner in field.type.value_type:
        index = turns.type.get_field_index(inner.name)
        column = pa.nulls(len(turns), inner.type) if index < 0 else turns.field(index).cast(inner.type)
        columns.append(column)
    inner_fields = list(field.type.value_type)
    whole = pa.StructArray.from_arrays(columns, fields=inner_fields) if columns else turns
    lists = pa.LargeListArray.from_arrays(offsets, whole, type=field.type, mask=is_null)
    if is_checked:
        return lists
    try:
        lists.validate(full=True)
        return lists
    except pa.ArrowInvalid:
        is_good = np.ones(len(lists), np.bool_)
    for index in range(len(lists)):
        try:
            lists.slice(index, 1).flatten().validate(full=True)
        except pa.ArrowInvalid:
            is_good[index] = False
            found.setdefault(index, BadValue(NOT_UTF8, f"{field.name!r} holds text that is not UTF-8", "UTF-8"))
    return blank(lists, is_good)


def _transpose(field: pa.Field, values: pa.StructArray, found: dict[int, BadValue]) -> pa.LargeListArray:
    """Objects of lists, all of one length in a row, as lists of objects; a list that is null is one of nulls."""
    is_there = find_valid(values)
    fields = [inner for inner in field.type.value_type if values.type.get_field_index(inner.name) >= 0]
    lists = [values.field(values.type.get_field_index(inner.name)) for inner in fields]
    lists = [column.cast(pa.large_list(column.type.value_type)) for column in lists]
    starts = [to_numpy(column.offsets)[:-1] for column in lists]
    lengths = [np.where(find_valid(column), np.diff(to_numpy(column.offsets)), -1) for column in lists]
    most = np.maximum.reduce([np.zeros(len(values), np.int64), *lengths])
    is_uneven = is_there & np.logical_or.reduce([(length >= 0) & (length != most) for length in lengths])
    for row in np.flatnonzero(is_uneven).tolist():
        sizes = ", ".join(
            f"{max(int(length[row]), 0):,} of {inner.name}" for inner, length in zip(fields, lengths, strict=True)
        )
        found.setdefault(
            row, BadValue(UNEVEN_LISTS, f"{field.name!r} holds lists of different lengths ({sizes})", "equal lengths")
        )
    has_none = is_there & np.logical_and.reduce([length < 0 for length in lengths])
    for row in np.flatnonzero(has_none).tolist():
        found.setdefault(row, BadValue(NOT_A_LIST, f"{field.name!r} is an object", "a list of objects, or an object of lists"))
    is_good = is_there & ~is_uneven & ~has_none
    counts = np.where(is_good, most, 0)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    columns = []
    for column, start, length in zip(lists, starts, lengths, strict=True):
        indices = np.where(np.repeat(length < 0, counts), -1, np.repeat(start, counts) + inside)
        places = to_arrow(indices)
        columns.append(column.values.take(pc.if_else(pc.less(places, to_arrow(np.zeros(1, np.int64))[0]), None, places)))
    turns = pa.StructArray.from_arrays(columns, names=[inner.name for inner in fields])
    return pa.LargeListArray.from_arrays(to_arrow(offsets), turns, mask=to_arrow(~is_good))


def _find_null_turns(name: str, turns: pa.Array, offsets: np.ndarray, is_null: np.ndarray, found: dict[int, BadValue]) -> None:
    if not turns.null_count:
        return
    null_turns = np.flatnonzero(~find_valid(turns))
    rows = np.searchsorted(offsets, null_turns, side="right") - 1
    for row in np.unique(rows[(rows >= 0) & (null_turns < offsets[-1])]):
        if not is_null[row]:
            found.setdefault(int(row), BadValue(NOT_AN_OBJECT, f"{name!r} holds null in its list", "a list of objects"))


def blank(values: pa.Array, is_kept: npt.NDArray[np.bool_]) -> pa.Array:
    """Null where a value is not kept."""
    indices = pa.array(np.arange(len(values)), mask=~is_kept)
    return values.take(indices)
