"""Row order is arithmetic: which row comes k-th is a pure function of (rows, seed, epoch, k).

A permutation of 0 .. n-1 without a table: a Feistel network over the next even power of two, walked until it lands
inside (Black & Rogaway 2002, "Ciphers with arbitrary finite domains"). It costs no memory for any number of rows and is
the same in every version of every library, so a resumed run reads the rows that the first one would have read.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from whelp.base.seeds import make_seed

_ROUNDS = 4
# Counters whose rows are found at once: the keys of a permutation cost more than a batch of it. In larger blocks each array of the
# arithmetic is new memory from the system, which costs more than the arithmetic.
_BLOCK = 8192
_MIX = np.uint64(0x9E3779B97F4A7C15)


def shuffle_indices(positions: npt.NDArray[np.int64], num_rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Where each position goes in a permutation of `num_rows`; distinct positions give distinct rows.

    >>> sorted(shuffle_indices(np.arange(5), 5, seed=0).tolist())
    [0, 1, 2, 3, 4]
    """
    assert num_rows > 0, f"no rows to shuffle: {num_rows}"
    half_bits = np.uint64(max(1, (max(num_rows - 1, 1).bit_length() + 1) // 2))
    half_mask = np.uint64((1 << int(half_bits)) - 1)
    keys = [np.uint64(make_seed(seed, "round", index)) for index in range(_ROUNDS)]
    values = positions.astype(np.uint64)
    walking, moved = np.arange(len(values)), values  # those that are not inside yet, and where they are
    while len(walking):
        left, right = moved >> half_bits, moved & half_mask
        mixed, shifted = np.empty_like(left), np.empty_like(left)  # in place: new memory costs as much as the arithmetic
        for key in keys:
            np.add(right, key, out=mixed)
            mixed *= _MIX
            mixed ^= np.right_shift(mixed, np.uint64(29), out=shifted)
            mixed *= _MIX
            mixed >>= np.uint64(32)
            mixed &= half_mask
            mixed ^= left
            left, right, mixed = right, mixed, left
        left <<= half_bits
        left |= right
        values[walking] = left
        is_outside = left >= num_rows
        walking, moved = walking[is_outside], left[is_outside]
    return values.astype(np.int64)


def order_rows(first: int, count: int, num_rows: int, seed: int) -> npt.NDArray[np.int64]:
    """`row_indices`, found in blocks and kept for the next call: a batch costs a slice."""
    size = min(_BLOCK, max(num_rows, 1))  # a block never goes over more than two epochs
    blocks = range(first // size, (first + count - 1) // size + 1)
    found = [_find_block(block * size, size, num_rows, seed) for block in blocks]
    joined = found[0] if len(found) == 1 else np.concatenate([np.empty(0, np.int64), *found])
    start = first - blocks.start * size
    return joined[start : start + count]


@functools.lru_cache(maxsize=8)
def _find_block(first: int, count: int, num_rows: int, seed: int) -> npt.NDArray[np.int64]:
    rows = row_indices(first, count, num_rows, seed)
    rows.flags.writeable = False
    return rows


def row_indices(first: int, count: int, num_rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Rows number `first` .. `first + count - 1` of an endless training order; each epoch is its own permutation."""
    return find_rows(np.arange(first, first + count, dtype=np.int64), num_rows, seed)


def find_rows(counters: npt.NDArray[np.int64], num_rows: int, seed: int) -> npt.NDArray[np.int64]:
    """The rows of these numbers of an endless training order."""
    if not len(counters):
        return np.empty(0, np.int64)
    lowest, highest = int(counters.min()) // num_rows, int(counters.max()) // num_rows
    if lowest == highest:
        return shuffle_indices(counters - lowest * num_rows, num_rows, make_seed(seed, "epoch", lowest))
    epochs, positions = np.divmod(counters, num_rows)
    rows = np.empty(len(counters), dtype=np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        rows[chosen] = shuffle_indices(positions[chosen], num_rows, make_seed(seed, "epoch", int(epoch)))
    return rows
