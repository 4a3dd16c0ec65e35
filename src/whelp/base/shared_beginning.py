"""How many values two sequences of numbers have in common from the first on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_SHARED = 32  # tokens: to read fewer takes no longer than to take over what a model remembers of them


def get_head(ids: npt.NDArray[np.integer[Any]]) -> bytes:
    """The first LEAST_SHARED numbers: where these differ, nothing worth sharing is shared, which is quicker to see than to count."""
    return ids[:LEAST_SHARED].tobytes()


def count_shared(one: npt.NDArray[np.integer[Any]], other: npt.NDArray[np.integer[Any]]) -> int:
    """The length of the longest common beginning.

    >>> count_shared(np.array([3, 1, 4, 1]), np.array([3, 1, 5, 1, 9]))
    2
    """
    size = min(len(one), len(other))
    different = one[:size] != other[:size]
    return int(different.argmax()) if different.any() else size
