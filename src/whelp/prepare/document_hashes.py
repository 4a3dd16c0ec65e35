"""A number for each document of a split, by which the same document is found elsewhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whelp.artifacts.token_store import TokenSplit
from whelp.base.arrays import cut_runs
from whelp.base.mix_bits import mix

_BLOCK_TOKENS = 1 << 22


def hash_documents(split: TokenSplit) -> npt.NDArray[np.uint64]:
    """A number for each document, that depends on its ids and their order; shape (documents,).

    Equal documents have equal numbers; of a million different pairs none is likely to (64 bits).
    """
    offsets = np.concatenate((np.zeros(1, np.int64), split.document_ends))
    hashes = np.empty(split.num_documents, np.uint64)
    for first, stop in cut_runs(offsets, _BLOCK_TOKENS):
        start = int(offsets[first])
        ids = np.empty(int(offsets[stop]) - start, split.dtype)
        split.read_into(start, ids)
        hashes[first:stop] = hash_ids(ids, offsets[first : stop + 1] - start)
    return hashes


def hash_ids(ids: npt.NDArray[np.integer], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """The same of flat `ids`; document i is `ids[offsets[i]:offsets[i + 1]]`."""
    lengths = np.diff(offsets)
    places = np.arange(len(ids), dtype=np.uint64) - np.repeat(offsets[:-1], lengths).astype(np.uint64)
    mixed = mix((places + np.uint64(1)) << np.uint64(32) ^ ids.astype(np.uint64))
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)))  # it wraps, and so do differences
    return mix(sums[offsets[1:]] - sums[offsets[:-1]] + lengths.astype(np.uint64))
