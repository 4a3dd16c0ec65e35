"""Where documents begin in packed rows: positions begin anew there, and no token sees another document's.

The one place that chooses how attention is told: a boolean mask for `scaled_dot_product_attention`, or, in a compiled model that is
trained on a GPU, a block mask for `flex_attention`; kernels of our own read spans. All have the size of the row alone, so that batches
with other boundaries compile nothing anew. Where blocks are compiled one by one this runs outside of them, once for all.
Shapes: B rows, T tokens in a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask

from whelp.artifacts.document_starts import find_starts
from whelp.model.layers.block_mask import has_working_kernel, make_block_mask


class Spans(NamedTuple):
    """The first token of each token's document, and the first after it: (B, T) int32 each; neither ever falls within a row."""

    starts: torch.Tensor
    ends: torch.Tensor


@dataclass(frozen=True)
class Boundaries:
    """What a model needs to know of the documents in its rows."""

    positions: torch.Tensor  # (B, T): 0, 1, 2 ... from each document's start
    mask: torch.Tensor | BlockMask | Spans  # (B, 1, T, T) bool: query t sees key s


def make_spans(starts: torch.Tensor) -> Spans:
    """From where each token's document starts, (B, T)."""
    num_tokens = starts.shape[1]
    is_last = F.pad(starts[:, 1:] != starts[:, :-1], (0, 1), value=True)  # of its document
    after = torch.where(is_last, torch.arange(1, num_tokens + 1, device=starts.device), num_tokens)
    ends = after.flip(1).cummin(dim=1).values.flip(1)
    return Spans(starts.to(torch.int32).contiguous(), ends.to(torch.int32).contiguous())


def find_boundaries(
    documents: torch.Tensor | None,
    *,
    head_width: int,
    dropout: float = 0.0,
    are_blocks_compiled: bool = False,
    as_spans: bool = False,
) -> Boundaries | None:
    """From document numbers (B, T), equal within a document, to positions and a mask; None stays None.

    Args:
        head_width: `flex_attention` takes heads of 16 or more.
        dropout: Of attention weights; `flex_attention` has none.
        are_blocks_compiled: Whether what gets the boundaries is compiled, though this is not.
        as_spans: Whether it asks for spans instead of a mask.
    """
    if documents is None:
        return None
    num_tokens = documents.shape[1]
    places = torch.arange(num_tokens, device=documents.device)
    starts = torch.where(find_starts(documents), places, 0).cummax(dim=1).values  # (B, T): where a token's document starts
    positions = places - starts
    if as_spans:
        return Boundaries(positions, make_spans(starts))
    if documents.device.type == "cuda" and not dropout and _has_kernel(documents.device, head_width, are_blocks_compiled):
        return Boundaries(positions, make_block_mask(starts))
    is_past = places[:, None] >= places[None, :]  # (T, T)
    is_same = documents[:, :, None] == documents[:, None, :]  # (B, T, T)
    return Boundaries(positions, (is_same & is_past).unsqueeze(1))


def _has_kernel(device: torch.device, head_width: int, are_blocks_compiled: bool) -> bool:
    """Whether a block mask comes to a compiled kernel; uncompiled, it would cost more than a boolean one."""
    if torch.compiler.is_compiling():
        return head_width >= 16
    return are_blocks_compiled and has_working_kernel(device, head_width)
