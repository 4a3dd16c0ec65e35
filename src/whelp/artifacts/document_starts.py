"""Where documents begin in rows, from the numbers that a `RowBatch` gives its documents."""

from __future__ import annotations

import torch


def find_starts(documents: torch.Tensor) -> torch.Tensor:
    """(B, T) numbers, equal within a document -> (B, T) bool: where one begins inside of a row; the first token of a row goes on."""
    starts = torch.zeros_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return starts
