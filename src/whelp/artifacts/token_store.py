"""The token store: documents as token ids, an Arrow `DatasetDict` on disk.

    STORE/manifest.json         written last
    STORE/dataset_dict.json     {"splits": ["train", "test"]}
    STORE/train/data-00000-of-00003.arrow, ..., dataset_info.json, state.json
    STORE/test/...
    STORE/tokenizer/            the vocabulary that made the ids
    STORE/ledger.json           where every document and token went

`datasets.load_from_disk(STORE)` opens it. One row per document: `input_ids` (uint16 where the vocabulary fits, else
uint32), `loss_mask` where anything is masked (uint8, one for each token: 1 when the token is trained as a target),
`file_index` and `line` (where it came from; the names of the files are in `STORE/sources.json`). The documents of a mixture
lie one source after the other, and the manifest's `counts.sources` says how many there are of each. Reading is a memory map:
a slice of tokens costs no copy of the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.artifacts.manifest import Manifest, read_manifest
from whelp.artifacts.token_column import TokenColumn
from whelp.base.arrays import to_arrow, to_numpy
from whelp.base.errors import ArtifactError
from whelp.base.files import read_json, write_json

SOURCES_FILE = "sources.json"
LEDGER_FILE = "ledger.json"
TOKENIZER_FOLDER = "tokenizer"
MASK_COLUMN = "loss_mask"
_STATE_FILE = "state.json"
MAX_BATCH_TOKENS = 1 << 30  # Arrow's list offsets are 32-bit within one record batch


def make_schema(vocab_size: int, *, has_mask: bool = False) -> pa.Schema:
    """The columns of a split; ids are as narrow as the vocabulary allows."""
    ids = pa.uint16() if vocab_size <= 1 << 16 else pa.uint32()
    mask = [(MASK_COLUMN, pa.list_(pa.uint8()))] if has_mask else []
    return pa.schema([("input_ids", pa.list_(ids)), *mask, ("file_index", pa.int32()), ("line", pa.int64())])


def make_batch(
    schema: pa.Schema,
    ids: npt.NDArray[Any],
    offsets: npt.NDArray[np.int64],
    file_index: pa.Array,
    line: pa.Array,
    mask: npt.NDArray[np.uint8] | None = None,
) -> pa.RecordBatch:
    """One record batch from flat `ids` and document `offsets` (documents + 1), without touching single tokens.

    `mask` is flat like `ids`; a schema without the column takes none, a schema with it needs one.
    """
    assert offsets[-1] - offsets[0] < MAX_BATCH_TOKENS, f"{offsets[-1]} tokens do not fit one record batch"
    value_type = schema.field("input_ids").type.value_type
    values = to_arrow(ids.astype(value_type.to_pandas_dtype(), copy=False))
    bounds = to_arrow(offsets.astype(np.int32))
    columns = [pa.ListArray.from_arrays(bounds, values)]
    if MASK_COLUMN in schema.names:
        assert mask is not None, "a schema with a mask needs one"
        assert len(mask) == len(ids), (len(mask), len(ids))
        columns.append(pa.ListArray.from_arrays(bounds, to_arrow(mask.astype(np.uint8, copy=False))))
    return pa.record_batch([*columns, file_index.cast(pa.int32()), line.cast(pa.int64())], schema=schema)


@contextlib.contextmanager
def open_sink(path: Path) -> Iterator[pa.NativeFile]:
    """Open a file for Arrow to write; when that fails (a full disk), nothing is left, and the error names the file."""
    try:
        with pa.OSFile(str(path), "wb") as sink:
            yield sink
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)
        raise


def name_data_file(index: int, count: int) -> str:
    """The name of file `index` of a split's `count` files, as `datasets` names them."""
    return f"data-{index:05d}-of-{count:05d}.arrow"


def write_rows(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> tuple[int, int]:
    """Write one Arrow stream file; return how many documents and tokens went in."""
    num_documents = num_tokens = 0
    with open_sink(path) as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            if batch.num_rows:
                writer.write_batch(batch)
                num_documents += batch.num_rows
                num_tokens += _num_values(batch)
    return num_documents, num_tokens


def finish_split(folder: Path, schema: pa.Schema, num_files: int, num_documents: int, num_tokens: int) -> list[str]:
    """Write what makes the data files of a split a `Dataset`; return the names of those files."""
    features = {field.name: _describe_feature(field.type) for field in schema}
    write_json(
        folder / "dataset_info.json", {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    )
    names = [name_data_file(index, num_files) for index in range(num_files)]
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": f"{num_documents:08x}{num_tokens:08x}",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": folder.name,
    }
    write_json(folder / _STATE_FILE, state)
    return names


def write_split(folder: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> tuple[int, int]:
    """Write one split as one file; return how many documents and tokens went in."""
    folder.mkdir(parents=True, exist_ok=True)
    num_documents, num_tokens = write_rows(folder / name_data_file(0, 1), schema, batches)
    finish_split(folder, schema, 1, num_documents, num_tokens)
    return num_documents, num_tokens


def _describe_feature(type: pa.DataType) -> dict[str, Any]:
    """A column as `datasets` writes it down."""
    if pa.types.is_list(type):
        return {"feature": _describe_feature(type.value_type), "_type": "List"}
    return {"dtype": str(type), "_type": "Value"}


def write_splits(folder: Path, names: list[str]) -> None:
    """Write the file that makes the splits one `DatasetDict`."""
    write_json(folder / "dataset_dict.json", {"splits": names})


def _num_values(batch: pa.RecordBatch) -> int:
    offsets = batch.column(0).offsets
    return int(offsets[-1].as_py() - offsets[0].as_py())


@dataclass(frozen=True)
class TokenSplit:
    """One split: all documents laid end to end as one stream of tokens."""

    name: str
    table: pa.Table

    @cached_property
    def ids(self) -> TokenColumn:
        """Token ids as one stream."""
        return self._column("input_ids")

    @cached_property
    def mask(self) -> TokenColumn:
        """The loss mask as one stream; only where `has_mask`."""
        return self._column(MASK_COLUMN)

    def _column(self, name: str) -> TokenColumn:
        column = self.table.column(name)
        chunks = [values for chunk in column.chunks if len(values := _values_of(chunk))]
        return TokenColumn(chunks, np.dtype(column.type.value_type.to_pandas_dtype()), self.table)

    @cached_property
    def has_mask(self) -> bool:
        """Whether some tokens may not be trained."""
        return MASK_COLUMN in self.table.schema.names

    @property
    def num_documents(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def num_tokens(self) -> int:
        return len(self.ids)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint16 or uint32."""
        return self.ids.dtype

    @cached_property
    def document_ends(self) -> npt.NDArray[np.int64]:
        """Stream position just after each document's last token; shape (documents,)."""
        ends = np.empty(self.num_documents, dtype=np.int64)
        row = position = 0
        for chunk in self.table.column("input_ids").chunks:
            offsets = to_numpy(chunk.offsets).astype(np.int64)
            ends[row : row + len(chunk)] = offsets[1:] - offsets[0] + position
            row, position = row + len(chunk), position + int(offsets[-1] - offsets[0])
        return ends

    def document_starts(self, documents: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Stream position of each of these documents' first token."""
        return np.where(documents > 0, self.document_ends[documents - 1], 0)

    def take_documents(self, first: int, count: int, name: str) -> TokenSplit:
        """So many documents from number `first` on, as a split of its own; a view, whatever its size."""
        return TokenSplit(name, self.table.slice(first, count))

    def read_into(self, start: int, out: npt.NDArray[Any]) -> int:
        """Copy tokens from stream position `start` into `out`; return how many there were."""
        return self.ids.copy_into(start, out)

    def read_mask_into(self, start: int, out: npt.NDArray[np.uint8]) -> int:
        """Copy the loss mask from stream position `start` into `out` (ones where the store has no mask)."""
        if self.has_mask:
            return self.mask.copy_into(start, out)
        count = max(0, min(len(out), self.num_tokens - start))
        out[:count] = 1
        return count

    def document(self, index: int) -> dict[str, Any]:
        """One document: ids, the mask where there is one, and the index of its file and its line there."""
        row = self.table.slice(index, 1)
        values = {
            name: _values_of(row.column(name).chunks[0]) for name in ("input_ids", MASK_COLUMN) if name in row.column_names
        }
        return {**values, "file_index": row.column("file_index")[0].as_py(), "line": row.column("line")[0].as_py()}


def _values_of(chunk: pa.ListArray) -> npt.NDArray[Any]:
    if not len(chunk):
        return np.empty(0, dtype=chunk.type.value_type.to_pandas_dtype())
    first, last = chunk.offsets[0].as_py(), chunk.offsets[len(chunk)].as_py()
    values: npt.NDArray[Any] = to_numpy(chunk.values.slice(first, last - first))
    return values


@dataclass(frozen=True, kw_only=True)
class StoreSource:
    """One source of a mixture; `splits` has documents and tokens of each split, weights are those it was prepared with."""

    name: str
    weight: float
    max_repeats: float | None
    splits: dict[str, dict[str, int]]


@dataclass(frozen=True)
class TokenStore:
    """A finished store, opened without reading it."""

    folder: Path
    manifest: Manifest

    @property
    def vocab_size(self) -> int:
        return int(self.manifest.counts["vocab_size"])

    @property
    def tokenizer_folder(self) -> Path:
        return self.folder / TOKENIZER_FOLDER

    @cached_property
    def sources(self) -> list[str]:
        """Names of the files documents came from; `file_index` points into this."""
        return list(read_json(self.folder / SOURCES_FILE))

    @property
    def ledger(self) -> dict[str, Any]:
        return dict(read_json(self.folder / LEDGER_FILE))

    @cached_property
    def mixture(self) -> tuple[StoreSource, ...]:
        """The sources of a mixture, in the order in which their documents lie in every split; none where there is but one."""
        return tuple(StoreSource(**entry) for entry in self.manifest.counts.get("sources", ()))

    def split_by_source(self, name: str) -> dict[str | None, TokenSplit]:
        """The documents of one split by their source; under None where there is but one source.

        Raises:
            ArtifactError: When the store has no such split.
        """
        whole = self.split(name)
        first, splits = 0, dict[str | None, TokenSplit]()
        for source in self.mixture:
            count = source.splits[name]["documents"]
            splits[source.name] = whole.take_documents(first, count, f"{source.name} {name}")
            first += count
        return splits or {None: whole}

    def split(self, name: str) -> TokenSplit:
        """Open one split.

        Raises:
            ArtifactError: When the store has no such split.
        """
        names = self.manifest.counts["splits"]
        if name not in names:
            raise ArtifactError(self.folder, f"it has no split {name!r}", f"one of {', '.join(names)}", "Choose one of those.")
        return read_split(self.folder / name)


def read_split(folder: Path) -> TokenSplit:
    """Memory-map the data files of one split."""
    names = [entry["filename"] for entry in read_json(folder / _STATE_FILE)["_data_files"]]
    return TokenSplit(folder.name, pa.concat_tables([read_table(folder / name) for name in names]))


def open_store(folder: Path) -> TokenStore:
    """Open a finished token store (memory-mapped; costs no reading)."""
    return TokenStore(folder, read_manifest(folder, "token_store"))


def read_table(path: Path) -> pa.Table:
    """Memory-map an Arrow stream file."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).read_all()


def iter_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The record batches of an Arrow stream file, memory-mapped."""
    with pa.memory_map(str(path)) as source:
        yield from pa.ipc.open_stream(source)
