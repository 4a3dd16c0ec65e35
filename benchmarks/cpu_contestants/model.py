"""The model that the loops of nanoGPT and of the tutorials train: a GPT of nanoGPT's shape, in plain PyTorch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpu_contestants.task import Settings


class Attention(nn.Module):
    """Causal self-attention with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        q, k, v = (t.view(rows, length, self.heads, -1).transpose(1, 2) for t in self.qkv(x).split(width, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(rows, length, width))


class Block(nn.Module):
    """A pre-norm transformer block with an exact GELU."""

    def __init__(self, width: int, heads: int, norm_bias: bool) -> None:
        super().__init__()
        self.norm_a = nn.LayerNorm(width, bias=norm_bias)
        self.attention = Attention(width, heads)
        self.norm_b = nn.LayerNorm(width, bias=norm_bias)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_a(x))
        return x + self.down(F.gelu(self.up(self.norm_b(x))))


class GPT(nn.Module):
    """A GPT of nanoGPT's shape: learned positions, no biases in the matrices, input and output embedding tied."""

    def __init__(self, vocabulary: int, settings: Settings, norm_bias: bool) -> None:
        super().__init__()
        width = settings.width
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(settings.block, width)
        self.blocks = nn.ModuleList(Block(width, settings.heads, norm_bias) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(width, bias=norm_bias)
        for name, weight in self.named_parameters():
            if weight.dim() >= 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * settings.layers) if residual else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


def count(model: nn.Module) -> int:
    """Parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())
