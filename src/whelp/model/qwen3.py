"""The modern decoder, in the stock form that every tool opens as Qwen3: no biases anywhere.

RMSNorm (Zhang & Sennrich 2019) before each half of a block, rotary positions (Su et al. 2021), RMSNorm of queries and
keys (Dehghani et al. 2023), grouped-query attention (Ainslie et al. 2023), SwiGLU (Shazeer 2020); put together as in the
Qwen3 technical report (2025). Initialisation: normal, deviation 1/sqrt(width) for matrices and 0.02 for the embedding and
the head; projections back into the residual stream start small (0.02 / sqrt(2 x layers)): a block begins near the identity.
Shapes: B rows, T tokens, D width, H heads, G key/value heads, K head width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from whelp.model.config import ModelSpec
from whelp.model.decoding.key_value_cache import Cache, Positions
from whelp.model.language_model import LanguageModel, init_normal, narrow
from whelp.model.layers.attention import causal_attention
from whelp.model.layers.document_boundaries import Boundaries, find_boundaries
from whelp.model.layers.rms_norm import RMSNorm, rms_norm
from whelp.model.layers.rotary import Rotation, make_rotation, rotate
from whelp.model.layers.swiglu import swiglu


class _Block(nn.Module):
    def __init__(self, spec: ModelSpec, layer: int) -> None:
        super().__init__()
        self.layer, self.head_width = layer, spec.head_width
        self.num_heads, self.num_kv_heads = spec.n_head, spec.n_kv_head
        attention_width = spec.n_head * spec.head_width
        self.norm_1 = RMSNorm(spec.n_embd, spec.norm_eps)
        self.query_key_value = nn.Linear(spec.n_embd, (spec.n_head + 2 * spec.n_kv_head) * spec.head_width, bias=False)
        self.query_norm = RMSNorm(spec.head_width, spec.norm_eps)
        self.key_norm = RMSNorm(spec.head_width, spec.norm_eps)
        self.project = nn.Linear(attention_width, spec.n_embd, bias=False)
        self.norm_2 = RMSNorm(spec.n_embd, spec.norm_eps)
        self.gate_up = nn.Linear(spec.n_embd, 2 * spec.ffn_width, bias=False)
        self.down = nn.Linear(spec.ffn_width, spec.n_embd, bias=False)

    def forward(self, x: torch.Tensor, rotation: Rotation, cache: Cache | None, boundaries: Boundaries | None) -> torch.Tensor:
        num_rows, num_tokens, _ = x.shape
        heads = self.query_key_value(self.norm_1(x)).view(num_rows, num_tokens, -1, self.head_width)  # (B, T, H + 2G, K)
        both, values = heads.split((self.num_heads + self.num_kv_heads, self.num_kv_heads), dim=2)
        weights = (self.query_norm.weight.expand(self.num_heads, -1), self.key_norm.weight.expand(self.num_kv_heads, -1))
        both = rotate(rms_norm(both, torch.cat(weights), self.query_norm.eps), rotation)  # (B, T, H + G, K)
        queries, keys = both.transpose(1, 2).split((self.num_heads, self.num_kv_heads), dim=1)  # (B, H, T, K), (B, G, T, K)
        values = values.transpose(1, 2)  # (B, G, T, K)
        mixed = causal_attention(
            queries, keys, values, layer=self.layer if cache is not None else 0, cache=cache, boundaries=boundaries
        )
        x = x + self.project(mixed.transpose(1, 2).reshape(num_rows, num_tokens, -1))  # (B, T, D)
        contribution: torch.Tensor = self.down(swiglu(self.gate_up(self.norm_2(x))))
        return x + contribution


class Qwen3(LanguageModel):
    """The modern decoder; positions are rotations, so `spec.context_tokens` is what it is trained on, not a table."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.embed = nn.Embedding(spec.vocab_size, spec.n_embd)
        self.blocks = nn.ModuleList(_Block(spec, layer) for layer in range(spec.n_layer))
        self.norm = RMSNorm(spec.n_embd, spec.norm_eps)
        self.head = None if spec.tie_embeddings else nn.Linear(spec.n_embd, spec.vocab_size, bias=False)
        self._angles: torch.Tensor | None = None

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw new weights (see the top of this file)."""
        init_normal(self.embed, 0.02, generator)
        for block in self.blocks:
            for matrix in (block.query_key_value, block.gate_up):
                init_normal(matrix, 1 / math.sqrt(self.spec.n_embd), generator)
            for matrix in (block.project, block.down):
                init_normal(matrix, 0.02 / math.sqrt(2 * self.spec.n_layer), generator)
        if self.head is not None:
            init_normal(self.head, 0.02, generator)

    @property
    def head_weight(self) -> torch.Tensor:
        return self.embed.weight if self.head is None else self.head.weight

    def rotation(self, positions: Positions, num_positions: int, device: torch.device) -> Rotation:
        """Cosine and sine at positions below `num_positions`, each (T, 1, K/2) or (B, T, 1, K/2), float32."""
        if self._angles is None or self._angles.shape[1] < num_positions or self._angles.device != device:
            num_positions = max(self.spec.context_tokens, num_positions)
            with torch.inference_mode(False):  # kept for later: training cannot use what generating made
                self._angles = make_rotation(num_positions, self.spec.head_width, self.spec.rope_base, device)
        cosine, sine = self._angles[:, positions]
        return cosine, sine

    def hidden(self, ids: torch.Tensor, cache: Cache | None = None, documents: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T) -> (B, T, D); positions go on from what the cache holds, and begin anew in every document."""
        num_tokens = ids.shape[1]
        positions = slice(0, num_tokens) if cache is None else cache.begin(ids)
        rotation = self.rotation(positions, num_tokens if cache is None else cache.capacity, ids.device)
        boundaries = find_boundaries(
            documents, head_width=self.spec.head_width, are_blocks_compiled=self.are_blocks_compiled and self.training
        )
        if boundaries is not None:
            cosine, sine = rotation
            rotation = cosine[boundaries.positions], sine[boundaries.positions]  # (B, T, 1, K/2)
        x = narrow(self.embed(ids))  # (B, T, D)
        for block in self.blocks:
            x = self.apply_block(block, x, rotation, cache, boundaries)
        if cache is not None:
            cache.end()
        normed: torch.Tensor = self.norm(x)
        return normed

    def split_matrix(self, name: str, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Queries, keys and values, and gate and up, are matrices of their own."""
        if name.endswith("query_key_value.weight"):
            return list(tensor.split(self._attention_sizes()))
        return list(tensor.chunk(2)) if name.endswith("gate_up.weight") else [tensor]

    def _attention_sizes(self) -> tuple[int, int, int]:
        key_size = self.spec.n_kv_head * self.spec.head_width
        return self.spec.n_head * self.spec.head_width, key_size, key_size

    def to_hugging_face(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """For `transformers.Qwen3ForCausalLM`."""
        spec = self.spec
        config = {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "hidden_act": "silu",
            "num_hidden_layers": spec.n_layer,
            "num_attention_heads": spec.n_head,
            "num_key_value_heads": spec.n_kv_head,
            "head_dim": spec.head_width,
            "hidden_size": spec.n_embd,
            "intermediate_size": spec.ffn_width,
            "vocab_size": spec.vocab_size,
            "max_position_embeddings": spec.context_tokens,
            "rms_norm_eps": spec.norm_eps,
            "rope_theta": spec.rope_base,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "use_sliding_window": False,
            "tie_word_embeddings": spec.tie_embeddings,
            "torch_dtype": "float32",
        }
        state = self.state_dict()
        weights = {"model.embed_tokens.weight": state["embed.weight"], "model.norm.weight": state["norm.weight"]}
        for layer in range(spec.n_layer):
            ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
            for name, part in zip("qkv", state[f"{ours}.query_key_value.weight"].split(self._attention_sizes()), strict=True):
                weights[f"{theirs}.self_attn.{name}_proj.weight"] = part
            gate, up = state[f"{ours}.gate_up.weight"].chunk(2)
            weights |= {f"{theirs}.mlp.gate_proj.weight": gate, f"{theirs}.mlp.up_proj.weight": up}
            weights |= {f"{theirs}.{name}": state[f"{ours}.{mine}"] for mine, name in _BLOCK_NAMES.items()}
        if self.head is not None:
            weights["lm_head.weight"] = state["head.weight"]
        return config, {name: tensor.contiguous() for name, tensor in weights.items()}

    def load_hugging_face(self, weights: Mapping[str, torch.Tensor]) -> None:
        """From `transformers.Qwen3ForCausalLM`."""
        state = {"embed.weight": weights["model.embed_tokens.weight"], "norm.weight": weights["model.norm.weight"]}
        for layer in range(self.spec.n_layer):
            ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
            state[f"{ours}.query_key_value.weight"] = torch.cat(
                [weights[f"{theirs}.self_attn.{name}_proj.weight"] for name in "qkv"]
            )
            state[f"{ours}.gate_up.weight"] = torch.cat(
                [weights[f"{theirs}.mlp.{name}_proj.weight"] for name in ("gate", "up")]
            )
            state |= {f"{ours}.{mine}": weights[f"{theirs}.{name}"] for mine, name in _BLOCK_NAMES.items()}
        if self.head is not None:
            state["head.weight"] = weights["lm_head.weight"]
        self.load_state_dict(state)

    @staticmethod
    def spec_from_hugging_face(config: Mapping[str, Any]) -> ModelSpec:
        """The spec that a Qwen3 `config.json` describes."""
        rope = config.get("rope_parameters") or {}  # transformers 5 keeps the base there
        return ModelSpec(
            family="qwen3",
            n_layer=config["num_hidden_layers"],
            n_head=config["num_attention_heads"],
            n_kv_head=config["num_key_value_heads"],
            head_width=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
            n_embd=config["hidden_size"],
            ffn_width=config["intermediate_size"],
            vocab_size=config["vocab_size"],
            context_tokens=config["max_position_embeddings"],
            rope_base=config.get("rope_theta") or rope.get("rope_theta", 10_000.0),
            norm_eps=config.get("rms_norm_eps", 1e-6),
            tie_embeddings=config.get("tie_word_embeddings", False),
        )


_BLOCK_NAMES = {
    "norm_1.weight": "input_layernorm.weight",
    "query_norm.weight": "self_attn.q_norm.weight",
    "key_norm.weight": "self_attn.k_norm.weight",
    "project.weight": "self_attn.o_proj.weight",
    "norm_2.weight": "post_attention_layernorm.weight",
    "down.weight": "mlp.down_proj.weight",
}
