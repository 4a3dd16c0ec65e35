"""RWKV-4 "Dove" (Peng et al. 2023, arXiv 2305.13048), in the layout of the official files and with their first weights.

Source of the arithmetic, the first weights and the groups of the optimizer: `RWKV-v4neo/src/model.py` of BlinkDL/RWKV-LM.
There, `time_decay` learns at twice the rate and `time_first` at three times (with `layerwise_lr`), and nothing has weight decay;
here matrices have the decay that the recipe asks for. The embedding begins as in later generations; there, at the size of the
learning rate.
Shapes: B rows, T tokens, D width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from whelp.model.config import ModelSpec
from whelp.model.rwkv.decayed_average import Inputs
from whelp.model.rwkv.kernels import run_decayed_average
from whelp.model.rwkv.rwkv5 import ChannelMix
from whelp.model.rwkv.shared import (
    Block,
    Flow,
    Rwkv,
    as_plain,
    draw_orthogonal,
    first_mixes,
    layer_ratios,
    set_vectors,
    whole_ramp,
    zigzag,
)

_MIXES = "kvr"
_WEIGHT_OF_ITSELF = math.log(0.3)


class _TimeMix(nn.Module):
    time_decay: nn.Parameter  # (D,): the logarithm of how much the logarithm of a token's weight falls with each token after it
    time_first: nn.Parameter  # (D,): how much more a token weighs in its own output
    time_mix_k: nn.Parameter  # how much of the token itself goes into the key, ...; the rest is of the token before: (1, 1, D)
    time_mix_v: nn.Parameter
    time_mix_r: nn.Parameter

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        width = spec.n_embd
        self.time_decay, self.time_first = (nn.Parameter(torch.zeros(width)) for _ in range(2))
        for name in _MIXES:
            self.register_parameter(f"time_mix_{name}", nn.Parameter(torch.zeros(1, 1, width)))
        self.key, self.value, self.receptance, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(
        self, x: torch.Tensor, shared: torch.Tensor | None, before: torch.Tensor, memory: torch.Tensor, flow: Flow
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """(B, T, D) -> (B, T, D); and what was shared, the last token (B, D), the memory (B, 2, D)."""
        shifted, last = flow.shift(x, before)
        mixes = (self.time_mix_k, self.time_mix_v, self.time_mix_r)
        xk, xv, xr = (torch.lerp(shifted, x, mix.to(x.dtype)) for mix in mixes)
        k, v, r = self.key(xk), self.value(xv), self.receptance(xr)
        inputs = Inputs(k, v, -self.time_decay.float().exp(), self.time_first)
        found, memory = run_decayed_average(inputs, memory, flow.starts, flow.counts, flow.kernel)
        mixed: torch.Tensor = self.output((torch.sigmoid(r) * found).to(x.dtype))
        return mixed, shared, last, memory


class Rwkv4(Rwkv):
    """RWKV-4: what transformers calls RWKV. A channel is a head of its own."""

    generation = "rwkv4"

    def _make_block(self, spec: ModelSpec, layer: int) -> Block:
        return Block(spec, layer, _TimeMix(spec), ChannelMix(spec))

    def _init_block(self, block: Block, generator: torch.Generator) -> None:
        """Draw the official first weights of a layer."""
        spec, att, ffn = self.spec, block.att, block.ffn
        assert isinstance(att, _TimeMix)
        assert isinstance(ffn, ChannelMix)
        width = spec.n_embd
        depth, _ = layer_ratios(spec, block.layer)
        values = first_mixes(spec, block.layer)
        decay = -5 + 8 * whole_ramp(width) ** (0.7 + 1.3 * depth)
        bonus = _WEIGHT_OF_ITSELF + 0.5 * zigzag(width)
        set_vectors(att, {f"time_mix_{name}": values[name] for name in _MIXES} | {"time_decay": decay, "time_first": bonus})
        set_vectors(ffn, {"time_mix_k": values["k"], "time_mix_r": values["k"]})
        with torch.no_grad():
            for matrix in (att.key, att.receptance, att.output, ffn.receptance, ffn.value):
                matrix.weight.zero_()
        draw_orthogonal(att.value.weight, 1.0, generator)
        draw_orthogonal(ffn.key.weight, max(1.0, spec.ffn_width / width) ** 0.5, generator)

    def learning_rate_scale(self, name: str) -> float:
        """Decays learn twice as fast, and what a token weighs in its own output three times."""
        return 2.0 if name.endswith("time_decay") else 3.0 if name.endswith("time_first") else 1.0

    def to_hugging_face(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """For `RwkvForCausalLM`, without its halving of the residual stream every few layers, which is for float16."""
        spec = self.spec
        config = {
            "architectures": ["RwkvForCausalLM"],
            "model_type": "rwkv",
            "num_hidden_layers": spec.n_layer,
            "hidden_size": spec.n_embd,
            "attention_hidden_size": spec.n_embd,
            "intermediate_size": spec.ffn_width,
            "vocab_size": spec.vocab_size,
            "context_length": spec.context_tokens,
            "layer_norm_epsilon": 1e-5,
            "rescale_every": 0,
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
        }
        return config, {_to_their_name(name): tensor for name, tensor in self.state_dict().items()}

    def load_hugging_face(self, weights: Mapping[str, torch.Tensor]) -> None:
        """From `RwkvForCausalLM`."""
        self.load_state_dict({name: weights[_to_their_name(name)] for name in self.state_dict()})

    @classmethod
    def spec_from_hugging_face(cls, config: Mapping[str, Any]) -> ModelSpec:
        """The spec that a `config.json` of transformers describes."""
        width = config["hidden_size"]
        return cls._make_spec(
            n_layer=config["num_hidden_layers"],
            head_width=1,
            n_embd=width,
            ffn_width=as_plain(config, "intermediate_size", 4 * width),
            vocab_size=config["vocab_size"],
            context_tokens=as_plain(config, "context_length", 1024),
        )

    @classmethod
    def _find_head_width(cls, weights: Mapping[str, torch.Tensor]) -> int:
        return 1


_PLACES = {"emb": "embeddings", "att": "attention", "ffn": "feed_forward", "ln0": "pre_ln"}
_PARTS = {"time_mix_k": "time_mix_key", "time_mix_v": "time_mix_value", "time_mix_r": "time_mix_receptance"}


def _to_their_name(name: str) -> str:
    """A name in transformers' layout."""
    if name == "head.weight":
        return name
    return ".".join(["rwkv", *(_PLACES.get(part) or _PARTS.get(part) or part for part in name.split("."))])
