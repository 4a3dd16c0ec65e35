"""Where documents begin in packed rows: positions begin anew there, and no token sees another document's.

The one place that chooses how attention is told: a boolean mask for `scaled_dot_product_attention`, or, in a model that is
compiled as one on a GPU, a block mask for `flex_attention`, which skips blocks without a pair of tokens that see each other.
(Where blocks are compiled one by one, this runs outside of them, and gives the boolean mask.) Both have the size of the row alone,
so that batches with other boundaries compile nothing anew.
Shapes: B rows, T tokens in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask


@dataclass(frozen=True)
class Boundaries:
    """What a model needs to know of the documents in its rows."""

    positions: torch.Tensor  # (B, T): 0, 1, 2 ... from each document's start
    mask: torch.Tensor | BlockMask  # (B, 1, T, T) bool: query t sees key s


def find_boundaries(documents: torch.Tensor | None, *, head_width: int, dropout: float = 0.0) -> Boundaries | None:
    """From document numbers (B, T), equal within a document, to positions and a mask; None stays None.

    Args:
        head_width: `flex_attention` takes heads of 16 or more.
        dropout: Of attention weights; `flex_attention` has none.
    """
    if documents is None:
        return None
    num_tokens = documents.shape[1]
    places = torch.arange(num_tokens, device=documents.device)
    begins = torch.zeros_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    positions = places - torch.where(begins, places, 0).cummax(dim=1).values  # (B, T)
    is_block = documents.device.type == "cuda" and torch.compiler.is_compiling() and head_width >= 16 and not dropout
    if is_block:
        return Boundaries(positions, _make_block_mask(documents))
    is_past = places[:, None] >= places[None, :]  # (T, T)
    is_same = documents[:, :, None] == documents[:, None, :]  # (B, T, T)
    return Boundaries(positions, (is_same & is_past).unsqueeze(1))


def _make_block_mask(documents: torch.Tensor) -> BlockMask:
    num_rows, num_tokens = documents.shape

    def sees(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (query >= key) & (documents[row, query] == documents[row, key])

    return create_block_mask(sees, num_rows, None, num_tokens, num_tokens, device=documents.device)
