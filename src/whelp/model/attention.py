"""Causal attention over new tokens and, in decoding, over cached ones.

Shapes: B rows, T tokens, H heads, G key/value heads, K head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from whelp.model.cache import Cache


def causal_attention(
    queries: torch.Tensor,  # (B, H, T, K)
    keys: torch.Tensor,  # (B, G, T, K)
    values: torch.Tensor,  # (B, G, T, K)
    *,
    layer: int,
    cache: Cache | None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attend to the past and oneself; returns (B, H, T, K)."""
    if cache is not None:
        return cache.attend(layer, queries, keys, values)
    is_causal = queries.shape[2] > 1
    is_grouped = queries.shape[1] != keys.shape[1]
    if is_grouped and queries.device.type == "cpu":  # the CPU kernel has no grouped form
        repeats = queries.shape[1] // keys.shape[1]
        keys, values = keys.repeat_interleave(repeats, dim=1), values.repeat_interleave(repeats, dim=1)
        is_grouped = False
    return F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, is_causal=is_causal, enable_gqa=is_grouped)
