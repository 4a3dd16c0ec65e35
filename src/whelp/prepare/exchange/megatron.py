"""Megatron-LM's indexed dataset: PREFIX.bin holds the ids, PREFIX.idx says where each document is. RWKV calls it binidx.

    9 bytes    MMIDIDX, two zeros
    uint64     version, 1
    uint8      code of the ids' dtype
    uint64     number of sequences S
    uint64     number of document indices D: documents + 1
    int32 x S  tokens in each sequence
    int64 x S  byte in PREFIX.bin where each begins
    int64 x D  number of the first sequence of each document, and S
    int8 x S   kind of each sequence; only in files of several kinds

All of it is little-endian. We write one sequence for each document.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from whelp.artifacts.token_store import TokenSplit
from whelp.base.arrays import cut_runs
from whelp.base.errors import ArtifactError
from whelp.prepare.exchange.documents import PIECE_TOKENS, Documents, Ids, iter_stored
from whelp.prepare.parts import join_ranges

MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
_UINT16, _INT32 = 8, 4
_STEP = 1 << 16  # documents looked at together


def name_pair(path: Path) -> tuple[Path, Path]:
    """The two files of a dataset, named by either of them or without the suffix."""
    prefix = str(path.with_suffix("")) if path.suffix in (".bin", ".idx") else str(path)
    return Path(prefix + ".bin"), Path(prefix + ".idx")


def write_megatron(prefix: Path, split: TokenSplit, vocab_size: int) -> None:
    """Write a split as `prefix`.bin and `prefix`.idx: uint16 where the vocabulary fits, else int32."""
    code = _UINT16 if vocab_size <= 1 << 16 else _INT32
    dtype = np.dtype(_DTYPES[code])
    ids_path, index_path = name_pair(prefix)
    with open(ids_path, "wb") as file:
        for documents in iter_stored(split):
            file.write(np.ascontiguousarray(documents.ids.astype(dtype, copy=False)).data)
    count = split.num_documents
    with open(index_path, "wb") as file:
        file.write(_HEADER.pack(MAGIC, 1, code, count, count + 1))
        for documents in iter_stored(split):
            file.write(np.diff(documents.offsets).astype("<i4").tobytes())
        position = 0
        for documents in iter_stored(split):
            file.write(((documents.offsets[:-1] + position) * dtype.itemsize).astype("<i8").tobytes())
            position += int(documents.offsets[-1])
        for first in range(0, count + 1, _STEP):
            file.write(np.arange(first, min(first + _STEP, count + 1), dtype="<i8").tobytes())


def read_megatron(path: Path) -> Iterator[Documents]:
    """The documents of a dataset; a document of several sequences is their ids, joined.

    Raises:
        ArtifactError: When a file is missing, is not one of these, is cut off, or the two do not belong together.
    """
    ids_path, index_path = name_pair(path)
    for needed in (ids_path, index_path):
        if not needed.is_file():
            raise ArtifactError(
                needed,
                "there is no such file",
                f"{ids_path.name} and {index_path.name} beside each other",
                "Give their common path.",
            )
    index = _read_index(index_path)
    ids = _map_ids(ids_path, index)
    for first in range(0, len(index.documents) - 1, _STEP):
        yield from _read_some(ids, index, first, index_path)


@dataclass(frozen=True)
class _Index:
    """What PREFIX.idx says, memory-mapped."""

    dtype: np.dtype[np.integer[npt.NBitBase]]
    lengths: npt.NDArray[np.int32]  # (sequences,)
    pointers: npt.NDArray[np.int64]  # (sequences,) bytes
    documents: npt.NDArray[np.int64]  # (documents + 1,) sequences


def _read_index(path: Path) -> _Index:
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(_HEADER.size)
    if not head.startswith(MAGIC):
        raise ArtifactError(
            path, f"begins with {head[:9]!r}", f"{MAGIC!r}, the sign of Megatron's index", "Give the path of such a dataset."
        )
    if len(head) < _HEADER.size:
        raise ArtifactError(path, f"has {size:,} bytes", f"a header of {_HEADER.size}", "It is cut off: copy it again.")
    _, version, code, num_sequences, num_indices = _HEADER.unpack(head)
    if version != 1:
        raise ArtifactError(path, f"is of version {version}", "version 1", "Write it again with a tool that writes version 1.")
    if code not in _DTYPES:
        raise ArtifactError(
            path, f"says that ids have the dtype number {code}", "a whole number's: 1, 2, 3, 4, 5 or 8", "It does not hold ids."
        )
    plain = _HEADER.size + 12 * num_sequences + 8 * num_indices
    if size not in (plain, plain + num_sequences):
        found = f"has {size:,} bytes"
        raise ArtifactError(path, found, f"{plain:,} for {num_sequences:,} sequences", "It is damaged: copy it again.")
    if num_indices < 2 or num_sequences == 0:
        raise ArtifactError(path, "names no document", "at least one", "Choose another dataset.")
    raw = np.memmap(path, np.uint8, "r")
    pointers_at = _HEADER.size + 4 * num_sequences
    documents_at = pointers_at + 8 * num_sequences
    index = _Index(
        np.dtype(_DTYPES[code]),
        raw[_HEADER.size : pointers_at].view("<i4"),
        raw[pointers_at:documents_at].view("<i8"),
        raw[documents_at:plain].view("<i8"),
    )
    if index.documents[0] != 0 or index.documents[-1] != num_sequences:
        found = f"its documents go from sequence {index.documents[0]:,} to {index.documents[-1]:,}"
        raise ArtifactError(path, found, f"0 to {num_sequences:,}", "It is damaged: write it again.")
    return index


def _map_ids(path: Path, index: _Index) -> Ids:
    expected = int(index.lengths.sum(dtype=np.int64)) * index.dtype.itemsize
    size = path.stat().st_size
    if size != expected:
        found = f"has {size:,} bytes"
        raise ArtifactError(path, found, f"{expected:,}, as its index says", "It is cut off, or another's: copy both again.")
    return np.memmap(path, index.dtype, "r") if size else np.zeros(0, index.dtype)


def _read_some(ids: Ids, index: _Index, first: int, path: Path) -> Iterator[Documents]:
    """The documents first .. first + _STEP - 1."""
    documents = index.documents[first : first + _STEP + 1]
    if (np.diff(documents) < 0).any() or documents[0] < 0 or documents[-1] > len(index.lengths):
        raise _damaged(path, first)
    inside = slice(int(documents[0]), int(documents[-1]))
    lengths = index.lengths[inside].astype(np.int64)
    starts, remainder = np.divmod(index.pointers[inside], index.dtype.itemsize)
    stops = starts + lengths
    if (lengths < 0).any() or (starts < 0).any() or (stops > len(ids)).any() or remainder.any():
        raise _damaged(path, first)
    ends = np.concatenate(([0], np.cumsum(lengths)))
    sequences = (documents - documents[0]).astype(np.int64)  # of each document the first, from 0
    offsets = ends[sequences]  # tokens
    for begin, end in cut_runs(offsets, PIECE_TOKENS):
        some = slice(int(sequences[begin]), int(sequences[end]))
        yield Documents(ids=_gather(ids, starts[some], stops[some]), offsets=offsets[begin : end + 1] - offsets[begin])


def _gather(ids: Ids, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> Ids:
    """The ids of some sequences; a view where they lie one after the other, as they nearly always do."""
    if len(starts) and (starts[1:] == stops[:-1]).all():
        return ids[int(starts[0]) : int(stops[-1])]
    return join_ranges(ids, starts, stops)


def _damaged(path: Path, first: int) -> ArtifactError:
    return ArtifactError(
        path, f"points outside of its ids, near document {first + 1:,}", "places within them", "It is damaged: write it again."
    )
