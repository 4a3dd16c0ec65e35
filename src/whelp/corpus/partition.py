"""Partitions: the unit of work and of resuming."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.arrays import find_valid, to_arrow, to_numpy, view_text
from whelp.base.hashing import hash_bytes, hash_json
from whelp.corpus.any_values import is_any
from whelp.corpus.columns import iter_leaves
from whelp.corpus.config import SourceConfig
from whelp.corpus.encodings import Inspection
from whelp.corpus.find_files import SkippedFile
from whelp.corpus.open_file import SourceFile
from whelp.corpus.row_shape import TEXT, RowShape, TextShape
from whelp.corpus.rows import BadRow, BadRows

NOTE_WINDOWS_1252 = "files read as Windows-1252"
NOTE_BROKEN_FILES = "files of UTF-8 with broken characters"
NOTE_BROKEN_BYTES = "bytes that are not UTF-8, read as U+FFFD"
NOTE_CARRIAGE_RETURNS = "files with CR LF turned into LF"
NOTE_LONE_RETURNS = "files whose lines end in CR alone, turned into LF"
NOTE_BYTE_ORDER_MARK = "files with a byte order mark"
NOTE_EMPTY = "empty documents dropped"
MOST_RAW_ROWS = 10_000  # bad rows of a partition that are kept with their text
TEXT_SCHEMA = pa.schema([(TEXT, pa.large_string())])


@dataclass(frozen=True)
class Partition:
    """Some documents of a source.

    `batch` has one row per document: the columns of the source's shape that have a value here (`text` without a shape),
    then `file_index` (into `Source.files`) and `line`, where the document starts, from 1. It may have no row when every
    file of its group was skipped. `fingerprint` names rows and provenance. `notes` counts what was done on the way, in
    words. `split` is `test` where the source itself holds rows out, else `train`. `bad_rows` are the rows left out.
    """

    index: int
    batch: pa.RecordBatch
    fingerprint: str
    skipped: list[SkippedFile]
    notes: dict[str, int]
    split: str = "train"
    bad_rows: list[BadRow] = field(default_factory=list)


class Builder:
    """Gathers the documents of one partition."""

    def __init__(self, split: str) -> None:
        self.split = split
        self.num_rows = 0
        self.notes: Counter[str] = Counter()
        self.skipped: list[SkippedFile] = []
        self.bad_rows: list[BadRow] = []
        self._batches: list[pa.RecordBatch] = []
        self._files: list[npt.NDArray[np.int32]] = []
        self._lines: list[npt.NDArray[np.int64]] = []
        self._digests: list[str] = []

    def note_file(self, inspection: Inspection, config: SourceConfig) -> None:
        """Count what is unusual about a text file."""
        self.note_guess(inspection)
        self.notes[NOTE_BROKEN_FILES] += inspection.num_broken_bytes > 0
        self.notes[NOTE_BROKEN_BYTES] += inspection.num_broken_bytes
        self.notes[NOTE_CARRIAGE_RETURNS] += inspection.has_carriage_returns and config.strip_carriage_returns
        self.notes[NOTE_LONE_RETURNS] += inspection.ends_lines_in_returns and config.strip_carriage_returns
        self.notes[NOTE_BYTE_ORDER_MARK] += inspection.num_mark_bytes > 0

    def note_guess(self, inspection: Inspection) -> None:
        """Count a file whose encoding was guessed."""
        self.notes[NOTE_WINDOWS_1252] += inspection.is_guessed

    def note_bad(self, bad: BadRows) -> None:
        """Take over the rows that were skipped since the last time."""
        self.notes.update(bad.counts)
        for row in bad.rows:
            is_many = len(self.bad_rows) >= MOST_RAW_ROWS  # else memory would not be flat where nearly every row is bad
            self.bad_rows.append(replace(row, text=None) if is_many else row)
        bad.counts.clear()
        bad.rows.clear()

    def add(
        self,
        index: int | npt.NDArray[np.int32],
        batch: pa.RecordBatch,
        lines: npt.NDArray[np.int64],
        is_empty: npt.NDArray[np.bool_],
        digests: list[str] | None = None,
    ) -> None:
        """Add the documents of file number `index` (one for all, or one for each) that have any text; count the others.

        `digests` are fingerprints of their texts, where they are known.
        """
        num_kept = len(is_empty) - int(np.count_nonzero(is_empty))
        if num_kept < len(is_empty):
            batch, lines = batch.filter(to_arrow(~is_empty)), lines[~is_empty]
            index = index if isinstance(index, int) else index[~is_empty]
            digests = None if digests is None else list(compress(digests, ~is_empty))
            self.notes[NOTE_EMPTY] += len(is_empty) - num_kept
        self._batches.append(batch)
        self._lines.append(lines)
        self._files.append(np.full(num_kept, index, np.int32) if isinstance(index, int) else index)
        self._digests += digests or []
        self.num_rows += num_kept

    def build(self, index: int, files: tuple[SourceFile, ...], shape: RowShape) -> Partition:
        """The partition with everything that was added."""
        file_indices = np.concatenate(self._files) if self._files else np.zeros(0, np.int32)
        lines = np.concatenate(self._lines) if self._lines else np.zeros(0, np.int64)
        columns = {field.name: self._join(field) for field in order_columns(shape)}
        if self.num_rows:
            columns = {name: column for name, column in columns.items() if column.null_count < len(column)}
        places = {"file_index": to_arrow(file_indices), "line": to_arrow(lines)}
        batch = pa.RecordBatch.from_pydict({**columns, **places})
        labels = [files[int(number)].label for number in np.unique(file_indices)]
        notes = {note: count for note, count in self.notes.items() if count}
        digests = self._digests if len(self._digests) == self.num_rows else None
        fingerprint = fingerprint_rows(batch, labels, digests)
        return Partition(index, batch, fingerprint, self.skipped, notes, self.split, self.bad_rows)

    def _join(self, field: pa.Field) -> pa.Array:
        parts = [
            batch.column(field.name) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
            for batch in self._batches
        ]
        if len(parts) == 1:
            return parts[0]  # not a copy, as it would be below
        return pa.concat_arrays(parts) if parts else pa.nulls(0, field.type)


def order_columns(shape: RowShape) -> list[pa.Field]:
    """The columns that a partition may have, in order: those of the shape, and `text` for files that have none of them."""
    if isinstance(shape, TextShape):
        return list(TEXT_SCHEMA)
    return list(shape.schema) + ([] if TEXT in shape.schema.names else list(TEXT_SCHEMA))


def fingerprint_rows(batch: pa.RecordBatch, labels: list[str], digests: list[str] | None = None) -> str:
    """Fingerprint rows and where they come from; the same for equal rows however their buffers are laid out.

    With `digests`, the fingerprints of all texts, the texts are not gone through again.
    """
    places = [to_numpy(batch.column(name)).data for name in ("file_index", "line")]
    if digests is not None:
        return hash_bytes(*places, hash_json([batch.schema.names, labels, digests]).encode())
    chunks: list[bytes | memoryview] = []
    for leaf, offsets in iter_leaves(batch.drop_columns(["file_index", "line"])):
        chunks += [offsets.tobytes()] if offsets is not None else []
        chunks += _iter_text_bytes(leaf)
    for column in batch.columns:
        if is_any(column.type):
            chunks += _iter_text_bytes(column.cast(pa.large_string()))
    return hash_bytes(*chunks, *places, hash_json([batch.schema.names, labels]).encode())


def _iter_text_bytes(texts: pa.LargeStringArray) -> Iterator[bytes | memoryview]:
    """Which are there, the lengths, then the bytes."""
    if not len(texts):
        return
    if texts.null_count:
        yield find_valid(texts).tobytes()
        texts = texts.fill_null("")
    data, offsets = view_text(texts)
    yield np.diff(offsets).tobytes()
    yield data[offsets[0] : offsets[-1]].data
