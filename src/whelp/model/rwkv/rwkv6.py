"""RWKV-6 "Finch" (Peng et al. 2024, arXiv 2404.05892), in the layout of the official files and with their first weights.

RWKV-5 whose decay, and whose share of the token before, depend on the token.
Source of the arithmetic, the first weights and the groups of the optimizer: `RWKV-v5/src/model.py` (x060) of BlinkDL/RWKV-LM.
There, `time_decay` learns at twice the rate (with `layerwise_lr`, the default), and weight decay is for matrices called `*.weight`.
Shapes: B rows, T tokens, D width, H heads, K head width, F feed-forward width, R a low rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from whelp.model.config import ModelSpec
from whelp.model.rwkv.rwkv5 import GatedChannelMix, GatedTimeMix, Rwkv5, draw_shared_weights
from whelp.model.rwkv.shared import Block, Flow, first_mixes, set_vectors

_MIXES = "wkvrg"


class _TimeMix(GatedTimeMix):
    time_maa_x: nn.Parameter  # how much of the token before goes into what the shares depend on: (1, 1, D)
    time_maa_w: nn.Parameter  # how much goes into the decay, ..., before what depends on the token is added
    time_maa_k: nn.Parameter
    time_maa_v: nn.Parameter
    time_maa_r: nn.Parameter
    time_maa_g: nn.Parameter

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        width = spec.n_embd
        mix_rank, decay_rank = spec.low_ranks or default_low_ranks(width)
        for name in "x" + _MIXES:
            self.register_parameter(f"time_maa_{name}", nn.Parameter(torch.zeros(1, 1, width)))
        self.time_maa_w1 = nn.Parameter(torch.zeros(width, len(_MIXES) * mix_rank))
        self.time_maa_w2 = nn.Parameter(torch.zeros(len(_MIXES), mix_rank, width))
        self.time_decay = nn.Parameter(torch.zeros(1, 1, width))
        self.time_decay_w1 = nn.Parameter(torch.zeros(width, decay_rank))
        self.time_decay_w2 = nn.Parameter(torch.zeros(decay_rank, width))
        self.time_faaaa = nn.Parameter(torch.zeros(spec.n_head, spec.head_width))

    def forward(
        self, x: torch.Tensor, shared: torch.Tensor | None, before: torch.Tensor, memory: torch.Tensor, flow: Flow
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """(B, T, D) -> (B, T, D); and what was shared, the last token (B, D), the memory (B, H, K, K)."""
        shifted, last = flow.shift(x, before)
        change = shifted - x
        thin = torch.tanh(torch.addcmul(x, change, self.time_maa_x.to(x.dtype)) @ self.time_maa_w1)  # (B, T, 5R)
        thin = thin.unflatten(-1, (len(_MIXES), -1)).flatten(0, 1).transpose(0, 1)  # (5, B * T, R)
        added = (thin @ self.time_maa_w2).unflatten(1, x.shape[:2])  # (5, B, T, D)
        mixes = (self.time_maa_w, self.time_maa_k, self.time_maa_v, self.time_maa_r, self.time_maa_g)
        parts = zip(mixes, added, strict=True)
        xw, *mixed = [torch.addcmul(x, change, mix.to(x.dtype) + more.to(x.dtype)) for mix, more in parts]
        decay = self.time_decay + torch.tanh(xw @ self.time_decay_w1) @ self.time_decay_w2
        out, memory = self._remember(mixed, self._heads(-decay.float().exp()), memory, flow)
        return out, shared, last, memory


class _ChannelMix(GatedChannelMix):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.time_maa_k, self.time_maa_r = (nn.Parameter(torch.zeros(1, 1, spec.n_embd)) for _ in range(2))

    def forward(self, x: torch.Tensor, before: torch.Tensor, flow: Flow) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) -> (B, T, D), and the last token (B, D)."""
        shifted, last = flow.shift(x, before)
        xk, xr = (torch.addcmul(x, shifted - x, mix.to(x.dtype)) for mix in (self.time_maa_k, self.time_maa_r))
        return self._feed(xk, xr), last


class Rwkv6(Rwkv5):
    """RWKV-6: between what infctx trainers train and the current generation."""

    generation = "rwkv6"

    def _make_block(self, spec: ModelSpec, layer: int) -> Block:
        return Block(spec, layer, _TimeMix(spec), _ChannelMix(spec))

    def _init_block(self, block: Block, generator: torch.Generator) -> None:
        """Draw the official first weights of a layer."""
        spec, att, ffn = self.spec, block.att, block.ffn
        assert isinstance(att, _TimeMix)
        assert isinstance(ffn, _ChannelMix)
        values = first_mixes(spec, block.layer)
        values |= {"x": values["k"], "w": values["k"]}
        set_vectors(att, {f"time_maa_{name}": 1 - value for name, value in values.items()})
        set_vectors(ffn, {"time_maa_k": 1 - values["k"], "time_maa_r": 1 - values["k"]})
        with torch.no_grad():
            for first in (att.time_maa_w1, att.time_decay_w1):
                first.zero_()
            for second in (att.time_maa_w2, att.time_decay_w2):
                second.uniform_(-0.01, 0.01, generator=generator)
        draw_shared_weights(spec, block, generator)

    @classmethod
    def _read_low_ranks(cls, config: Mapping[str, Any]) -> tuple[int, ...] | None:
        return tuple(config.get("low_ranks") or default_low_ranks(config["hidden_size"]))

    @classmethod
    def _find_low_ranks(cls, weights: Mapping[str, torch.Tensor]) -> tuple[int, ...] | None:
        return weights["blocks.0.att.time_maa_w2"].shape[1], weights["blocks.0.att.time_decay_w1"].shape[1]

    @classmethod
    def _default_low_ranks(cls, width: int) -> tuple[int, ...] | None:
        return default_low_ranks(width)


def default_low_ranks(width: int) -> tuple[int, int]:
    """The official widths of the thin matrices of a model of this width: shares, decay."""
    return (64, 128) if width == 4096 else (32, 64)
