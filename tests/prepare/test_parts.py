"""Rows as they lie in the store."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from whelp.prepare.parts import _FEWEST_TO_COPY, _append


@pytest.mark.parametrize("tail", [(), (7,), (7, 0, 65535)])
@pytest.mark.parametrize("most", [2, 4 * _FEWEST_TO_COPY])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_separator_follows_each_document(count: int, most: int, tail: tuple[int, ...]) -> None:
    """Short documents and long ones, empty ones among them, are laid out in two ways, and look the same."""
    generator = np.random.default_rng(count)
    lengths = generator.integers(0, most, count, endpoint=True)
    lengths[1:2] = 0
    documents = [generator.integers(0, 1 << 16, length).tolist() for length in lengths]
    flat = np.array([value for document in documents for value in document], np.uint32)

    values, offsets = _append(flat, lengths, tail, pa.uint16())

    assert (values.dtype, offsets.dtype) == (np.uint16, np.int64)
    assert len(offsets) == count + 1
    assert len(values) == offsets[-1]
    pieces = [values[first:stop].tolist() for first, stop in itertools.pairwise(offsets)]
    assert pieces == [[*document, *tail] for document in documents]
