"""Parquet: one document a row, or one packed row a row.

Documents: `input_ids` (int32), `loss_mask` where there is one, `file` and `line`. Packed rows: `input_ids` and `loss_mask`,
`context_tokens` of each; pads fill the last row, and are 0 in the mask. What packed rows are is said in the file's own
metadata, under the key `whelp`, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whelp.artifacts.token_store import MASK_COLUMN, TokenSplit
from whelp.base.arrays import cut_runs
from whelp.base.errors import ArtifactError, say_first_line
from whelp.prepare.exchange.documents import PIECE_TOKENS, Documents, Ids, Mask, cut_documents, divide_long

Rows = Literal["auto", "documents", "packed"]
_METADATA_KEY = b"whelp"
_IDS = pa.list_(pa.int32())
_MASKS = pa.list_(pa.uint8())


def write_documents(path: Path, split: TokenSplit, sources: list[str]) -> None:
    """Write a split, one document a row."""
    columns = [("input_ids", _IDS), *([(MASK_COLUMN, _MASKS)] if split.has_mask else [])]
    schema = pa.schema([*columns, ("file", pa.dictionary(pa.int32(), pa.string())), ("line", pa.int64())])
    names = pa.array(sources, pa.string())
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in split.table.to_batches():
            offsets = batch.column("input_ids").offsets.to_numpy(zero_copy_only=False).astype(np.int64)
            for first, stop in cut_runs(offsets, PIECE_TOKENS):
                rows = batch.slice(first, stop - first)
                files = pa.DictionaryArray.from_arrays(rows.column("file_index"), names)
                lists = [rows.column(name).cast(kind) for name, kind in columns]
                writer.write_batch(pa.record_batch([*lists, files, rows.column("line")], schema=schema))


def write_packed(path: Path, split: TokenSplit, context_tokens: int, pad_id: int, about: dict[str, Any]) -> int:
    """Write a split as rows of exactly `context_tokens` ids, all documents laid end to end; return how many are pads.

    Args:
        about: What else the file should say of itself.
    """
    num_tokens = split.num_tokens
    num_rows = -(-num_tokens // context_tokens)
    about = {**about, "rows": "packed", "context_tokens": context_tokens, "tokens": num_tokens, "pad_id": pad_id}
    schema = pa.schema([("input_ids", _IDS), (MASK_COLUMN, _MASKS)], metadata={_METADATA_KEY: json.dumps(about)})
    step = max(PIECE_TOKENS // context_tokens, 1)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, num_rows, step):
            count = min(step, num_rows - first)
            ids = np.full(count * context_tokens, pad_id, split.dtype)
            mask = np.zeros(count * context_tokens, np.uint8)
            split.read_into(first * context_tokens, ids)
            split.read_mask_into(first * context_tokens, mask)
            bounds = pa.array(np.arange(0, len(ids) + 1, context_tokens, dtype=np.int32))
            columns = [pa.ListArray.from_arrays(bounds, pa.array(values)) for values in (ids.astype(np.int32), mask)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return num_rows * context_tokens - num_tokens


@dataclass(frozen=True, kw_only=True)
class ParquetIds:
    """A Parquet file with a column of lists of ids."""

    path: Path
    file: pq.ParquetFile
    column: str
    about: dict[str, Any]  # what we wrote into it; empty for others' files

    @property
    def has_mask(self) -> bool:
        """Whether it says which tokens are trained."""
        return MASK_COLUMN in self.file.schema_arrow.names

    @property
    def num_bytes(self) -> int:
        """Bytes of its ids, unpacked."""
        return self._num_values * int(self.file.schema_arrow.field(self.column).type.value_type.bit_width) // 8

    def read(self, rows: Rows, end_id: int | None) -> Iterator[Documents]:
        """Its documents: one a row; or, of packed rows, cut at the end-of-text id.

        Raises:
            ArtifactError: When a row is null, or its mask does not fit.
        """
        if rows == "packed" or (rows == "auto" and self.about.get("rows") == "packed"):
            yield from cut_documents(self._iter_stream(), end_id)
            return
        for documents in self._iter_rows():
            yield from divide_long(documents)

    def _iter_stream(self) -> Iterator[tuple[Ids, Mask | None]]:
        """All rows laid end to end, without the pads that we put at the end."""
        remaining = int(self.about.get("tokens", self._num_values))
        for documents in self._iter_rows():
            ids = documents.ids[:remaining]
            yield ids, None if documents.mask is None else documents.mask[:remaining]
            remaining -= len(ids)

    def _iter_rows(self) -> Iterator[Documents]:
        num_rows = self.file.metadata.num_rows
        batch_rows = max(PIECE_TOKENS * num_rows // max(self._num_values, 1), 1)
        names = [self.column, *([MASK_COLUMN] if self.has_mask else [])]
        first = 0
        try:
            for batch in self.file.iter_batches(batch_size=min(batch_rows, max(num_rows, 1)), columns=names):
                yield self._check_batch(batch, first)
                first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.path, error) from None

    @property
    def _num_values(self) -> int:
        """Ids in the file, as its footer says."""
        metadata = self.file.metadata
        leaves = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
        leaf = next(index for index, name in enumerate(leaves) if name.startswith(f"{self.column}."))
        return sum(metadata.row_group(group).column(leaf).num_values for group in range(metadata.num_row_groups))

    def _check_batch(self, batch: pa.RecordBatch, first: int) -> Documents:
        lists = batch.column(self.column)
        values = lists.flatten()
        if lists.null_count or values.null_count:
            where = f"rows {first + 1:,} to {first + batch.num_rows:,}"
            raise ArtifactError(
                self.path, f"{where} of the column {self.column} hold null", "ids", "Leave such rows out, and write it again."
            )
        lengths = pc.list_value_length(lists)
        offsets = np.concatenate(([0], np.cumsum(lengths.to_numpy(zero_copy_only=False)))).astype(np.int64)
        mask = self._check_mask(batch.column(MASK_COLUMN), lengths, first) if self.has_mask else None
        return Documents(ids=values.to_numpy(zero_copy_only=False), offsets=offsets, mask=mask)

    def _check_mask(self, lists: pa.Array, lengths: pa.Array, first: int) -> Mask:
        values, where = lists.flatten(), f"in rows {first + 1:,} to {first + len(lists):,}"
        is_whole = not lists.null_count and not values.null_count
        if not is_whole or not pc.list_value_length(lists).cast(pa.int64()).equals(lengths.cast(pa.int64())):
            found = f"{MASK_COLUMN} and {self.column} differ in length, {where}"
            raise ArtifactError(self.path, found, "one number for each id", "Write it again, or without the mask.")
        mask = values.to_numpy(zero_copy_only=False)  # (tokens,) of bool or whole numbers
        if len(mask) and not 0 <= mask.min() <= mask.max() <= 1:
            wrong = next(number for number in (mask.max(), mask.min()) if number not in (0, 1))
            found = f"{MASK_COLUMN} holds {wrong}, {where}"
            raise ArtifactError(self.path, found, "0 or 1 for each id", "Write it again, or without the mask.")
        narrow: Mask = mask.astype(np.uint8)
        return narrow


def open_parquet(path: Path, column: str) -> ParquetIds:
    """Open a Parquet file of ids.

    Raises:
        ArtifactError: When it is none, is cut off, or has no such column of ids.
    """
    try:
        file = pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    schema = file.schema_arrow
    if column not in schema.names:
        found = f"has no column {column!r} (it has {', '.join(schema.names) or 'none'})"
        raise ArtifactError(path, found, "a column of lists of ids", "Name it with --column.")
    for name in (column, MASK_COLUMN):
        if name in schema.names and not _holds_numbers(schema.field(name).type, may_be_bool=name == MASK_COLUMN):
            found = f"its column {name!r} is of type {schema.field(name).type}"
            raise ArtifactError(path, found, "lists of whole numbers", "Name another column, or write it again.")
    metadata = schema.metadata or {}
    about = json.loads(metadata[_METADATA_KEY]) if _METADATA_KEY in metadata else {}
    return ParquetIds(path=path, file=file, column=column, about=about)


def _holds_numbers(kind: pa.DataType, *, may_be_bool: bool) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and (pa.types.is_integer(kind.value_type) or (may_be_bool and pa.types.is_boolean(kind.value_type)))


def _unreadable(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        path, f"cannot be read ({say_first_line(error)})", "a whole Parquet file", "It may be cut off: copy it again."
    )
