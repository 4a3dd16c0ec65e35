"""Attention in bf16 on a CPU while training, for rows that are not long: whole matrices of logits, in batched products.

The framework's own backward pass in bf16 is made of small products, each set up anew. Forward and backward, one thread,
milliseconds, this and the framework's in bf16 and float32: 16 x 2 heads of 64 and 128 tokens 3.3, 15 and 7.9; 4 x 4 heads and
512 tokens 20, 32 and 40; 2 x 4 heads and 1,024 tokens 42, 34 and 49.
Shapes: B rows, T tokens, H heads, K head width.
"""

from __future__ import annotations

import torch

_MOST_TOKENS = 512


def fits_cpu_attention(queries: torch.Tensor, dropout: float) -> bool:
    """Whether `cpu_attention` takes these queries (B, H, T, K), and is the faster way."""
    is_bf16 = queries.dtype == torch.bfloat16 and queries.device.type == "cpu"
    is_training = torch.is_grad_enabled() and not dropout
    return is_bf16 and is_training and queries.shape[2] <= _MOST_TOKENS


def cpu_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Causal attention, or within `mask` (true where a query may look), of tensors (B, H, T, K)."""
    num_rows, num_heads, num_tokens, head_width = queries.shape
    q, k, v = (part.reshape(-1, num_tokens, head_width) for part in (queries, keys, values))
    if mask is None:
        unseen = q.new_full((num_tokens, num_tokens), float("-inf")).triu(1)
    else:
        unseen = q.new_zeros(mask.shape).masked_fill_(~mask, float("-inf"))
        unseen = unseen.expand(num_rows, num_heads, num_tokens, num_tokens).reshape(-1, num_tokens, num_tokens)
    logits = torch.baddbmm(unseen, q, k.mT, alpha=head_width**-0.5)  # (B * H, T, T)
    return torch.bmm(torch.softmax(logits, dim=-1), v).view(queries.shape)
