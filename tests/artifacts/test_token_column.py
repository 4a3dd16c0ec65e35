"""Many places of a column at once, whatever chunks it is in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from whelp.artifacts.token_column import TokenColumn


def make_column(sizes: list[int], dtype: type = np.uint16) -> TokenColumn:
    """Values 0, 1, 2 ... in chunks that lie apart in one buffer, the last one first."""
    buffer = np.zeros(sum(sizes) + 8 * len(sizes), dtype=dtype)
    chunks, place, value = [], len(buffer), 0
    for size in sizes:
        place -= size + 8
        buffer[place : place + size] = np.arange(value, value + size)
        chunks.append(buffer[place : place + size])
        value += size
    return TokenColumn(chunks, np.dtype(dtype), pa.py_buffer(buffer))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("sizes", [[40], [13, 20, 7], [1] * 40])
def test_windows(sizes: list[int], dtype: type) -> None:
    """Windows inside chunks and over their borders, in any order."""
    column = make_column(sizes, dtype)
    assert len(column) == 40
    for length in (1, 3, 40):
        starts = np.arange(40 - length + 1)[::-1]
        found = column.take_windows(starts, length)
        assert found.dtype == dtype
        assert found.tolist() == [list(range(start, start + length)) for start in starts.tolist()]
        found[:] = 99  # a copy
    assert column.take_windows(np.array([5]), 2).tolist() == [[5, 6]]


@pytest.mark.parametrize("values_for_a_slice", [0, 1000], ids=["slice by slice", "gathered"])
@pytest.mark.parametrize("sizes", [[40], [13, 20, 7]])
def test_pieces(sizes: list[int], values_for_a_slice: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of chunks, in any order and as often as asked, to any places; what lies between is zeros."""
    monkeypatch.setattr("whelp.artifacts.token_column.VALUES_FOR_A_SLICE", values_for_a_slice)
    column = make_column(sizes)
    starts, lengths = np.array([30, 0, 13, 39, 0]), np.array([3, 13, 20, 1, 2])
    expected = [value for start, length in zip(starts, lengths, strict=True) for value in range(start, start + length)]
    places = np.cumsum(lengths) - lengths + [0, 0, 1, 1, 3]
    out = column.copy_places(column.find_places(starts), lengths, places, 43)
    assert out.tolist() == [*expected[:16], 0, *expected[16:37], 0, 0, *expected[37:], 0]
    assert column.join(column.find_places(starts), lengths).tolist() == expected
    nothing = np.empty(0, np.int64)
    assert column.join(nothing, nothing).tolist() == []
    assert column.read_windows(nothing, 41).shape == (0, 41)  # a window that no place has room for
    assert column.copy_places(nothing, nothing, nothing, 2).tolist() == [0, 0]
    assert column.take(np.array([39, 0, 13, 12, 0])).tolist() == [39, 0, 13, 12, 0]


def test_a_window_past_the_end() -> None:
    """What is not there is not made up."""
    with pytest.raises(AssertionError, match="2 values at 38, not 5"):
        make_column([20, 20]).take_windows(np.array([0, 38]), 5)
