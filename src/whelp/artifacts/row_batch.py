"""A batch of training rows, as it goes from the plan to the model.

Shapes: B rows, T tokens in a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class RowBatch(NamedTuple):
    """What some rows read, what they predict, and where documents begin in them."""

    ids: npt.NDArray[np.int64]  # (B, T)
    targets: npt.NDArray[np.int64]  # (B, T): the ids one later; IGNORED where nothing is trained
    documents: npt.NDArray[np.int32] | None = (
        None  # (B, T): 0, 1, 2 ... inside a row, -1 at pads; None: boundaries do not matter
    )
