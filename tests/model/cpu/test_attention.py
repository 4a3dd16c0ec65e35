"""Attention in bf16 on a CPU, against the framework's own in float32."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from whelp.model.cpu.attention import fits_cpu_attention
from whelp.model.layers.attention import causal_attention
from whelp.model.layers.document_boundaries import find_boundaries


def _make(num_rows: int, num_heads: int, num_tokens: int, width: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Queries, keys, values as a block lays them out: heads beside each other."""
    generator = torch.Generator().manual_seed(num_tokens)
    drawn = torch.randn(3, num_rows, num_tokens, num_heads, width, generator=generator).bfloat16()
    return [part.to(dtype).transpose(1, 2).requires_grad_() for part in drawn]


@pytest.mark.parametrize("num_documents", [0, 3])
@pytest.mark.parametrize(("num_heads", "num_tokens", "width"), [(4, 64, 32), (1, 17, 8), (3, 512, 16)])
def test_values_and_gradients(num_heads: int, num_tokens: int, width: int, num_documents: int) -> None:
    """Within the rounding of bf16, over whole rows and within documents."""
    rounded = _make(2, num_heads, num_tokens, width, torch.bfloat16)
    exact = _make(2, num_heads, num_tokens, width, torch.float32)
    documents, mask = None, None
    if num_documents:
        documents = torch.arange(num_tokens).mul(num_documents).div(num_tokens, rounding_mode="floor").expand(2, -1)
        mask = (documents[:, :, None] == documents[:, None, :]).tril().unsqueeze(1)
    assert fits_cpu_attention(rounded[2], 0.0)
    boundaries = find_boundaries(documents, head_width=width)
    ours = causal_attention(*rounded, layer=0, cache=None, boundaries=boundaries)
    plain = F.scaled_dot_product_attention(*exact, attn_mask=mask, is_causal=mask is None)
    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    found = [ours, *torch.autograd.grad(ours, rounded, weights.bfloat16())]
    wanted = [plain, *torch.autograd.grad(plain, exact, weights)]
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine.float() - theirs).norm() < 0.02 * theirs.norm()


def test_where_the_framework_is_asked() -> None:
    """Longer rows, dropout, float32, and no gradient."""
    queries = _make(1, 1, 513, 8, torch.bfloat16)[0]
    assert not fits_cpu_attention(queries, 0.0)
    assert not fits_cpu_attention(queries[:, :, :512], 0.1)
    assert not fits_cpu_attention(queries[:, :, :512].float(), 0.0)
    with torch.no_grad():
        assert not fits_cpu_attention(queries[:, :, :512], 0.0)
    assert fits_cpu_attention(queries[:, :, :512], 0.0)
