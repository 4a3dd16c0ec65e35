"""RWKV-7 "Goose" (Peng et al. 2025, arXiv 2503.14456), in the layout of the official files and with their first weights.

Source of the arithmetic, the first weights and the groups of the optimizer: `RWKV-v7/train_temp/src/model.py` of
BlinkDL/RWKV-LM. There, `att.w0` learns at twice the rate, weight decay is for matrices called `*.weight` alone, and matrices
are drawn orthogonal (`output` and `ffn.value` zero, so that a block begins as the identity).
Shapes: B rows, T tokens, D width, H heads, K head width, F feed-forward width, R a low rank, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from whelp.model.config import ModelSpec
from whelp.model.rwkv.delta_rule import LOWEST_LOG_DECAY, Inputs
from whelp.model.rwkv.kernels import run_matrix_memory
from whelp.model.rwkv.shared import (
    Block,
    Flow,
    Rwkv,
    as_plain,
    count_low_rank,
    draw_orthogonal,
    group_norm,
    layer_ratios,
    ramp,
    set_vectors,
    whole_ramp,
)

_NORM_EPSILON = 64e-5  # of the heads' norm, whatever their width
_LOW_RANKS = {"w": 2.5, "a": 2.5, "v": 1.7, "g": 5.0}  # official widths: near these x sqrt(D)


class _TimeMix(nn.Module):
    x_r: nn.Parameter  # how much of the token before goes into the receptance, ...: (1, 1, D)
    x_w: nn.Parameter
    x_k: nn.Parameter
    x_v: nn.Parameter
    x_a: nn.Parameter
    x_g: nn.Parameter
    w0: nn.Parameter  # offset of the decay, (1, 1, D); w1 (D, R) and w2 (R, D) make it depend on the token
    w1: nn.Parameter
    w2: nn.Parameter
    a0: nn.Parameter  # of the rate of learning
    a1: nn.Parameter
    a2: nn.Parameter
    v0: nn.Parameter  # of the share of the first layer's value
    v1: nn.Parameter
    v2: nn.Parameter
    g1: nn.Parameter  # of the gate
    g2: nn.Parameter

    def __init__(self, spec: ModelSpec, layer: int) -> None:
        super().__init__()
        width, self.num_heads, self.head_width = spec.n_embd, spec.n_head, spec.head_width
        self.is_first = layer == 0  # no number: the compiler would make a graph for each value
        for name in _MIX_POWERS:
            self.register_parameter(f"x_{name}", nn.Parameter(torch.zeros(1, 1, width)))
        ranks = spec.low_ranks or default_low_ranks(width)
        for name, rank in zip(_LOW_RANKS, ranks, strict=True):
            if name != "g":
                self.register_parameter(f"{name}0", nn.Parameter(torch.zeros(1, 1, width)))
            self.register_parameter(f"{name}1", nn.Parameter(torch.zeros(width, rank)))
            self.register_parameter(f"{name}2", nn.Parameter(torch.zeros(rank, width)))
        self.k_k, self.k_a = (nn.Parameter(torch.zeros(1, 1, width)) for _ in range(2))
        self.r_k = nn.Parameter(torch.zeros(spec.n_head, spec.head_width))
        self.receptance, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.ln_x = nn.GroupNorm(spec.n_head, width, eps=_NORM_EPSILON)

    def forward(
        self, x: torch.Tensor, first_value: torch.Tensor | None, before: torch.Tensor, memory: torch.Tensor, flow: Flow
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, T, D) -> (B, T, D); and the first layer's values (B, T, D), the last token (B, D), the memory (B, H, K, K)."""
        shifted, last = flow.shift(x, before)
        change = shifted - x
        mixes = (self.x_r, self.x_w, self.x_k, self.x_v, self.x_a, self.x_g)
        xr, xw, xk, xv, xa, xg = [torch.addcmul(x, change, mix.to(x.dtype)) for mix in mixes]
        r, k, v = self.receptance(xr), self.key(xk), self.value(xv)  # (B, T, D)
        decay = self.w0 + torch.tanh(xw @ self.w1) @ self.w2
        log_w = LOWEST_LOG_DECAY * torch.sigmoid(decay.float())
        if self.is_first or first_value is None:  # v0, v1, v2 stand in the official files of the first layer, too
            first_value = v
        else:
            v = torch.lerp(v, first_value, torch.sigmoid(self.v0.to(v.dtype) + (xv @ self.v1) @ self.v2))
        rate = torch.sigmoid(self.a0.to(k.dtype) + (xa @ self.a1) @ self.a2)  # of learning, for each channel
        gate = torch.sigmoid(xg @ self.g1) @ self.g2
        direction = F.normalize(self._heads(k * self.k_k.to(k.dtype)), dim=-1)  # (B, T, H, K)
        k = self._heads(k * (1 + (rate - 1) * self.k_a.to(k.dtype)))
        r, v = self._heads(r), self._heads(v)
        found, memory = run_matrix_memory(
            Inputs(r, self._heads(log_w), k, v, -direction, direction * self._heads(rate)),
            memory,
            flow.starts,
            flow.counts,
            flow.kernel,
        )
        out = group_norm(found, self.ln_x.weight, self.ln_x.bias, _NORM_EPSILON)  # (B, T, D)
        out = out + ((r * k * self.r_k.to(k.dtype)).sum(dim=-1, keepdim=True) * v).flatten(2)
        mixed: torch.Tensor = self.output((out * gate).to(x.dtype))
        return mixed, first_value, last, memory

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], self.num_heads, self.head_width)


class _ChannelMix(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.x_k = nn.Parameter(torch.zeros(1, 1, spec.n_embd))
        self.key = nn.Linear(spec.n_embd, spec.ffn_width, bias=False)
        self.value = nn.Linear(spec.ffn_width, spec.n_embd, bias=False)

    def forward(self, x: torch.Tensor, before: torch.Tensor, flow: Flow) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) -> (B, T, D), and the last token (B, D)."""
        shifted, last = flow.shift(x, before)
        hidden = torch.relu(self.key(torch.addcmul(x, shifted - x, self.x_k.to(x.dtype)))).square()  # (B, T, F)
        return self.value(hidden), last


class Rwkv7(Rwkv):
    """RWKV-7: linear time, constant memory."""

    generation = "rwkv7"

    def _make_block(self, spec: ModelSpec, layer: int) -> Block:
        return Block(spec, layer, _TimeMix(spec, layer), _ChannelMix(spec))

    def _init_block(self, block: Block, generator: torch.Generator) -> None:
        """Draw the official first weights of a layer."""
        spec, layer = self.spec, block.layer
        width, head_width = spec.n_embd, spec.head_width
        linear = whole_ramp(width) - 0.5  # -1/2 to 1/2
        zigzag = (torch.arange(width) % head_width - (head_width - 1) / 2) / max((head_width - 1) / 2, 0.5)
        zigzag = zigzag * zigzag.abs()  # -1 to 1 in every head
        depth, rest = layer_ratios(spec, layer)
        att, ffn = block.att, block.ffn
        assert isinstance(att, _TimeMix)
        assert isinstance(ffn, _ChannelMix)
        values = {f"x_{name}": 1 - ramp(width) ** (power * rest) for name, power in _MIX_POWERS.items()}
        slope = -6 + 6 * whole_ramp(width) ** (1 + depth**0.3)
        values |= {"w0": slope + 0.5 + 2.5 * zigzag, "a0": -0.19 + 0.3 * zigzag + 0.4 * linear, "v0": 0.73 - 0.4 * linear}
        values |= {"k_k": 0.71 - 0.1 * linear, "k_a": torch.full((width,), 1.02)}
        set_vectors(att, values)
        set_vectors(ffn, {"x_k": 1 - ramp(width) ** rest**4})
        with torch.no_grad():
            att.r_k.fill_(-0.04)
            att.ln_x.weight.fill_(((1 + layer) / spec.n_layer) ** 0.7)
            for name in _LOW_RANKS:
                att.get_parameter(f"{name}1").zero_()
            att.output.weight.zero_()
            ffn.value.weight.zero_()
        for name in _LOW_RANKS:
            thin = att.get_parameter(f"{name}2")
            draw_orthogonal(thin, 0.1 * max(1.0, thin.shape[0] / thin.shape[1]) ** 0.5, generator)
        for matrix, gain in ((att.receptance, 1.0), (att.key, 0.1), (att.value, 1.0), (ffn.key, 1.0)):
            draw_orthogonal(matrix.weight, gain, generator)

    def learning_rate_scale(self, name: str) -> float:
        """The decay's offsets learn twice as fast."""
        return 2.0 if name.endswith("att.w0") else 1.0

    def to_hugging_face(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """For `RWKV7ForCausalLM` of flash-linear-attention, which registers itself with transformers."""
        spec = self.spec
        decay, rate, value, gate = spec.low_ranks or default_low_ranks(spec.n_embd)
        config = {
            "architectures": ["RWKV7ForCausalLM"],
            "model_type": "rwkv7",
            "num_hidden_layers": spec.n_layer,
            "num_heads": spec.n_head,
            "head_dim": spec.head_width,
            "hidden_size": spec.n_embd,
            "intermediate_size": spec.ffn_width,
            "vocab_size": spec.vocab_size,
            "max_position_embeddings": spec.context_tokens,
            "decay_low_rank_dim": decay,
            "a_low_rank_dim": rate,
            "v_low_rank_dim": value,
            "gate_low_rank_dim": gate,
            "hidden_act": "sqrelu",
            "norm_first": True,
            "norm_bias": True,
            "norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
        }
        weights = {}
        for name, tensor in self.state_dict().items():
            theirs = _to_their_name(name)
            if theirs is not None:
                weights[theirs] = _turn(theirs, tensor).contiguous()
        return config, weights

    def load_hugging_face(self, weights: Mapping[str, torch.Tensor]) -> None:
        """From `RWKV7ForCausalLM` of flash-linear-attention."""
        state = dict(self.state_dict())
        for name, tensor in state.items():
            theirs = _to_their_name(name)
            if theirs is not None:
                state[name] = _turn(theirs, weights[theirs]).reshape(tensor.shape)
        self.load_state_dict(state)

    @classmethod
    def spec_from_hugging_face(cls, config: Mapping[str, Any]) -> ModelSpec:
        """The spec that a `config.json` of flash-linear-attention describes."""
        width, head_width = config["hidden_size"], as_plain(config, "head_dim", 64)
        names = ("decay_low_rank_dim", "a_low_rank_dim", "v_low_rank_dim", "gate_low_rank_dim")
        ranks = tuple(as_plain(config, name, rank) for name, rank in zip(names, default_low_ranks(width), strict=True))
        return cls._make_spec(
            n_layer=config["num_hidden_layers"],
            head_width=head_width,
            n_embd=width,
            ffn_width=as_plain(config, "intermediate_size", width * as_plain(config, "hidden_ratio", 4)),
            vocab_size=config["vocab_size"],
            context_tokens=as_plain(config, "max_position_embeddings", 2048),
            low_ranks=ranks,
        )

    @classmethod
    def _find_head_width(cls, weights: Mapping[str, torch.Tensor]) -> int:
        return weights["blocks.0.att.r_k"].shape[1]

    @classmethod
    def _find_low_ranks(cls, weights: Mapping[str, torch.Tensor]) -> tuple[int, ...] | None:
        return tuple(_find_rank(weights, name) for name in _LOW_RANKS)

    @classmethod
    def _default_low_ranks(cls, width: int) -> tuple[int, ...] | None:
        return default_low_ranks(width)

    def load_official(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Copy weights under the names of the official files; the first layer's v0, v1, v2, which nothing uses, may be absent."""
        unused = {name: tensor for name, tensor in self.state_dict().items() if _to_their_name(name) is None}
        super().load_official({**unused, **weights})


_MIX_POWERS = {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}

_LAYER_NAMES = {
    "ln0": "pre_norm",
    "ln1": "attn_norm",
    "ln2": "ffn_norm",
    "att.receptance": "attn.r_proj",
    "att.key": "attn.k_proj",
    "att.value": "attn.v_proj",
    "att.output": "attn.o_proj",
    "att.ln_x": "attn.g_norm",
    "ffn.key": "ffn.key",
    "ffn.value": "ffn.value",
}
_OUTER_NAMES = {
    "emb.weight": "model.embeddings.weight",
    "ln_out.weight": "model.norm.weight",
    "ln_out.bias": "model.norm.bias",
    "head.weight": "lm_head.weight",
}


def default_low_ranks(width: int) -> tuple[int, ...]:
    """The official widths of the thin matrices of a model of this width: decay, rate, value, gate."""
    return tuple(count_low_rank(width, factor) for factor in _LOW_RANKS.values())


def _find_rank(weights: Mapping[str, torch.Tensor], name: str) -> int:
    """The width of a pair of thin matrices; those of values may be absent from the first layer."""
    return next(tensor.shape[1] for key, tensor in weights.items() if key.endswith(f".att.{name}1"))


def _to_their_name(name: str) -> str | None:
    """A name in flash-linear-attention's layout; None: it has no such weight."""
    if name in _OUTER_NAMES:
        return _OUTER_NAMES[name]
    _, layer, rest = name.split(".", 2)
    place = f"model.layers.{layer}"
    stem, _, kind = rest.rpartition(".")
    if stem in _LAYER_NAMES:
        return f"{place}.{_LAYER_NAMES[stem]}.{kind}"
    if kind[0] in _LOW_RANKS and kind[1:] in ("0", "1", "2"):
        if layer == "0" and kind[0] == "v":
            return None
        part = {"0": "2.bias", "1": "0.weight", "2": "2.weight"}[kind[1]]
        return f"{place}.attn.{kind[0]}_lora.lora.{part}"
    return f"{place}.{'attn' if stem == 'att' else 'ffn'}.{kind}"


def _turn(theirs: str, tensor: torch.Tensor) -> torch.Tensor:
    """From our shape to theirs; thin matrices are (in, out) here and (out, in) there, vectors flat."""
    if ".lora." in theirs:
        return tensor.t() if theirs.endswith(".weight") else tensor.flatten()
    return tensor.flatten() if theirs.endswith((".k_k", ".k_a", ".ffn.x_k")) else tensor
