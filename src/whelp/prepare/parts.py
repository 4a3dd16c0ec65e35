"""One partition, encoded: the unit of work and of resuming.

    part = encode_partition(batch, is_test, template=..., vocabulary=..., rules=...)     # pure: rows in, token ids out; runs anywhere
    write_part(part, place)                                                              # PLACE.train.arrow, PLACE.test.arrow, PLACE.json

A part is finished when its JSON file is there: that is written last, and says what is in the others.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.artifacts.manifest import describe_file
from whelp.artifacts.token_store import MASK_COLUMN, make_batch, make_schema, write_rows
from whelp.base.arrays import to_arrow, to_numpy
from whelp.base.files import read_json, sync_file, write_atomic
from whelp.prepare.segments import EncodedRows, encode_pieces
from whelp.prepare.template import NO_TEXT, Template

_FEWEST_TO_COPY = 24  # tokens a document, on average, from which on a copy of each is faster than a look at every token


class VocabularyLike(Protocol):
    """What encodes the text."""

    @property
    def size(self) -> int: ...
    @property
    def eos_id(self) -> int | None: ...
    @property
    def unk_id(self) -> int | None: ...
    @property
    def fingerprint(self) -> str: ...
    def encode_batch(self, texts: pa.Array, *, allow_special: bool = ...) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]: ...
    def encode(self, text: str) -> npt.NDArray[Any]: ...
    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decides the tokens of a document, besides its text and the vocabulary."""

    separator: tuple[int, ...]  # ids after every document
    is_separator_trained: bool
    min_tokens: int
    max_tokens: int  # below 0: no limit

    def to_dict(self) -> dict[str, Any]:
        """For a fingerprint."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EncodedPart:
    """The documents of one partition that are kept, and what became of the others."""

    train: pa.RecordBatch
    test: pa.RecordBatch
    documents_in: int
    text_bytes: int
    dropped: dict[str, tuple[int, int]]  # reason -> documents, tokens
    strategies: dict[str, int]  # way to make text of a row -> rows
    named: dict[str, int]  # column, or field of turns, that the recipe names -> rows, or turns, with text in it
    spelled: int  # texts in which a control token is spelled, and stays text
    unknown: int  # tokens that stand for what the vocabulary cannot write


@dataclass(frozen=True, kw_only=True)
class Part:
    """A finished part on disk.

    `files` says of `train` and `test`, where there are rows, how many documents and tokens, how many tokens are masked (None:
    there is no mask), size and checksum.
    """

    place: Path
    documents_in: int
    text_bytes: int
    dropped: dict[str, tuple[int, int]]
    strategies: dict[str, int]
    named: dict[str, int]
    spelled: int
    unknown: int
    files: dict[str, dict[str, Any]]

    def path(self, side: str) -> Path:
        """The file of one side, `train` or `test`."""
        return _path(self.place, side)

    def count(self, what: str) -> int:
        """All `documents` or `tokens` that are kept."""
        return sum(int(entry[what]) for entry in self.files.values())


def encode_partition(
    batch: pa.RecordBatch,
    is_test: npt.NDArray[np.bool_] | None,
    *,
    template: Template,
    vocabulary: VocabularyLike,
    rules: Rules,
) -> EncodedPart:
    """Make text of the rows of a partition, encode it, drop what the rules drop, put the separators in.

    Args:
        is_test: Which documents are held out, shape (documents,); None for none.
    """
    segments = template.segment(batch)
    options = template.config
    encoded = encode_pieces(
        segments, vocabulary, allow_special=options.special_tokens_in_text, skip=options.data_prefix_skip_mask
    )
    lengths = np.diff(encoded.offsets)
    dropped = _find_dropped(lengths, encoded.mask, segments.strategies, rules)
    is_kept = ~np.logical_or.reduce(list(dropped.values()))
    is_test = np.zeros(len(lengths), dtype=bool) if is_test is None else is_test

    def take(chosen: npt.NDArray[np.bool_]) -> pa.RecordBatch:
        places = batch.select(["file_index", "line"])
        places = places if chosen.all() else places.filter(to_arrow(chosen))
        return _lay_out_rows(take_rows(encoded, chosen), rules, vocabulary.size, places)

    return EncodedPart(
        train=take(is_kept & ~is_test),
        test=take(is_kept & is_test),
        documents_in=len(lengths),
        text_bytes=_num_text_bytes(segments.texts),
        dropped={reason: (int(rows.sum()), int(lengths[rows].sum())) for reason, rows in dropped.items() if rows.any()},
        strategies=segments.count_strategies(),
        named=template.count_named(batch),
        spelled=template.count_spelled(segments),
        unknown=_count_unknown(encoded.ids, vocabulary),
    )


def _find_dropped(
    lengths: npt.NDArray[np.int64], mask: npt.NDArray[np.uint8] | None, strategies: npt.NDArray[np.int8], rules: Rules
) -> dict[str, npt.NDArray[np.bool_]]:
    """Which documents are dropped, by reason; each for one reason."""
    dropped = {NO_TEXT: strategies < 0, "too short": lengths < rules.min_tokens}
    if rules.max_tokens >= 0:
        dropped["too long"] = lengths > rules.max_tokens
    if mask is not None:
        trained = np.concatenate(([0], np.cumsum(mask, dtype=np.int64)))
        ends = np.cumsum(lengths)
        dropped["fully masked"] = (trained[ends] == trained[ends - lengths]) & (lengths > 0)
    taken = np.zeros(len(lengths), np.bool_)
    for reason, where in dropped.items():
        dropped[reason] = where & ~taken
        taken |= where
    return dropped


def _count_unknown(ids: npt.NDArray[Any], vocabulary: VocabularyLike) -> int:
    """How many of the ids are of the unknown token, where it has an id of its own: GPT-2's is its end token, never used so."""
    if vocabulary.unk_id is None or vocabulary.unk_id == vocabulary.eos_id:
        return 0
    return int(np.count_nonzero(ids == vocabulary.unk_id))


def _lay_out_rows(rows: EncodedRows, rules: Rules, vocab_size: int, places: pa.RecordBatch) -> pa.RecordBatch:
    """Rows as they lie in the store: with separators, and with a mask where there is anything that is not trained."""
    lengths, mask = np.diff(rows.offsets), rows.mask
    ids, offsets = _append(rows.ids, lengths, rules.separator, make_schema(vocab_size).field("input_ids").type.value_type)
    if mask is None and rules.separator and not rules.is_separator_trained:
        mask = np.ones(len(rows.ids), np.uint8)
    if mask is not None:
        mask, _ = _append(mask, lengths, (int(rules.is_separator_trained),) * len(rules.separator), pa.uint8())
        mask = None if mask.all() else mask
    schema = make_schema(vocab_size, has_mask=mask is not None)
    return make_batch(schema, ids, offsets, places.column("file_index"), places.column("line"), mask)


def write_part(part: EncodedPart, place: Path) -> Part:
    """Write a part, synced to disk."""
    files: dict[str, dict[str, Any]] = {}
    for side, batch in (("train", part.train), ("test", part.test)):
        path = _path(place, side)
        path.unlink(missing_ok=True)
        if batch.num_rows:
            documents, tokens = write_rows(path, batch.schema, [batch])
            sync_file(path)
            files[side] = {"documents": documents, "tokens": tokens, "masked": count_masked(batch), **describe_file(path)}
    counts = {
        name: getattr(part, name)
        for name in ("documents_in", "text_bytes", "dropped", "strategies", "named", "spelled", "unknown")
    }
    write_atomic(_path(place, "json"), json.dumps({**counts, "files": files}))
    return Part(place=place, files=files, **counts)


def read_part(place: Path) -> Part | None:
    """The finished part at a place, or None."""
    path = _path(place, "json")
    if not path.is_file():
        return None
    values = read_json(path)
    values = {"named": {}, "spelled": 0, "unknown": 0, **values}  # of a release that did not count them
    values["dropped"] = {reason: tuple(pair) for reason, pair in values["dropped"].items()}
    part = Part(place=place, **values)
    sizes = {side: part.path(side).stat().st_size if part.path(side).is_file() else None for side in part.files}
    return part if all(sizes[side] == entry["bytes"] for side, entry in part.files.items()) else None


def count_masked(batch: pa.RecordBatch) -> int | None:
    """How many tokens of a batch are not trained; None when it has no mask."""
    if MASK_COLUMN not in batch.schema.names:
        return None
    values = to_numpy(batch.column(MASK_COLUMN).flatten())
    return len(values) - int(np.count_nonzero(values))


def take_rows(rows: EncodedRows, chosen: npt.NDArray[np.bool_]) -> EncodedRows:
    """The chosen rows."""
    if chosen.all():
        return rows
    starts, stops = rows.offsets[:-1][chosen], rows.offsets[1:][chosen]
    return EncodedRows(
        ids=join_ranges(rows.ids, starts, stops),
        offsets=np.concatenate(([0], np.cumsum(stops - starts))),
        mask=None if rows.mask is None else join_ranges(rows.mask, starts, stops),
    )


def join_ranges(values: npt.NDArray[Any], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """values[start:stop] of all ranges, in order; neighbours that touch are copied as one."""
    if not len(starts):
        return values[:0]
    is_gap = starts[1:] != stops[:-1]
    run_starts = starts[np.concatenate(([True], is_gap))]
    run_stops = stops[np.concatenate((is_gap, [True]))]
    return np.concatenate([values[start:stop] for start, stop in zip(run_starts, run_stops, strict=True)])


def _path(place: Path, side: str) -> Path:
    return place.with_name(f"{place.name}.json" if side == "json" else f"{place.name}.{side}.arrow")


def _num_text_bytes(texts: pa.Array) -> int:
    """UTF-8 bytes of all texts together."""
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64 if pa.types.is_large_string(texts.type) else np.int32)
    return int(offsets[texts.offset + len(texts)] - offsets[texts.offset])


def _append(
    values: npt.NDArray[Any], lengths: npt.NDArray[np.int64], tail: tuple[int, ...], kind: pa.DataType
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Flat values, as `kind`, with `tail` after every document, and the new offsets (documents + 1)."""
    dtype = np.dtype(kind.to_pandas_dtype())
    values = values.astype(dtype, copy=False)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if not tail or not len(lengths):
        return values, offsets
    new_offsets = offsets + np.arange(0, len(tail) * len(offsets), len(tail))
    if len(values) >= _FEWEST_TO_COPY * len(lengths):
        return _copy_with_tail(values, offsets, np.array(tail, dtype)), new_offsets
    return _mix_with_tail(values, new_offsets, np.array(tail, dtype)), new_offsets


def _copy_with_tail(values: npt.NDArray[Any], offsets: npt.NDArray[np.int64], tail: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """By Arrow, to which the values of a document are bytes: it copies each at once."""
    empty, end = _as_binary(values[:0], np.zeros(2, np.int64))[0], _as_binary(tail, np.array([0, len(tail)]))[0]
    joined = pc.binary_join_element_wise(_as_binary(values, offsets), empty, end)
    return np.frombuffer(joined.buffers()[2], values.dtype, len(values) + len(tail) * (len(offsets) - 1))


def _as_binary(values: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> pa.LargeBinaryArray:
    buffers = [None, pa.py_buffer(offsets * values.itemsize), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _mix_with_tail(values: npt.NDArray[Any], offsets: npt.NDArray[np.int64], tail: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Value by value, which takes as long for short documents as for long ones; to the offsets that come of it."""
    joined = np.empty(offsets[-1], values.dtype)
    is_text = np.ones(len(joined), np.bool_)
    for place, value in enumerate(tail, -len(tail)):
        where = offsets[1:] + place
        joined[where], is_text[where] = value, False
    joined[is_text] = values
    return joined
