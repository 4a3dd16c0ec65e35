"""Hashes of many pieces of a text at once: of every word, line or run of words, by arithmetic on whole arrays.

A `Prefix` gives the hash of any range of a sequence in constant time: with v the values mixed at random and B odd,
H[i] = sum of v[j] B^j for j < i, modulo 2^64, and the hash of [i, k) is (H[k] - H[i]) B^-i (Karp and Rabin, 1987).
Equal ranges have equal hashes; of unequal ones of a text of people's making, about one pair in 2^64 does.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from whelp.base.mix_bits import mix as mix_in_place

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)
_MASK = (1 << 64) - 1


def mix(values: npt.ArrayLike) -> Hashes:
    """Scramble 64-bit values, each to one of its own, 0 too (SplitMix64)."""
    return mix_in_place(np.asarray(values, np.uint64) + np.uint64(_BASE))


class Prefix:
    """Hashes of ranges of a sequence of 64-bit values, which should be mixed."""

    def __init__(self, values: Hashes) -> None:
        powers, self._inverse_powers = _make_powers(len(values) + 1)
        self._sums = np.zeros(len(values) + 1, np.uint64)
        np.cumsum(values * powers[: len(values)], out=self._sums[1:])

    def hash_ranges(self, starts: Places, stops: Places) -> Hashes:
        """The hash of [start, stop) of each pair."""
        return mix((self._sums[stops] - self._sums[starts]) * self._inverse_powers[starts])


class _Powers:
    """B^0, B^1, ... and their inverses, made once for the longest sequence so far."""

    lock = threading.Lock()
    forward: Hashes = np.ones(1, np.uint64)
    backward: Hashes = np.ones(1, np.uint64)


def _make_powers(count: int) -> tuple[Hashes, Hashes]:
    with _Powers.lock:
        while len(_Powers.forward) < count:
            size = len(_Powers.forward)
            for name, base in (("forward", _BASE), ("backward", _INVERSE)):
                table = getattr(_Powers, name)
                setattr(_Powers, name, np.concatenate((table, table * np.uint64(pow(base, size, 1 << 64)))))
        return _Powers.forward, _Powers.backward


def hash_words(words: list[str]) -> Hashes:
    """The hashes that `Texts.words` gives these words."""
    return np.array([_hash_points([ord(character) for character in word]) for word in words], np.uint64)


def _hash_points(points: list[int]) -> int:
    total = sum(int(value) * pow(_BASE, place, 1 << 64) for place, value in enumerate(mix(points))) & _MASK
    return int(mix([total])[0])


def find_runs(owners: Places, size: int, is_asked: npt.NDArray[np.bool_]) -> Places:
    """Where runs of so many items begin that belong to one owner, of the owners that are asked for. `owners` count up."""
    places = np.arange(max(0, len(owners) - size + 1))
    return np.asarray(places[(owners[places] == owners[places + size - 1]) & is_asked[owners[places]]])


def find_repeats(hashes: Hashes, owners: Places) -> npt.NDArray[np.bool_]:
    """Which items have an equal one before them that belongs to the same owner. `owners` count up."""
    order, group_starts = group(hashes, owners)
    is_repeat = np.ones(len(hashes), np.bool_)
    if len(order):
        is_repeat[np.minimum.reduceat(order, group_starts)] = False
    return is_repeat


def group(hashes: Hashes, owners: Places) -> tuple[Places, Places]:
    """Items in an order where equal ones of the same owner are neighbours, and where each group of these begins."""
    keys = hashes ^ mix(owners)
    order = np.argsort(keys)
    ordered = keys[order]
    is_first = np.ones(len(keys), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return order, np.flatnonzero(is_first)
