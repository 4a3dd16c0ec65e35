"""Test documents that are trained on as well: their loss says how well the model remembers, not how well it reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.token_store import TokenSplit
from whelp.base.arrays import to_numpy
from whelp.base.mix_bits import mix
from whelp.prepare.document_hashes import hash_documents, hash_ids
from whelp.prepare.parts import join_ranges


@dataclass(frozen=True)
class Leak:
    """Of the test split, the documents that stand in train as well, token for token, and all their tokens."""

    num_documents: int
    num_tokens: int


def find_leak(train: TokenSplit, test: TokenSplit) -> Leak:
    """Look for the documents of `test` in `train`.

    Of each document in train three tokens and the length are looked at; only of those that a test document has, too, all tokens.
    """
    wanted = np.unique(np.concatenate([np.zeros(0, np.uint64), *(_outline(*block) for block in _iter_blocks(test))]))
    found = [np.zeros(0, np.uint64)]
    for ids, offsets in _iter_blocks(train):
        alike = _is_among(_outline(ids, offsets), wanted)
        if alike.any():
            starts, stops = offsets[:-1][alike], offsets[1:][alike]
            lengths = np.concatenate(([0], np.cumsum(stops - starts)))
            found.append(np.unique(hash_ids(join_ranges(ids, starts, stops), lengths)))
    is_leaked = np.isin(hash_documents(test), np.concatenate(found))
    sizes = np.diff(test.document_ends, prepend=0)
    return Leak(int(np.count_nonzero(is_leaked)), int(sizes[is_leaked].sum()))


def _is_among(numbers: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which numbers are among others, which ascend: `np.isin` sorts those anew each time, as many as there are test documents."""
    if not len(wanted):
        return np.zeros(len(numbers), np.bool_)
    return np.asarray(wanted[np.minimum(np.searchsorted(wanted, numbers), len(wanted) - 1)] == numbers)


def _iter_blocks(split: TokenSplit) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
    """Ids and offsets into them, of some documents at a time."""
    for chunk in split.table.column("input_ids").chunks:
        yield to_numpy(chunk.values), to_numpy(chunk.offsets).astype(np.int64)


def _outline(ids: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """A number for each document, of its length and its first, middle and last but one token; equal for equal documents."""
    starts, lengths = offsets[:-1], np.diff(offsets)
    outline = mix(lengths.astype(np.uint64))
    if len(ids):
        for place in (np.zeros_like(lengths), lengths // 2, np.maximum(lengths - 2, 0)):
            outline = mix(outline ^ ids[np.minimum(starts + place, len(ids) - 1)].astype(np.uint64))
    return outline
