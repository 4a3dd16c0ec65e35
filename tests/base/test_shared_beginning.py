"""How far two sequences are alike."""

from __future__ import annotations

import numpy as np
import pytest

from whelp.base.shared_beginning import count_shared


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2], [1, 2, 3], 2), ([1, 2, 3], [1, 5, 3], 1), ([4, 2], [1, 2], 0)],
)
def test_the_longest_common_beginning(one: list[int], other: list[int], expected: int) -> None:
    """From the first number to the first that is different, or the end of the shorter one; either way round."""
    arrays = [np.array(values, dtype=np.int64) for values in (one, other)]
    assert count_shared(*arrays) == count_shared(*reversed(arrays)) == expected
