"""Row order is arithmetic: the k-th row is a pure function of (rows, seed, epoch, k)."""

from __future__ import annotations

import numpy as np
import pytest

from whelp.base.seeds import make_seed
from whelp.prepare.row_order import row_indices, shuffle_indices


def slow_shuffle(position: int, num_rows: int, seed: int) -> int:
    """The same network, one position at a time, in whole numbers without a width."""
    half_bits = max(1, (max(num_rows - 1, 1).bit_length() + 1) // 2)
    half, word = 1 << half_bits, 1 << 64
    mix = 0x9E3779B97F4A7C15
    value = position
    while True:
        left, right = divmod(value, half)
        for index in range(4):
            mixed = (right + make_seed(seed, "round", index)) * mix % word
            mixed = (mixed ^ mixed >> 29) * mix % word
            left, right = right, left ^ (mixed >> 32) % half
        value = left * half + right
        if value < num_rows:
            return value


def test_permutation_for_every_small_number() -> None:
    """Each row once, for every number of rows from 1 to 200."""
    for num_rows in range(1, 201):
        order = shuffle_indices(np.arange(num_rows), num_rows, seed=num_rows)
        assert np.array_equal(np.sort(order), np.arange(num_rows)), num_rows


@pytest.mark.parametrize("num_rows", [1 << 12, (1 << 12) + 1, 65_535, 65_537, 100_003])
def test_permutation_for_larger_numbers(num_rows: int) -> None:
    """Around the powers of two, too."""
    order = shuffle_indices(np.arange(num_rows), num_rows, seed=1)
    assert np.array_equal(np.bincount(order, minlength=num_rows), np.ones(num_rows, dtype=int))


def test_billions_of_rows_cost_nothing() -> None:
    """A few positions of a huge permutation are distinct, inside, and what the slow version says."""
    num_rows = 10**12 + 7
    positions = np.concatenate([np.arange(500), num_rows - 1 - np.arange(500)])
    rows = shuffle_indices(positions, num_rows, seed=3)
    assert len(np.unique(rows)) == 1000
    assert 0 <= rows.min() <= rows.max() < num_rows
    assert rows[:5].tolist() == [slow_shuffle(position, num_rows, 3) for position in range(5)]


def test_equals_the_slow_version() -> None:
    """All at once is the same as one by one."""
    for num_rows in (1, 2, 3, 5, 16, 17, 100):
        rows = shuffle_indices(np.arange(num_rows), num_rows, seed=7)
        assert rows.tolist() == [slow_shuffle(position, num_rows, 7) for position in range(num_rows)]


def test_known_values() -> None:
    """Pinned: another order here would make resumed runs read other rows than the first run would have."""
    assert shuffle_indices(np.arange(10), 10, seed=0).tolist() == [7, 2, 4, 5, 1, 0, 8, 9, 6, 3]
    assert row_indices(0, 12, 5, seed=0).tolist() == [4, 1, 3, 2, 0, 4, 0, 3, 2, 1, 1, 0]


def test_looks_shuffled() -> None:
    """Neighbours do not stay neighbours, and places do not keep their rows."""
    order = shuffle_indices(np.arange(1000), 1000, seed=0)
    assert np.mean(order == np.arange(1000)) < 0.01
    assert np.mean(np.abs(np.diff(order)) == 1) < 0.01
    assert 400 < order[:500].mean() < 600


def test_positions_stay_as_they_are() -> None:
    """The argument is not written to; no position gives no row."""
    positions = np.arange(10)
    shuffle_indices(positions, 10, seed=0)
    assert positions.tolist() == list(range(10))
    assert shuffle_indices(np.arange(0), 10, seed=0).tolist() == []


def test_epochs_and_seeds() -> None:
    """Every epoch holds each row once, in another order; a seed fixes all of them."""
    rows = row_indices(0, 150, 50, seed=0).reshape(3, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in rows.tolist())
    assert len({tuple(epoch) for epoch in rows.tolist()}) == 3
    assert np.array_equal(rows.ravel(), row_indices(0, 150, 50, seed=0))
    assert not np.array_equal(rows.ravel(), row_indices(0, 150, 50, seed=1))


def test_any_piece_of_the_order() -> None:
    """The state is one counter: reading in pieces of any size, from anywhere, gives the same rows."""
    num_rows = 7
    whole = row_indices(0, 60, num_rows, seed=5)
    for first in range(0, 40, 3):
        for count in (0, 1, 2, 7, 8, 20):
            assert np.array_equal(row_indices(first, count, num_rows, seed=5), whole[first : first + count])


def test_one_row() -> None:
    """One row is read again and again."""
    assert row_indices(0, 4, 1, seed=9).tolist() == [0, 0, 0, 0]
