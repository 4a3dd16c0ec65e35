"""RWKV-5.2 "Eagle" (Peng et al. 2024, arXiv 2404.05892), in the layout of the official files and with their first weights.

Source of the arithmetic, the first weights and the groups of the optimizer: `RWKV-v5/src/model.py` (x052) of BlinkDL/RWKV-LM.
There, `time_decay` learns at twice the rate (with `layerwise_lr`, the default), and nothing called `time_*` has weight decay.
Shapes: B rows, T tokens, D width, H heads, K head width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from whelp.model.config import ModelSpec
from whelp.model.rwkv.kernels import run_matrix_memory
from whelp.model.rwkv.linear_attention import Inputs
from whelp.model.rwkv.shared import (
    Block,
    Flow,
    Rwkv,
    as_plain,
    draw_orthogonal,
    first_mixes,
    group_norm,
    layer_ratios,
    set_vectors,
    whole_ramp,
    zigzag,
)

NORM_EPSILON = 64e-5  # of the heads' norm: 1e-5 after a division by 8, in the official words
_MIXES = "kvrg"


class GatedTimeMix(nn.Module):
    """What generations 5 and 6 share: a memory that is written and read, a norm of the heads, a gate."""

    time_decay: nn.Parameter
    time_faaaa: nn.Parameter  # how much a token reads of itself: (H, K)

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        width, self.num_heads, self.head_width = spec.n_embd, spec.n_head, spec.head_width
        self.receptance, self.key, self.value, self.output, self.gate = (nn.Linear(width, width, bias=False) for _ in range(5))
        self.ln_x = nn.GroupNorm(spec.n_head, width, eps=NORM_EPSILON)

    def _remember(
        self, mixed: Sequence[torch.Tensor], log_w: torch.Tensor, memory: torch.Tensor, flow: Flow
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From what goes into key, value, receptance and gate, each (B, T, D), to (B, T, D) and the memory (B, H, K, K)."""
        xk, xv, xr, xg = mixed
        r, k, v = (self._heads(part) for part in (self.receptance(xr), self.key(xk), self.value(xv)))  # (B, T, H, K)
        inputs = Inputs(r, log_w.expand(r.shape), k, v, self.time_faaaa.float())
        found, memory = run_matrix_memory(inputs, memory, flow.starts, flow.counts, flow.kernel)
        out = group_norm(found, self.ln_x.weight, self.ln_x.bias, NORM_EPSILON)  # (B, T, D)
        read: torch.Tensor = self.output((out * F.silu(self.gate(xg))).to(xk.dtype))
        return read, memory

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], self.num_heads, self.head_width)


class GatedChannelMix(nn.Module):
    """What generations 4, 5 and 6 share: a square of what is positive, behind a gate."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.key = nn.Linear(spec.n_embd, spec.ffn_width, bias=False)
        self.receptance = nn.Linear(spec.n_embd, spec.n_embd, bias=False)
        self.value = nn.Linear(spec.ffn_width, spec.n_embd, bias=False)

    def _feed(self, xk: torch.Tensor, xr: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.key(xk)).square()  # (B, T, F)
        fed: torch.Tensor = torch.sigmoid(self.receptance(xr)) * self.value(hidden)
        return fed


class _TimeMix(GatedTimeMix):
    time_mix_k: nn.Parameter  # how much of the token itself goes into the key, ...; the rest is of the token before: (1, 1, D)
    time_mix_v: nn.Parameter
    time_mix_r: nn.Parameter
    time_mix_g: nn.Parameter

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        for name in _MIXES:
            self.register_parameter(f"time_mix_{name}", nn.Parameter(torch.zeros(1, 1, spec.n_embd)))
        self.time_decay, self.time_faaaa = (nn.Parameter(torch.zeros(spec.n_head, spec.head_width)) for _ in range(2))

    def forward(
        self, x: torch.Tensor, shared: torch.Tensor | None, before: torch.Tensor, memory: torch.Tensor, flow: Flow
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """(B, T, D) -> (B, T, D); and what was shared, the last token (B, D), the memory (B, H, K, K)."""
        shifted, last = flow.shift(x, before)
        mixes = (self.time_mix_k, self.time_mix_v, self.time_mix_r, self.time_mix_g)
        mixed = [torch.lerp(shifted, x, mix.to(x.dtype)) for mix in mixes]
        out, memory = self._remember(mixed, -self.time_decay.float().exp(), memory, flow)
        return out, shared, last, memory


class ChannelMix(GatedChannelMix):
    """What generations 4 and 5 share: every channel has its share of the token before."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.time_mix_k, self.time_mix_r = (nn.Parameter(torch.zeros(1, 1, spec.n_embd)) for _ in range(2))

    def forward(self, x: torch.Tensor, before: torch.Tensor, flow: Flow) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) -> (B, T, D), and the last token (B, D)."""
        shifted, last = flow.shift(x, before)
        xk, xr = (torch.lerp(shifted, x, mix.to(x.dtype)) for mix in (self.time_mix_k, self.time_mix_r))
        return self._feed(xk, xr), last


class Rwkv5(Rwkv):
    """RWKV-5.2: what seed trainers of 2023 and 2024 train."""

    generation = "rwkv5"

    def _make_block(self, spec: ModelSpec, layer: int) -> Block:
        return Block(spec, layer, _TimeMix(spec), ChannelMix(spec))

    def _init_block(self, block: Block, generator: torch.Generator) -> None:
        """Draw the official first weights of a layer."""
        spec, att, ffn = self.spec, block.att, block.ffn
        assert isinstance(att, _TimeMix)
        assert isinstance(ffn, ChannelMix)
        values = first_mixes(spec, block.layer)
        set_vectors(att, {f"time_mix_{name}": value for name, value in values.items()})
        set_vectors(ffn, {"time_mix_k": values["k"], "time_mix_r": values["k"]})
        draw_shared_weights(spec, block, generator)

    def learning_rate_scale(self, name: str) -> float:
        """Decays learn twice as fast."""
        return 2.0 if name.endswith("time_decay") else 1.0

    def to_hugging_face(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """No library opens this family by its `config.json`; the weights have their official names."""
        spec = self.spec
        config = {
            "architectures": [f"{type(self).__name__}ForCausalLM"],
            "model_type": self.generation,
            "num_hidden_layers": spec.n_layer,
            "head_size": spec.head_width,
            "hidden_size": spec.n_embd,
            "intermediate_size": spec.ffn_width,
            "vocab_size": spec.vocab_size,
            "context_length": spec.context_tokens,
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
        }
        if spec.low_ranks is not None:
            config["low_ranks"] = list(spec.low_ranks)
        return config, self.to_official()

    def load_hugging_face(self, weights: Mapping[str, torch.Tensor]) -> None:
        """From what `to_hugging_face` gave."""
        self.load_official(weights)

    @classmethod
    def _read_low_ranks(cls, config: Mapping[str, Any]) -> tuple[int, ...] | None:
        """The widths of thin matrices, from a `config.json`; this generation has none."""
        return None

    @classmethod
    def spec_from_hugging_face(cls, config: Mapping[str, Any]) -> ModelSpec:
        """The spec that our own `config.json` describes."""
        return cls._make_spec(
            n_layer=config["num_hidden_layers"],
            head_width=as_plain(config, "head_size", 64),
            n_embd=config["hidden_size"],
            ffn_width=config["intermediate_size"],
            vocab_size=config["vocab_size"],
            context_tokens=as_plain(config, "context_length", 2048),
            low_ranks=cls._read_low_ranks(config),
        )

    @classmethod
    def _find_head_width(cls, weights: Mapping[str, torch.Tensor]) -> int:
        return weights["emb.weight"].shape[1] // weights["blocks.0.att.time_faaaa"].shape[0]


def draw_shared_weights(spec: ModelSpec, block: Block, generator: torch.Generator) -> None:
    """The official first values of what generations 5 and 6 share in a layer."""
    att, ffn = block.att, block.ffn
    assert isinstance(att, GatedTimeMix)
    assert isinstance(ffn, GatedChannelMix)
    depth, _ = layer_ratios(spec, block.layer)
    share = whole_ramp(spec.n_embd)
    decay = -6 + 5 * share ** (0.7 + 1.3 * depth)
    set_vectors(att, {"time_decay": decay, "time_faaaa": depth * (1 - share) + 0.1 * zigzag(spec.n_embd)})
    with torch.no_grad():
        att.ln_x.weight.fill_(((1 + block.layer) / spec.n_layer) ** 0.7)
        for matrix in (att.output, ffn.value, ffn.receptance):
            matrix.weight.zero_()
    drawn = ((att.receptance, 1.0), (att.key, 0.1), (att.value, 1.0), (att.gate, 0.1), (ffn.key, 1.0))
    for matrix, gain in drawn:
        draw_orthogonal(matrix.weight, gain, generator)
