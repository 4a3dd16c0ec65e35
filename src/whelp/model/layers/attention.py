"""Causal attention over new tokens and, in decoding, over cached ones.

Shapes: B rows, T tokens, H heads, G key/value heads, K head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from whelp.model.cpu.attention import cpu_attention, fits_cpu_attention
from whelp.model.decoding.key_value_cache import Cache
from whelp.model.layers.document_boundaries import Boundaries


def causal_attention(
    queries: torch.Tensor,  # (B, H, T, K)
    keys: torch.Tensor,  # (B, G, T, K)
    values: torch.Tensor,  # (B, G, T, K)
    *,
    layer: int,
    cache: Cache | None,
    boundaries: Boundaries | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attend to the past and oneself, within one's document where there are boundaries; returns (B, H, T, K)."""
    if cache is not None:
        assert boundaries is None, "documents in a row are for training; a cache is for one document"
        return cache.attend(layer, queries, keys, values)
    is_grouped = queries.shape[1] != keys.shape[1]
    mask = None
    if boundaries is not None:
        if isinstance(boundaries.mask, BlockMask):
            queries, keys = queries.to(values.dtype), keys.to(values.dtype)  # autocast does not know this function
            mixed = flex_attention(queries, keys, values, block_mask=boundaries.mask, enable_gqa=is_grouped)
            assert isinstance(mixed, torch.Tensor), type(mixed)
            return mixed
        assert isinstance(boundaries.mask, torch.Tensor), "spans are for kernels that read them"
        mask = boundaries.mask
    is_causal = mask is None
    # a grouped form is of CUDA's kernels alone, and not of the fast one that takes a mask
    if is_grouped and (queries.device.type != "cuda" or boundaries is not None):
        repeats = queries.shape[1] // keys.shape[1]
        keys, values = keys.repeat_interleave(repeats, dim=1), values.repeat_interleave(repeats, dim=1)
        is_grouped = False
    if fits_cpu_attention(values, dropout):
        return cpu_attention(queries.to(values.dtype), keys.to(values.dtype), values, mask)
    return F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, dropout_p=dropout, is_causal=is_causal, enable_gqa=is_grouped
    )
