"""One partition, encoded: the unit of work and of resuming.

    part = encode_partition(batch, is_test, vocabulary=..., rules=...)      # pure: rows in, token ids out; runs anywhere
    write_part(part, place)                                                 # PLACE.train.arrow, PLACE.test.arrow, PLACE.json

A part is finished when its JSON file is there: that is written last, and says what is in the others.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.artifacts.manifest import describe_file
from whelp.artifacts.token_store import make_batch, make_schema, write_rows
from whelp.base.files import read_json, write_atomic


class VocabularyLike(Protocol):
    """What encodes the text."""

    @property
    def size(self) -> int: ...
    @property
    def eos_id(self) -> int | None: ...
    @property
    def fingerprint(self) -> str: ...
    def encode_batch(self, texts: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]: ...
    def encode(self, text: str) -> npt.NDArray[Any]: ...
    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decides the tokens of a document, besides its text and the vocabulary."""

    separator: tuple[int, ...]  # ids after every document
    min_tokens: int
    max_tokens: int  # below 0: no limit

    def to_dict(self) -> dict[str, Any]:
        """For a fingerprint."""
        return {"separator": list(self.separator), "min": self.min_tokens, "max": self.max_tokens}


@dataclass(frozen=True, kw_only=True)
class EncodedPart:
    """The documents of one partition that are kept, and what became of the others."""

    train: pa.RecordBatch
    test: pa.RecordBatch
    documents_in: int
    text_bytes: int
    dropped: dict[str, tuple[int, int]]  # reason -> documents, tokens


@dataclass(frozen=True, kw_only=True)
class Part:
    """A finished part on disk. `files` maps `train` and `test`, where there are rows, to size and checksum."""

    place: Path
    documents_in: int
    text_bytes: int
    dropped: dict[str, tuple[int, int]]
    files: dict[str, dict[str, Any]]

    def path(self, side: str) -> Path:
        """The file of one side, `train` or `test`."""
        return _path(self.place, side)

    def count(self, what: str) -> int:
        """All `documents` or `tokens` that are kept."""
        return sum(int(entry[what]) for entry in self.files.values())


def encode_partition(
    batch: pa.RecordBatch, is_test: npt.NDArray[np.bool_] | None, *, vocabulary: VocabularyLike, rules: Rules
) -> EncodedPart:
    """Encode the documents of a partition, drop what the rules drop, put the separators in.

    Args:
        is_test: Which documents are held out, shape (documents,); None for none.
    """
    ids, offsets = vocabulary.encode_batch(batch.column("text"))
    lengths = np.diff(offsets)
    is_short = lengths < rules.min_tokens
    is_long = lengths > rules.max_tokens if rules.max_tokens >= 0 else np.zeros(len(lengths), dtype=bool)
    is_kept = ~(is_short | is_long)
    dropped = {"too short": is_short, "too long": is_long}
    schema = make_schema(vocabulary.size)
    dtype = np.dtype(schema.field("input_ids").type.value_type.to_pandas_dtype())

    def take(chosen: npt.NDArray[np.bool_]) -> pa.RecordBatch:
        places = [batch.column("file_index"), batch.column("line")]
        if chosen.all():
            kept, kept_lengths = ids, lengths
        else:
            kept, kept_lengths = join_ranges(ids, offsets[:-1][chosen], offsets[1:][chosen]), lengths[chosen]
            places = [column.filter(pa.array(chosen)) for column in places]
        return make_batch(schema, *_append_separator(kept, kept_lengths, rules.separator, dtype), *places)

    is_test = np.zeros(len(lengths), dtype=bool) if is_test is None else is_test
    return EncodedPart(
        train=take(is_kept & ~is_test),
        test=take(is_kept & is_test),
        documents_in=len(lengths),
        text_bytes=_num_text_bytes(batch.column("text")),
        dropped={reason: (int(rows.sum()), int(lengths[rows].sum())) for reason, rows in dropped.items() if rows.any()},
    )


def write_part(part: EncodedPart, place: Path) -> Part:
    """Write a part, synced to disk."""
    files: dict[str, dict[str, Any]] = {}
    for side, batch in (("train", part.train), ("test", part.test)):
        path = _path(place, side)
        path.unlink(missing_ok=True)
        if batch.num_rows:
            documents, tokens = write_rows(path, batch.schema, [batch])
            with open(path, "rb") as file:
                os.fsync(file.fileno())
            files[side] = {"documents": documents, "tokens": tokens, **describe_file(path)}
    written = Part(place=place, documents_in=part.documents_in, text_bytes=part.text_bytes, dropped=part.dropped, files=files)
    values = {field.name: getattr(written, field.name) for field in fields(Part) if field.name != "place"}
    write_atomic(_path(place, "json"), json.dumps(values))
    return written


def read_part(place: Path) -> Part | None:
    """The finished part at a place, or None."""
    path = _path(place, "json")
    if not path.is_file():
        return None
    values = read_json(path)
    values["dropped"] = {reason: tuple(pair) for reason, pair in values["dropped"].items()}
    part = Part(place=place, **values)
    sizes = {side: part.path(side).stat().st_size if part.path(side).is_file() else None for side in part.files}
    return part if all(sizes[side] == entry["bytes"] for side, entry in part.files.items()) else None


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


def _append_separator(
    ids: npt.NDArray[Any], lengths: npt.NDArray[np.int64], separator: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Flat ids, as `dtype`, with the separator after every document, and the new offsets (documents + 1)."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths + len(separator), out=offsets[1:])
    if not separator:
        return ids.astype(dtype, copy=False), offsets
    joined = np.empty(offsets[-1], dtype=dtype)
    is_text = np.ones(offsets[-1], dtype=bool)
    for place, separator_id in enumerate(separator):
        where = offsets[1:] - len(separator) + place
        joined[where] = separator_id
        is_text[where] = False
    joined[is_text] = ids
    return joined, offsets
