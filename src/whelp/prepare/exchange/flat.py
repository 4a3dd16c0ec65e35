"""Flat files of ids: nanoGPT's `.bin` (nothing but uint16), and llm.c's, which modded-nanogpt reads too.

llm.c puts 256 int32 before the ids: a magic number, a version, the number of tokens, zeros. Neither has document ends or
a mask; a document ends with the end-of-text id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whelp.artifacts.token_store import TokenSplit
from whelp.base.errors import ArtifactError, PlanError
from whelp.prepare.exchange.documents import PIECE_TOKENS, Documents, Ids, cut_documents, iter_stored

_HEADER_BYTES = 256 * 4


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What llm.c writes before the ids; which magic number stands for which dtype."""

    magic: int
    version: int
    dtype: str


_HEADERS = (_Header(magic=20240520, version=1, dtype="<u2"), _Header(magic=20240801, version=7, dtype="<u4"))
_NARROW_IDS = 1 << 16
_MOST_TOKENS = (1 << 31) - 1  # llm.c's header counts in 32 bits


def write_nanogpt(path: Path, split: TokenSplit, vocab_size: int, end_id: int | None) -> int:
    """Write a split as nanoGPT reads it; return how many document ends cannot be found again.

    Raises:
        PlanError: When the vocabulary needs more than 16 bits.
    """
    if vocab_size > _NARROW_IDS:
        raise PlanError(
            "--format nanogpt",
            f"the vocabulary has {vocab_size:,} ids",
            f"at most {_NARROW_IDS:,}: nanoGPT's ids have 16 bits",
            "Use --format megatron, llmc or parquet.",
        )
    return _write_ids(path, split, end_id, b"", "<u2")


def write_llmc(path: Path, split: TokenSplit, vocab_size: int, end_id: int | None) -> int:
    """Write a split as llm.c reads it; return how many document ends cannot be found again.

    Raises:
        PlanError: When there are more tokens than its header can count.
    """
    if split.num_tokens > _MOST_TOKENS:
        raise PlanError(
            "--format llmc",
            f"the {split.name} split has {split.num_tokens:,} tokens",
            f"at most {_MOST_TOKENS:,}, the most its header counts",
            "Use --format megatron or parquet.",
        )
    header = _HEADERS[0] if vocab_size <= _NARROW_IDS else _HEADERS[1]
    numbers = np.zeros(256, "<i4")
    numbers[:3] = header.magic, header.version, split.num_tokens
    return _write_ids(path, split, end_id, numbers.tobytes(), header.dtype)


def _write_ids(path: Path, split: TokenSplit, end_id: int | None, head: bytes, dtype: str) -> int:
    num_ends = num_found = 0
    with open(path, "wb") as file:
        file.write(head)
        for documents in iter_stored(split):
            ids = documents.ids
            file.write(np.ascontiguousarray(ids.astype(dtype, copy=False)).data)
            if end_id is not None:
                full = documents.offsets[1:][np.diff(documents.offsets) > 0]
                num_found += int((ids[full - 1] == end_id).sum())
                num_ends += int((ids == end_id).sum())
    return (split.num_documents - num_found) + (num_ends - num_found)


def read_nanogpt(path: Path, end_id: int | None) -> Iterator[Documents]:
    """The documents of nanoGPT's file, cut at the end-of-text id.

    Raises:
        ArtifactError: When it is empty, cut off, or llm.c's.
    """
    size = path.stat().st_size
    numbers = _read_numbers(path)
    if any(numbers[:2].tolist() == [header.magic, header.version] for header in _HEADERS):
        raise ArtifactError(path, "begins with the header of llm.c", "ids from the first byte on", "Use --format llmc.")
    if size % 2:
        raise ArtifactError(path, f"has {size:,} bytes, an odd number", "two for each id", "It is cut off: copy it again.")
    yield from _read_ids(path, 0, "<u2", end_id)


def read_llmc(path: Path, end_id: int | None) -> Iterator[Documents]:
    """The documents of llm.c's file, cut at the end-of-text id.

    Raises:
        ArtifactError: When it is another kind of file, or cut off.
    """
    numbers, size = _read_numbers(path), path.stat().st_size
    header = next((known for known in _HEADERS if numbers[:1].tolist() == [known.magic]), None)
    if header is None:
        found = f"begins with the number {numbers[0]}" if len(numbers) else f"has {size} bytes"
        wanted = " or ".join(str(known.magic) for known in _HEADERS)
        raise ArtifactError(path, found, f"{wanted}, the sign of llm.c", "A file without a header is --format nanogpt.")
    if size < _HEADER_BYTES:
        raise ArtifactError(path, f"has {size:,} bytes", f"a header of {_HEADER_BYTES:,}", "It is cut off: copy it again.")
    _, version, num_tokens = numbers.tolist()
    if version != header.version:
        raise ArtifactError(path, f"is of version {version}", f"version {header.version}", "Write it again with that version.")
    expected = _HEADER_BYTES + num_tokens * np.dtype(header.dtype).itemsize
    if size != expected:
        found = f"has {size:,} bytes"
        raise ArtifactError(path, found, f"{expected:,} for its {num_tokens:,} tokens", "It is cut off: copy it again.")
    yield from _read_ids(path, _HEADER_BYTES, header.dtype, end_id)


def _read_numbers(path: Path) -> Ids:
    with open(path, "rb") as file:
        head = file.read(12)
    return np.frombuffer(head[: len(head) // 4 * 4], "<i4")


def _read_ids(path: Path, start: int, dtype: str, end_id: int | None) -> Iterator[Documents]:
    if path.stat().st_size == start:
        raise ArtifactError(path, "holds no ids", "at least one", "Choose another file.")
    ids = np.memmap(path, dtype, "r", offset=start)
    pieces = ((ids[first : first + PIECE_TOKENS], None) for first in range(0, len(ids), PIECE_TOKENS))
    yield from cut_documents(pieces, end_id)
