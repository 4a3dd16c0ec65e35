"""Count what repeats, in bounded memory: the most frequent entries by name, and how many different ones there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.corpus.measuring.hashes import Hashes

Counts = npt.NDArray[np.int64]

MOST_ENTRIES = 1 << 20
MOST_DISTINCT = 1 << 22


class Tally:
    """Counts of keys. When there are more than `max_entries`, the rarest half is forgotten.

    What was forgotten and comes again starts anew, so a count may be too low by `num_missing` at most; nothing is missing
    before the first forgetting (lossy counting, after Manku and Motwani 2002).

    Args:
        payload: The Arrow type of what is kept of the first occurrence of each key; None: nothing.
    """

    def __init__(self, payload: Any = None, *, max_entries: int = MOST_ENTRIES) -> None:
        self.num_missing = 0
        self._max_entries = max_entries
        self._keys = [np.zeros(0, np.uint64)]
        self._counts = [np.zeros(0, np.int64)]
        self._payload = None if payload is None else [pa.array([], payload)]
        self._num_pending = 0

    @property
    def has_payload(self) -> bool:
        """Whether something is kept of each key."""
        return self._payload is not None

    def add(self, keys: Hashes, counts: Counts, payload: Any = None) -> None:
        """Count keys that differ from each other."""
        self._keys.append(keys)
        self._counts.append(counts)
        if self._payload is not None:
            self._payload.append(payload)
        self._num_pending += len(keys)
        if self._num_pending > max(len(self._keys[0]), self._max_entries // 2):
            self._settle()

    def top(self, most: int, *, at_least: int = 2) -> tuple[Hashes, Counts, Any]:
        """The most frequent keys with their counts and payload; those with equal counts in the order of their keys."""
        self._settle()
        keys, counts = self._keys[0], self._counts[0]
        chosen = np.lexsort([keys, -counts])[:most]
        chosen = chosen[counts[chosen] >= at_least]
        payload = None if self._payload is None else self._payload[0].take(pa.array(chosen))
        return keys[chosen], counts[chosen], payload

    def _settle(self) -> None:
        keys, first, inverse = np.unique(np.concatenate(self._keys), return_index=True, return_inverse=True)
        # bincount adds in 64-bit floats, exact up to 2^53
        counts = np.bincount(inverse, weights=np.concatenate(self._counts), minlength=len(keys)).astype(np.int64)
        if len(keys) > self._max_entries:
            limit = int(np.partition(counts, len(counts) - self._max_entries // 2)[len(counts) - self._max_entries // 2])
            is_kept = counts > limit
            keys, counts, first = keys[is_kept], counts[is_kept], first[is_kept]
            self.num_missing += limit
        if self._payload is not None:
            self._payload = [pa.concat_arrays(self._payload).take(pa.array(first))]
        self._keys, self._counts, self._num_pending = [keys], [counts], 0


class Distinct:
    """How many different keys there are, and what share of all is a repetition.

    Exact up to `max_entries` keys. Beyond, only keys that end in a zero bit are looked at, then in two, and so on: the numbers
    are estimates from 1 / `sampled_every` of the keys (adaptive sampling, Flajolet 1990).
    """

    def __init__(self, *, max_entries: int = MOST_DISTINCT) -> None:
        self.sampled_every = 1
        self.num_all = 0
        self._max_entries = max_entries
        self._parts = [_Part(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64))]
        self._num_pending = 0

    def add(self, keys: Hashes, counts: Counts, sizes: Counts) -> None:
        """Count keys that differ from each other; `sizes` are those of one of each."""
        self.num_all += int(counts.sum())
        is_seen = _ends_in_zeros(keys, self.sampled_every)
        self._parts.append(_Part(keys[is_seen], counts[is_seen], sizes[is_seen]))
        self._num_pending += len(self._parts[-1].keys)
        if self._num_pending > max(len(self._parts[0].keys), self._max_entries // 2):
            self._settle()

    @property
    def num_distinct(self) -> int:
        """How many different keys have been added."""
        self._settle()
        return min(len(self._parts[0].keys) * self.sampled_every, self.num_all)

    @property
    def repeated_share(self) -> float:
        """The share of all that is not the first of its kind."""
        self._settle()
        counts = self._parts[0].counts
        return float((counts - 1).sum() / max(counts.sum(), 1))

    @property
    def repeated_size_share(self) -> float:
        """The same, by size."""
        self._settle()
        part = self._parts[0]
        return float(((part.counts - 1) * part.sizes).sum() / max((part.counts * part.sizes).sum(), 1))

    def _settle(self) -> None:
        keys, first, inverse = np.unique(
            np.concatenate([part.keys for part in self._parts]), return_index=True, return_inverse=True
        )
        counts = np.concatenate([part.counts for part in self._parts])
        counts = np.bincount(inverse, weights=counts, minlength=len(keys)).astype(np.int64)
        sizes = np.concatenate([part.sizes for part in self._parts])[first]
        while len(keys) > self._max_entries:
            self.sampled_every *= 2
            is_seen = _ends_in_zeros(keys, self.sampled_every)
            keys, counts, sizes = keys[is_seen], counts[is_seen], sizes[is_seen]
        self._parts, self._num_pending = [_Part(keys, counts, sizes)], 0


class _Part:
    """Some keys, how often each occurred, and how large one of each is."""

    def __init__(self, keys: Hashes, counts: Counts, sizes: Counts) -> None:
        self.keys, self.counts, self.sizes = keys, counts, sizes


def _ends_in_zeros(keys: Hashes, every: int) -> npt.NDArray[np.bool_]:
    is_zero: npt.NDArray[np.bool_] = (keys & np.uint64(every - 1)) == 0
    return is_zero


def count_keys(keys: Hashes) -> tuple[Hashes, Counts, npt.NDArray[np.int64]]:
    """The different keys of a batch, how often each occurs, and where first."""
    unique, first, counts = np.unique(keys, return_index=True, return_counts=True)
    return unique, counts.astype(np.int64), first
