"""Several texts as one, row by row: of columns, and of lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import to_arrow, to_texts, view_text

_NEWLINE = to_texts(["\n"])[0]


def join_columns(columns: Sequence[pa.LargeStringArray]) -> pa.LargeStringArray:
    """The texts of several columns, row by row, each on a line of its own; nulls are left out.

    >>> join_columns([pa.array(["a", None], pa.large_string()), pa.array(["b", "c"], pa.large_string())]).to_pylist()
    ['a\\nb', 'c']
    """
    if len(columns) == 1:
        return columns[0].fill_null("") if columns[0].null_count else columns[0]
    return pc.binary_join_element_wise(*columns, _NEWLINE, null_handling="skip")


def join_items(texts: pa.LargeStringArray, offsets: npt.NDArray[np.int64]) -> pa.LargeStringArray:
    """The texts of each row, of `offsets[i]` to `offsets[i + 1]`, each on a line of its own; empty ones are left out.

    >>> join_items(pa.array(["a", "", "b"], pa.large_string()), np.array([0, 3, 3])).to_pylist()
    ['a\\nb', '']
    """
    is_filled = np.diff(view_text(texts)[1]) > 0
    before = np.concatenate(([0], np.cumsum(is_filled)))
    lists = pa.LargeListArray.from_arrays(to_arrow(before[offsets]), texts.filter(to_arrow(is_filled)))
    return pc.binary_join(lists, _NEWLINE).cast(pa.large_string())
