"""GPT-2, exactly: learned positions, LayerNorm before each half of a block, tanh-GELU, biases, a shared head.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; initialisation as published there: normal
with deviation 0.02, projections back into the residual stream divided by sqrt(2 x layers).
Shapes: B rows, T tokens, D width, H heads, K head width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from whelp.artifacts.targets import IGNORED
from whelp.model.config import ModelSpec
from whelp.model.decoding.key_value_cache import Cache
from whelp.model.gpu import feed_forward as gpu_feed_forward
from whelp.model.gpu.triton_support import HAS_TRITON
from whelp.model.language_model import LanguageModel, init_normal, narrow
from whelp.model.layers.attention import causal_attention
from whelp.model.layers.document_boundaries import Boundaries, Spans, find_boundaries
from whelp.model.layers.gelu import gelu

if HAS_TRITON:
    from whelp.model.gpu import block as gpu_block
    from whelp.model.gpu import cross_entropy as gpu_cross_entropy
    from whelp.model.gpu import document_attention as gpu_document_attention
    from whelp.model.gpu import embedding as gpu_embedding

if TYPE_CHECKING:
    from whelp.model.gpu.embedding import SharedGradient

# Ours -> Hugging Face's, inside a block. Its Conv1D stores matrices as (in, out): transposed.
_BLOCK_NAMES = {
    "norm_1": "ln_1",
    "query_key_value": "attn.c_attn",
    "project": "attn.c_proj",
    "norm_2": "ln_2",
    "expand": "mlp.c_fc",
    "contract": "mlp.c_proj",
}
_TRANSPOSED = ("query_key_value", "project", "expand", "contract")
_trying = threading.Lock()


class _Block(nn.Module):
    def __init__(self, spec: ModelSpec, layer: int) -> None:
        super().__init__()
        self.layer, self.num_heads, self.head_width, self.dropout = layer, spec.n_head, spec.head_width, spec.dropout
        self.activate = gelu if spec.activation == "gelu_tanh" else F.gelu
        self.norm_1 = nn.LayerNorm(spec.n_embd, eps=spec.norm_eps, bias=spec.bias)
        self.query_key_value = nn.Linear(spec.n_embd, 3 * spec.n_embd, bias=spec.bias)
        self.project = nn.Linear(spec.n_embd, spec.n_embd, bias=spec.bias)
        self.norm_2 = nn.LayerNorm(spec.n_embd, eps=spec.norm_eps, bias=spec.bias)
        self.expand = nn.Linear(spec.n_embd, spec.ffn_width, bias=spec.bias)
        self.contract = nn.Linear(spec.ffn_width, spec.n_embd, bias=spec.bias)
        self.is_fused = self.fuses_gelu = self.uses_eight_bits = False

    def forward(self, x: torch.Tensor, cache: Cache | None, boundaries: Boundaries | None) -> torch.Tensor:
        spans = boundaries.mask if boundaries is not None and isinstance(boundaries.mask, Spans) else None
        if self.is_fused and self.training and (boundaries is None or spans is not None) and x.dtype == torch.bfloat16:
            return gpu_block.run_block(self, x, spans, eight_bits=self.uses_eight_bits)
        num_rows, num_tokens, width = x.shape
        dropout = self.dropout if self.training else 0.0
        heads = self.query_key_value(self.norm_1(x)).view(num_rows, num_tokens, 3, self.num_heads, self.head_width)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, K)
        mixed = causal_attention(
            queries,
            keys,
            values,
            layer=self.layer if cache is not None else 0,
            cache=cache,
            boundaries=boundaries,
            dropout=dropout,
        )  # (B, H, T, K)
        mixed = mixed.transpose(1, 2).reshape(num_rows, num_tokens, width)  # (B, T, D)
        x = x + self._drop(self.project(mixed))
        normed = self.norm_2(x)
        if self.fuses_gelu and self.training and x.dtype == torch.bfloat16:
            return gpu_feed_forward.gelu_feed_forward(normed, x, self.expand, self.contract)
        hidden = self.activate(self.expand(normed))  # (B, T, F)
        return x + self._drop(self.contract(hidden))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class GPT2(LanguageModel):
    """GPT-2; `spec.context_tokens` is the number of learned positions."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.embed = nn.Embedding(spec.vocab_size, spec.n_embd)
        self.positions = nn.Embedding(spec.context_tokens, spec.n_embd)
        self.blocks = nn.ModuleList(_Block(spec, layer) for layer in range(spec.n_layer))
        self.norm = nn.LayerNorm(spec.n_embd, eps=spec.norm_eps, bias=spec.bias)
        self.fuses_embedding = False
        self.head = None if spec.tie_embeddings else nn.Linear(spec.n_embd, spec.vocab_size, bias=False)

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw new weights (see the top of this file)."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                init_normal(module, 0.02, generator)
        for block in self.blocks:
            for projection in (block.project, block.contract):
                init_normal(projection, 0.02 / math.sqrt(2 * self.spec.n_layer), generator)

    @property
    def head_weight(self) -> torch.Tensor:
        return self.embed.weight if self.head is None else self.head.weight

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor:
        """As any family's; on a GPU, embedding and head of a training pass put their gradients where they are wanted."""
        if not (self.fuses_embedding and self.training and _is_narrow(ids.device.type)):
            return super().loss(ids, targets, documents)
        shared = gpu_embedding.SharedGradient()
        hidden = self.hidden(ids, None, documents, shared)
        return gpu_cross_entropy.linear_cross_entropy(
            hidden.flatten(0, 1), self.head_weight, targets.flatten(), IGNORED, shared, eight_bits=self.uses_eight_bits
        )

    def hidden(
        self,
        ids: torch.Tensor,
        cache: Cache | None = None,
        documents: torch.Tensor | None = None,
        shared: SharedGradient | None = None,
    ) -> torch.Tensor:
        """(B, T) -> (B, T, D); positions go on from what the cache holds, and begin anew in every document.

        Args:
            shared: Of a training pass with `fuses_embedding`, where the head says where its gradient lies.
        """
        positions = slice(0, ids.shape[1]) if cache is None else cache.begin(ids)
        if isinstance(positions, slice):
            assert positions.stop <= self.spec.context_tokens, f"{positions.stop} tokens, {self.spec.context_tokens} positions"
        reads_spans = documents is not None and self._reads_spans(ids)
        boundaries = find_boundaries(
            documents,
            head_width=self.spec.head_width,
            dropout=self.spec.dropout if self.training else 0.0,
            are_blocks_compiled=self.are_blocks_compiled and self.training,
            as_spans=reads_spans,
        )
        if boundaries is not None and not reads_spans and self.training and any(block.is_fused for block in self.blocks):
            self._compile_blocks()
        if shared is not None:
            given = None if boundaries is None else boundaries.positions
            tied = shared if self.head is None else None
            x = gpu_embedding.embed(ids, given, self.embed.weight, self.positions.weight, shared=tied)
        elif boundaries is None:
            x = self.embed(ids) + self.positions.weight[positions]  # (B, T, D)
        else:
            x = self.embed(ids) + self.positions(boundaries.positions)
        x = narrow(x)
        if self.spec.dropout:
            x = F.dropout(x, self.spec.dropout, self.training)
        for block in self.blocks:
            x = self.apply_block(block, x, cache, boundaries)
        if cache is not None:
            cache.end()
        if self.training and x.dtype == torch.bfloat16 and all(block.is_fused for block in self.blocks):
            return gpu_block.run_norm(self.norm, x)
        normed: torch.Tensor = self.norm(x)
        return normed

    def _reads_spans(self, ids: torch.Tensor) -> bool:
        """Whether the blocks of a training pass keep documents apart by kernels of our own."""
        is_fused = self.training and _is_narrow(ids.device.type) and all(block.is_fused for block in self.blocks)
        if not is_fused or ids.shape[1] % gpu_document_attention.MULTIPLE:
            return False
        return gpu_document_attention.has_working_kernels(ids.device, self.spec.n_head, self.spec.head_width)

    def compile_parts(self) -> None:
        """As any family's, with GELU inside the matrix products; without the compiler where kernels of our own do as well.

        Where those do not keep documents apart, the blocks are compiled when such rows come.
        """
        is_fused = has_working_block(self.spec, self.embed.weight.device)
        rounds = is_fused and self.uses_eight_bits and has_working_block(self.spec, self.embed.weight.device, eight_bits=True)
        for block in self.blocks:
            assert isinstance(block, _Block), type(block)
            block.is_fused, block.uses_eight_bits = is_fused, rounds
        self.reads_narrow_weights = is_fused
        self.fuses_embedding = is_fused and gpu_embedding.has_working_kernels(self.embed.weight.device, self.spec.n_embd)
        self.are_blocks_compiled = True
        if not is_fused:
            self._compile_blocks()

    def _compile_blocks(self) -> None:
        device = self.embed.weight.device
        fuses = device.type == "cuda" and _is_plain(self.spec) and gpu_feed_forward.agrees(device)
        for block in self.blocks:
            assert isinstance(block, _Block), type(block)
            block.is_fused, block.fuses_gelu = False, fuses
        self.reads_narrow_weights = self.fuses_embedding = False
        super().compile_parts()

    def split_matrix(self, name: str, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Queries, keys and values are matrices of their own."""
        return list(tensor.chunk(3)) if name.endswith("query_key_value.weight") else [tensor]

    def _names(self) -> dict[str, str]:
        names = {"embed.weight": "transformer.wte.weight", "positions.weight": "transformer.wpe.weight"}
        for layer in range(self.spec.n_layer):
            for ours, theirs in _BLOCK_NAMES.items():
                for kind in ("weight", "bias"):
                    names[f"blocks.{layer}.{ours}.{kind}"] = f"transformer.h.{layer}.{theirs}.{kind}"
        names |= {f"norm.{kind}": f"transformer.ln_f.{kind}" for kind in ("weight", "bias")}
        if self.head is not None:
            names["head.weight"] = "lm_head.weight"
        return names

    def to_hugging_face(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """For `transformers.GPT2LMHeadModel`."""
        spec = self.spec
        config = {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_new" if spec.activation == "gelu_tanh" else "gelu",
            "n_layer": spec.n_layer,
            "n_head": spec.n_head,
            "n_embd": spec.n_embd,
            "n_inner": spec.ffn_width,
            "n_positions": spec.context_tokens,
            "n_ctx": spec.context_tokens,
            "vocab_size": spec.vocab_size,
            "layer_norm_epsilon": spec.norm_eps,
            "attn_pdrop": spec.dropout,
            "embd_pdrop": spec.dropout,
            "resid_pdrop": spec.dropout,
            "initializer_range": 0.02,
            "tie_word_embeddings": spec.tie_embeddings,
            "torch_dtype": "float32",
        }
        state, names = self.state_dict(), self._names()
        if not spec.bias:
            state |= {name: _zero_bias(name, state) for name in names if name.endswith(".bias")}
        return config, {names[name]: _flip(name, tensor).contiguous() for name, tensor in state.items()}

    def load_hugging_face(self, weights: Mapping[str, torch.Tensor]) -> None:
        """From `transformers.GPT2LMHeadModel` (with or without the `transformer.` prefix)."""
        prefixed = {
            name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}": tensor
            for name, tensor in weights.items()
        }
        names = {ours: theirs for ours, theirs in self._names().items() if self.spec.bias or not ours.endswith(".bias")}
        self.load_state_dict({ours: _flip(ours, prefixed[theirs]) for ours, theirs in names.items()})

    @staticmethod
    def spec_from_hugging_face(config: Mapping[str, Any]) -> ModelSpec:
        """The spec that a GPT-2 `config.json` describes."""
        width = config.get("n_embd", 768)
        heads = config.get("n_head", 12)
        return ModelSpec(
            family="gpt2",
            n_layer=config.get("n_layer", 12),
            n_head=heads,
            n_kv_head=heads,
            head_width=width // heads,
            n_embd=width,
            ffn_width=config.get("n_inner") or 4 * width,
            vocab_size=config.get("vocab_size", 50257),
            context_tokens=config.get("n_positions", 1024),
            dropout=config.get("resid_pdrop", 0.1),
            norm_eps=config.get("layer_norm_epsilon", 1e-5),
            tie_embeddings=config.get("tie_word_embeddings", True),
            activation="gelu" if config.get("activation_function") == "gelu" else "gelu_tanh",
        )


def _is_narrow(kind: str) -> bool:
    """Whether products are in bf16 here."""
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16


def has_working_block(spec: ModelSpec, device: torch.device, *, eight_bits: bool = False) -> bool:
    """Whether blocks of this kind run as kernels of our own on this device; tried once, with `eight_bits` apart."""
    with _trying:  # in a thread of `warm_up`, perhaps
        return HAS_TRITON and device.type == "cuda" and _is_plain(spec) and _try_block(spec, device, eight_bits)


def _is_plain(spec: ModelSpec) -> bool:
    """Whether kernels of our own compute it."""
    return spec.activation == "gelu_tanh" and not spec.dropout and spec.n_embd % 8 == 0 and spec.ffn_width % 8 == 0


@functools.cache
def _try_block(spec: ModelSpec, device: torch.device, eight_bits: bool) -> bool:
    return gpu_block.agrees(_Block(spec, 0), device, eight_bits=eight_bits)


def _zero_bias(name: str, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A bias of zeros beside a weight: the format has no place for "none"."""
    weight = state[name.replace(".bias", ".weight")]
    return weight.new_zeros(weight.shape[0])


def _flip(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Transpose the matrices that Conv1D stores as (in, out)."""
    return tensor.t() if tensor.ndim == 2 and name.split(".")[-2] in _TRANSPOSED else tensor
