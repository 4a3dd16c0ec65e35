"""Training rows, read straight from the memory map.

Shapes: B rows, T tokens in a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_store import TokenSplit
from whelp.prepare.order import row_indices


@dataclass(frozen=True)
class PackedRows:
    """The rows of a `concat` plan: row k holds stream tokens k*T .. k*T + T - 1, its targets are one token later."""

    split: TokenSplit
    context_tokens: int
    num_rows: int
    pad_id: int

    def __len__(self) -> int:
        return self.num_rows

    def row(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """One row by its place in the store: ids (T,), targets (T,)."""
        ids, targets = self._read(np.array([index]))
        return ids[0], targets[0]

    def read_in_order(self, first: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows first .. first + count - 1 as they lie in the store: ids (B, T), targets (B, T)."""
        return self._read(np.arange(first, min(first + count, self.num_rows)))

    def read(self, first: int, count: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows number `first` .. of the endless shuffled order: ids (B, T), targets (B, T).

        Targets are the ids one token later, and `IGNORED` (-100) where there is none.
        """
        return self._read(row_indices(first, count, self.num_rows, seed))

    def _read(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        length = self.context_tokens
        raw: npt.NDArray[Any] = np.empty((len(rows), length + 1), dtype=self.split.dtype)  # (B, T + 1)
        filled = [self.split.read_into(int(row) * length, out) for row, out in zip(rows, raw, strict=True)]
        tokens = raw.astype(np.int64)
        ids, targets = tokens[:, :-1].copy(), tokens[:, 1:].copy()
        for index, count in enumerate(filled):
            if count <= length:  # the last row: pads after the stream's end
                ids[index, count:] = self.pad_id
                targets[index, max(count - 1, 0) :] = IGNORED
        return ids, targets
