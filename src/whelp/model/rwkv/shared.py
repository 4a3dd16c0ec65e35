"""What the RWKV families share: layers that read a row from left to right and hand on a state.

The modules and parameters have the names and shapes of the official files (BlinkDL/RWKV-LM), so that a state dict *is* the
official layout. A recurrent model has no positions and no longest text: `spec.context_tokens` is what it is trained on at a
time, and a state carries on what was before.
Shapes: B rows, T tokens, D width, L layers, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from whelp.artifacts.document_starts import find_starts
from whelp.model.config import ModelSpec
from whelp.model.language_model import LanguageModel, narrow
from whelp.model.rwkv.kernels import choose_kernel
from whelp.model.rwkv.recurrent_state import RecurrentState, StateCache, make_state, memory_shape

_PIECE_TOKENS = 2048  # of rows that are only looked at
UNBOUNDED_TOKENS = (1 << 31) - 1  # "no limit", where a number is asked for


class Flow:
    """How the tokens of a reading hang together: where documents begin, and which tokens are but padding."""

    def __init__(self, starts: torch.Tensor | None, counts: torch.Tensor | None, kernel: str | None = None) -> None:
        """
        Args:
            starts: (B, T) bool, where a document begins that must not know what was before.
            counts: (B, T) bool, false at padding behind the tokens of a row; None: there is none.
            kernel: What runs the memories; None: PyTorch.
        """
        self.starts, self.counts, self.kernel = starts, counts, kernel
        self.last = None if counts is None else counts.sum(dim=1) - 1  # (B,)

    def shift(self, x: torch.Tensor, before: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The token before each one, given the one before the row (B, D): (B, T, D), and the last token (B, D)."""
        shifted = torch.cat((before.to(x.dtype).unsqueeze(1), x[:, :-1]), dim=1)
        if self.starts is not None:
            shifted = shifted.masked_fill(self.starts.unsqueeze(-1), 0.0)
        if self.last is None:
            return shifted, x[:, -1]
        return shifted, x[torch.arange(len(x), device=x.device), self.last]


class Block(nn.Module):
    """A layer: time mixing, then channel mixing, each behind a norm and added to what came in."""

    def __init__(self, spec: ModelSpec, layer: int, att: nn.Module, ffn: nn.Module) -> None:
        """
        Args:
            att: From x (B, T, D), what the first layer handed on, the token before (B, D), the memory (B, *M) and the flow
                to (B, T, D), what is handed on, the last token and the memory.
            ffn: From x, the token before and the flow to (B, T, D) and the last token.
        """
        super().__init__()
        if layer == 0:
            self.ln0 = nn.LayerNorm(spec.n_embd)
        self.layer, self.is_first = layer, layer == 0  # of the number alone the compiler would make a graph for each value
        self.ln1, self.ln2 = nn.LayerNorm(spec.n_embd), nn.LayerNorm(spec.n_embd)
        self.att, self.ffn = att, ffn

    def forward(
        self,
        x: torch.Tensor,
        shared: torch.Tensor | None,
        time_shift: torch.Tensor,
        channel_shift: torch.Tensor,
        memory: torch.Tensor,
        flow: Flow,
    ) -> tuple[torch.Tensor | None, ...]:
        if self.is_first:
            x = self.ln0(x).to(x.dtype)
        mixed, shared, time_shift, memory = self.att(self.ln1(x).to(x.dtype), shared, time_shift, memory, flow)
        x = x + mixed
        mixed, channel_shift = self.ffn(self.ln2(x).to(x.dtype), channel_shift, flow)
        return x + mixed, shared, time_shift, channel_shift, memory


class Rwkv(LanguageModel):
    """Base of the RWKV families."""

    is_recurrent = True
    generation: str  # the family's name

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.emb = nn.Embedding(spec.vocab_size, spec.n_embd)
        self.blocks = nn.ModuleList(self._make_block(spec, layer) for layer in range(spec.n_layer))
        self.ln_out = nn.LayerNorm(spec.n_embd)
        self.head = nn.Linear(spec.n_embd, spec.vocab_size, bias=False)
        self.start_state: RecurrentState | None = None  # of texts that are generated; None: nothing was read before

    def _make_block(self, spec: ModelSpec, layer: int) -> Block:
        raise AssertionError(f"{type(self).__name__} has no blocks")

    def _init_block(self, block: Block, generator: torch.Generator) -> None:
        raise AssertionError(f"{type(self).__name__} has no first weights")

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw the official first weights (see the top of the family's file)."""
        init_embedding_and_head(self, generator)
        for block in self.blocks:
            assert isinstance(block, Block)
            self._init_block(block, generator)

    @property
    def head_weight(self) -> torch.Tensor:
        return self.head.weight

    @property
    def context_tokens(self) -> int:
        """A text may grow without an end."""
        return UNBOUNDED_TOKENS

    def read(
        self,
        ids: torch.Tensor,
        state: RecurrentState | None = None,
        starts: torch.Tensor | None = None,
        counts: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, RecurrentState]:
        """Read (B, T) ids on from a state: the normalised last hidden states (B, T, D), and the state after the last token.

        Args:
            state: Of what was read before; None: nothing. Gradients flow into it.
            starts: (B, T) bool, true where a document begins; what was before is forgotten there.
            counts: (B, T) bool, false at padding behind the tokens of a row, which leaves the state as it is.
        """
        if state is None:
            state = make_state(self.spec, len(ids), ids.device, self.head_weight.dtype)
        x, spec = narrow(self.emb(ids)), self.spec  # (B, T, D)
        kernel = choose_kernel(spec.family, x, spec.n_head, spec.head_width, has_documents=starts is not None)
        flow = Flow(starts, counts, kernel)
        shared: torch.Tensor | None = None  # what the first layer hands to the others
        after: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        shifts = (
            shift.to(x.dtype).unbind(0) for shift in (state.time_shift, state.channel_shift)
        )  # one type: one compiled graph
        layers = zip(*shifts, state.memory.unbind(0), strict=True)
        for block, (time_shift, channel_shift, memory) in zip(self.blocks, layers, strict=True):
            x, shared, *parts = self.apply_block(block, x, shared, time_shift, channel_shift, memory, flow)
            after.append((parts[0], parts[1], parts[2]))
        time_shifts, channel_shifts, memories = (torch.stack(parts) for parts in zip(*after, strict=True))
        normed: torch.Tensor = self.ln_out(x)
        return normed, RecurrentState(time_shifts, channel_shifts, memories)

    def hidden(self, ids: torch.Tensor, cache: Any = None, documents: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T) -> (B, T, D); a cache goes on from the texts in its slots, and documents know nothing of each other."""
        if cache is None:
            return self.read(ids, None, None if documents is None else find_starts(documents))[0]
        assert isinstance(cache, StateCache), "a recurrent model keeps states, not keys and values"
        state, counts = cache.begin(ids)
        hidden, state = self.read(ids, state, None, counts)
        cache.end(state)
        return hidden

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor:
        """As for every model; without gradients a long row is read in pieces, so memory does not grow with its length."""
        if torch.is_grad_enabled() or ids.shape[1] <= _PIECE_TOKENS:
            return super().loss(ids, targets, documents)
        starts, state = None if documents is None else find_starts(documents), None
        total = torch.zeros((), device=ids.device)
        for begin in range(0, ids.shape[1], _PIECE_TOKENS):
            part = slice(begin, begin + _PIECE_TOKENS)
            hidden, state = self.read(ids[:, part], state, None if starts is None else starts[:, part])
            total += self._sum_loss(hidden.flatten(0, 1), targets[:, part])
        return total

    def loss_and_state(
        self, ids: torch.Tensor, targets: torch.Tensor, state: RecurrentState | None, starts: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, RecurrentState]:
        """Cross-entropy in nats, summed over targets that are not `IGNORED`, and the state to go on from."""
        hidden, state = self.read(ids, state, starts)
        return self._sum_loss(hidden.flatten(0, 1), targets), state

    def compiler_options(self) -> dict[str, Any]:
        """No sums in two directions at once: releases 2.10 and 2.11 give vectors of shape (1, 1, D) gradients of shape (D,)."""
        name = "triton.mix_order_reduction"  # pytorch/pytorch#178080; other gradients are silently wrong by it (#193061)
        return {name: False} if name in torch._inductor.list_options() else {}

    def make_cache(self, num_slots: int, capacity: int) -> StateCache:
        """States of texts; as small for long texts as for short ones."""
        weight = self.head_weight
        return StateCache(self.spec, num_slots, weight.device, weight.dtype, self.start_state)

    def cache_bytes(self, num_slots: int, capacity: int) -> int:
        """Memory that `make_decoder` takes: two states for each slot."""
        spec = self.spec
        of_layer = 2 * self.head_weight.element_size() * spec.n_embd + 4 * math.prod(memory_shape(spec))
        return int(2 * spec.n_layer * num_slots * of_layer)

    def decays(self, name: str, parameter: torch.Tensor) -> bool:
        """Weight decay is for matrices called `*.weight`: not for vectors, whatever their shape, nor for thin matrices."""
        return parameter.ndim == 2 and name.endswith(".weight")

    def is_block_matrix(self, name: str) -> bool:
        """Whether a matrix is one of the large ones of the blocks, rather than two thin ones in place of one, or vectors."""
        return name.startswith("blocks.") and name.endswith(".weight")

    def to_official(self) -> dict[str, torch.Tensor]:
        """Weights under the names of the official files."""
        return dict(self.state_dict())

    def load_official(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Copy weights under the names of the official files into this model."""
        self.load_state_dict({name: _fit(tensor, self, name) for name, tensor in weights.items()})

    @classmethod
    def spec_from_official(cls, weights: Mapping[str, torch.Tensor], context_tokens: int) -> ModelSpec:
        """The spec that official weights have, from their shapes."""
        vocab_size, width = weights["emb.weight"].shape
        return cls._make_spec(
            n_layer=len({name.split(".")[1] for name in weights if name.startswith("blocks.")}),
            head_width=cls._find_head_width(weights),
            n_embd=width,
            ffn_width=weights["blocks.0.ffn.key.weight"].shape[0],
            vocab_size=vocab_size,
            context_tokens=context_tokens,
            low_ranks=cls._find_low_ranks(weights),
        )

    @classmethod
    def _find_head_width(cls, weights: Mapping[str, torch.Tensor]) -> int:
        raise AssertionError(f"{cls.__name__} has no heads")

    @classmethod
    def _find_low_ranks(cls, weights: Mapping[str, torch.Tensor]) -> tuple[int, ...] | None:
        """The widths of thin matrices, from official weights; None: there are none."""
        return None

    @classmethod
    def _default_low_ranks(cls, width: int) -> tuple[int, ...] | None:
        """The official ones of a model of this width."""
        return None

    @classmethod
    def _make_spec(
        cls,
        *,
        n_layer: int,
        head_width: int,
        n_embd: int,
        ffn_width: int,
        vocab_size: int,
        context_tokens: int,
        low_ranks: tuple[int, ...] | None = None,
    ) -> ModelSpec:
        """The spec of this generation."""
        return ModelSpec(
            family=cls.generation,
            n_layer=n_layer,
            n_head=n_embd // head_width,
            n_kv_head=n_embd // head_width,
            head_width=head_width,
            n_embd=n_embd,
            ffn_width=ffn_width,
            vocab_size=vocab_size,
            context_tokens=context_tokens,
            norm_eps=1e-5,
            tie_embeddings=False,
            low_ranks=None if low_ranks == cls._default_low_ranks(n_embd) else low_ranks,
        )


def _fit(tensor: torch.Tensor, model: nn.Module, name: str) -> torch.Tensor:
    """Official files have vectors as (1, 1, D) or as (D,)."""
    own = dict(model.named_parameters()).get(name)
    return tensor.view(own.shape) if own is not None and tensor.numel() == own.numel() else tensor


def count_low_rank(width: int, factor: float) -> int:
    """The official width of two thin matrices in place of a (D, D) one: a multiple of 32 near `factor` sqrt(D), at least 32."""
    return max(32, round(factor * math.sqrt(width) / 32) * 32)


def ramp(width: int) -> torch.Tensor:
    """0 to almost 1 over the channels."""
    return torch.arange(width) / width


def whole_ramp(width: int) -> torch.Tensor:
    """0 to 1 over the channels."""
    return torch.arange(width) / max(width - 1, 1)


def zigzag(width: int) -> torch.Tensor:
    """0, 1, -1, 0, 1, -1 ... over the channels."""
    return (torch.arange(width) + 1) % 3 - 1


def set_vectors(module: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    """Give parameters, by name, their first values (D,); they may be stored as (1, 1, D) or as (H, K)."""
    with torch.no_grad():
        for name, value in values.items():
            parameter = module.get_parameter(name)
            parameter.copy_(value.view(parameter.shape))


def layer_ratios(spec: ModelSpec, layer: int) -> tuple[float, float]:
    """How deep a layer is: 0 (first) to 1 (last), and 1 (first) to almost 0 (last)."""
    return layer / max(spec.n_layer - 1, 1), 1.0 - layer / spec.n_layer


def first_mixes(spec: ModelSpec, layer: int) -> dict[str, torch.Tensor]:
    """How much of the token itself goes into key, value, receptance and gate in generations 4 to 6: the official first values, (D,)."""
    depth, rest = layer_ratios(spec, layer)
    plain, half = ramp(spec.n_embd) ** rest, ramp(spec.n_embd) ** (0.5 * rest)
    return {"k": plain, "v": plain + 0.3 * depth, "r": half, "g": half}


def group_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Normalise every head of (B, T, H, K) by itself, then scale and move each channel: (B, T, D)."""
    return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:], eps=epsilon).flatten(2), weight)


def draw_orthogonal(weight: torch.Tensor, gain: float, generator: torch.Generator) -> None:
    """Draw a matrix with orthogonal rows or columns of length `gain`."""
    with torch.no_grad():
        nn.init.orthogonal_(weight, gain=gain, generator=generator)


def init_embedding_and_head(model: Rwkv, generator: torch.Generator) -> None:
    """The official first weights of the outer layers: an embedding near zero (a norm follows), an orthogonal head."""
    spec = model.spec
    with torch.no_grad():
        model.emb.weight.uniform_(-1e-4, 1e-4, generator=generator)
    draw_orthogonal(model.head.weight, 0.5 * max(1.0, spec.vocab_size / spec.n_embd) ** 0.5, generator)


def as_plain(config: Mapping[str, Any], name: str, default: Any) -> Any:
    """A value of a `config.json`, or its default where there is none, or null."""
    value = config.get(name)
    return default if value is None else value
