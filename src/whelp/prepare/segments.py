"""Rows as pieces of text, each trained or not: what a template makes of rows, and how it becomes ids and a mask.

No Python object is made per row: `Slots` interleaves columns and constant texts by one Arrow `take`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.arrays import find_valid, to_arrow, view_text

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """The pieces of some rows: those of row i are `row_offsets[i]` to `row_offsets[i + 1]`.

    `weights` is 1 where a piece is trained, else 0. Where `is_control`, a control token spelled in the piece becomes one;
    None: nowhere.
    """

    texts: pa.LargeStringArray
    weights: npt.NDArray[np.uint8]
    row_offsets: npt.NDArray[np.int64]
    is_control: Flags | None = None


@dataclass(frozen=True, kw_only=True)
class Segments(Pieces):
    """The pieces of a batch. `strategies` says of each row which one made them: an index into `names`; -1: none could."""

    strategies: npt.NDArray[np.int8]
    names: tuple[str, ...]

    def count_strategies(self) -> dict[str, int]:
        """How many rows each strategy made."""
        counts = np.bincount(self.strategies[self.strategies >= 0], minlength=len(self.names))
        return {name: int(count) for name, count in zip(self.names, counts, strict=True) if count}


class Slots:
    """The places of a template, in order; each may be filled or not in each of `num_items` items."""

    def __init__(self, num_items: int) -> None:
        self.num_items = num_items
        self._pool: list[pa.LargeStringArray] = []
        self._pool_size = 0
        self._indices: list[npt.NDArray[np.int64]] = []
        self._is_filled: list[Flags] = []
        self._weights: list[npt.NDArray[np.uint8]] = []
        self._is_control: list[bool] = []

    def add(self, values: pa.LargeStringArray, is_filled: Flags, weight: Any, *, is_control: bool = False) -> None:
        """A text of its own for each item: `values` (items,)."""
        self._add(values, np.arange(self.num_items), is_filled, weight, is_control)

    def add_constant(self, text: str, is_filled: Flags, weight: Any, *, is_control: bool = False) -> None:
        """The same text for each item; an empty one is no piece."""
        self.add_choice([text], np.zeros(self.num_items, np.int64), is_filled, weight, is_control=is_control)

    def add_choice(
        self, texts: Sequence[str], which: npt.NDArray[np.int64], is_filled: Flags, weight: Any, *, is_control: bool = False
    ) -> None:
        """One of a few texts for each item: `texts[which[i]]`; an empty one is no piece."""
        if not any(texts):
            return
        has_text = np.array([bool(text) for text in texts])
        self._add(pa.array(texts, pa.large_string()), which, is_filled & has_text[which], weight, is_control)

    def _add(
        self, values: pa.LargeStringArray, which: npt.NDArray[np.int64], is_filled: Flags, weight: Any, is_control: bool
    ) -> None:
        self._pool.append(values)
        self._indices.append(which + self._pool_size)
        self._pool_size += len(values)
        self._is_filled.append(is_filled)
        self._weights.append(np.broadcast_to(np.asarray(weight, np.uint8), self.num_items))
        self._is_control.append(is_control)

    def lay_out(self, item_offsets: npt.NDArray[np.int64] | None = None) -> Pieces:
        """The filled places of all items in order. With `item_offsets` (rows + 1), a row is a run of items."""
        if not self._pool:
            return no_pieces(self.num_items if item_offsets is None else len(item_offsets) - 1)
        is_filled = np.stack(self._is_filled, axis=1)  # (items, slots)
        indices = np.stack(self._indices, axis=1)[is_filled]
        ends = np.concatenate(([0], np.cumsum(is_filled.sum(axis=1))))
        is_control = None
        if any(self._is_control):
            is_control = np.broadcast_to(np.array(self._is_control), is_filled.shape)[is_filled]
        is_as_it_is = len(self._pool) == 1 and np.array_equal(indices, np.arange(self._pool_size))
        return Pieces(
            texts=self._pool[0] if is_as_it_is else pa.concat_arrays(self._pool).take(to_arrow(indices)),
            weights=np.stack(self._weights, axis=1)[is_filled],
            row_offsets=ends if item_offsets is None else ends[item_offsets],
            is_control=is_control,
        )


def no_pieces(num_rows: int) -> Pieces:
    """Rows of which nothing is left."""
    return Pieces(
        texts=pa.array([], pa.large_string()),
        weights=np.zeros(0, np.uint8),
        row_offsets=np.zeros(num_rows + 1, np.int64),
    )


def has_text(values: pa.LargeStringArray) -> Flags:
    """Where a column of strings is neither null nor empty."""
    if values.null_count == len(values):
        return np.zeros(len(values), np.bool_)
    is_filled: Flags = np.diff(view_text(values)[1]) > 0
    return is_filled & find_valid(values) if values.null_count else is_filled


def merge(groups: Sequence[Pieces], group_of_row: npt.NDArray[np.int64]) -> Pieces:
    """The rows of several groups as one: row i is the next row of `groups[group_of_row[i]]`."""
    num_rows = len(group_of_row)
    starts, lengths = np.empty(num_rows, np.int64), np.empty(num_rows, np.int64)
    base = 0
    for number, group in enumerate(groups):
        mine = group_of_row == number
        starts[mine] = group.row_offsets[:-1] + base
        lengths[mine] = np.diff(group.row_offsets)
        base += len(group.texts)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    indices = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    controls = None
    if any(group.is_control is not None for group in groups):
        flags = [group.is_control if group.is_control is not None else np.zeros(len(group.texts), np.bool_) for group in groups]
        controls = np.concatenate(flags)[indices]
    return Pieces(
        texts=pa.concat_arrays([group.texts for group in groups]).take(to_arrow(indices)),
        weights=np.concatenate([group.weights for group in groups])[indices],
        row_offsets=offsets,
        is_control=controls,
    )


class EncoderLike(Protocol):
    """What turns texts into ids."""

    def encode_batch(self, texts: pa.Array, *, allow_special: bool = ...) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]: ...


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """Rows as ids: those of row i are `offsets[i]` to `offsets[i + 1]`. `mask` is 1 where trained; None: everywhere."""

    ids: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]
    mask: npt.NDArray[np.uint8] | None

    def __len__(self) -> int:
        return len(self.offsets) - 1


def encode_pieces(pieces: Pieces, encoder: EncoderLike, *, allow_special: bool = False, skip: int = 0) -> EncodedRows:
    """Encode piece by piece; the ids of a row are those of its pieces, one after the other.

    Args:
        allow_special: Whether a control token spelled in any piece becomes one.
        skip: So many tokens at the start of each row are not trained.
    """
    ids, ends = _encode_texts(pieces, encoder, allow_special)
    offsets = ends[pieces.row_offsets]
    if not skip and pieces.weights.all():
        return EncodedRows(ids=ids, offsets=offsets, mask=None)
    mask = np.repeat(pieces.weights, np.diff(ends))
    if skip:
        lengths = np.diff(offsets)
        mask[np.arange(len(mask)) - np.repeat(offsets[:-1], lengths) < skip] = 0
    return EncodedRows(ids=ids, offsets=offsets, mask=None if mask.all() else mask)


def _encode_texts(pieces: Pieces, encoder: EncoderLike, allow_special: bool) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Flat ids, and where each piece ends (pieces + 1)."""
    if allow_special:
        return encoder.encode_batch(pieces.texts, allow_special=True)
    is_control = pieces.is_control
    if is_control is None or not is_control.any():
        return encoder.encode_batch(pieces.texts)
    plain_ids, plain_ends = encoder.encode_batch(pieces.texts.filter(to_arrow(~is_control)))
    control_ids, control_ends = encoder.encode_batch(pieces.texts.filter(to_arrow(is_control)), allow_special=True)
    lengths = np.empty(len(is_control), np.int64)
    lengths[~is_control], lengths[is_control] = np.diff(plain_ends), np.diff(control_ends)
    is_control_token = np.repeat(is_control, lengths)
    ids = np.empty(len(is_control_token), plain_ids.dtype)
    ids[~is_control_token], ids[is_control_token] = plain_ids, control_ids
    return ids, np.concatenate(([0], np.cumsum(lengths)))
