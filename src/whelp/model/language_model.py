"""What every family is: ids in, logits out, a loss, and a way to and from Hugging Face's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from whelp.artifacts.targets import IGNORED
from whelp.model.config import ModelSpec
from whelp.model.decoding.key_value_cache import Cache
from whelp.model.gpu.triton_support import HAS_TRITON
from whelp.model.layers.cross_entropy import linear_cross_entropy

if HAS_TRITON:
    from whelp.model.gpu import cross_entropy as gpu_cross_entropy
if TYPE_CHECKING:
    from whelp.model.decoding.decoder import Decoder
    from whelp.model.rwkv.recurrent_state import StateCache


class LanguageModel(nn.Module):
    """Base of all families.

    Shapes: B rows, T tokens in a row, D width, V vocabulary. A family implements `hidden`, `head_weight`, and the pair
    `to_hugging_face` / `from_hugging_face`.
    """

    blocks: nn.ModuleList
    reads_rounded = False  # whether generating may read large matrices as bf16 on a CPU; set before a decoder is made
    uses_eight_bits = False  # whether training may round factors of the backward pass to 8 bits; set while it trains
    is_recurrent = False  # whether it reads on from a state (`Rwkv`), rather than from the tokens themselves

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.checkpoints_activations = False
        self.reads_narrow_weights = (
            False  # whether training is faster with weights in bf16 beside them (`base/beside_parameter.py`)
        )
        self.are_blocks_compiled = False  # each by itself, for training: evaluation runs them as they are written

    def hidden(self, ids: torch.Tensor, cache: Any = None, documents: torch.Tensor | None = None) -> torch.Tensor:
        """The normalised last hidden states: (B, T) -> (B, T, D).

        Args:
            cache: What was read before (`make_cache`); `ids` are new tokens then.
            documents: (B, T) numbers of the documents in a row, equal within a document, which then do not see each
                other, each at positions from 0 on; None: a row is one document. Not together with a cache.
        """
        raise AssertionError(f"{type(self).__name__} has no hidden()")

    @property
    def head_weight(self) -> torch.Tensor:
        """The output head, (V, D)."""
        raise AssertionError(f"{type(self).__name__} has no head_weight")

    def checkpoint_activations(self) -> None:
        """From now on keep of each block only what goes into it while training: less memory, a third more time."""
        self.checkpoints_activations = True

    def apply_block(self, block: nn.Module, *arguments: object) -> Any:
        """A block's output; with `checkpoints_activations`, what it computes is computed again in the backward pass."""
        if self.checkpoints_activations and self.training and torch.is_grad_enabled():
            return checkpoint(block, *arguments, use_reentrant=False)
        return block(*arguments)

    def forward(self, ids: torch.Tensor, cache: Any = None, documents: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of the next token at every position: (B, T) -> (B, T, V). With a cache, `ids` are the new tokens."""
        return F.linear(self.hidden(ids, cache, documents), self.head_weight)

    @property
    def uses_randomness(self) -> bool:
        """Whether training draws random numbers (dropout)."""
        return self.spec.dropout > 0

    @property
    def context_tokens(self) -> int:
        """Tokens the model is trained to see at once."""
        return self.spec.context_tokens

    def make_cache(self, num_slots: int, capacity: int) -> Cache | StateCache:
        """What the model remembers of `num_slots` texts of `capacity` tokens, on its device."""
        weight = self.head_weight
        return Cache(self.spec, num_slots, capacity, weight.device, weight.dtype)

    def make_decoder(self, num_slots: int, capacity: int) -> Decoder:
        """The model with room for `capacity` tokens of `num_slots` texts, on its device."""
        from whelp.model.decoding.decoder import Decoder  # which knows the families

        return Decoder(self, num_slots, capacity)

    def cache_bytes(self, num_slots: int, capacity: int) -> int:
        """Memory that `make_decoder` takes."""
        spec = self.spec
        numbers = 2 * spec.n_layer * num_slots * capacity * spec.n_kv_head * spec.head_width
        return numbers * self.head_weight.element_size()

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor:
        """Cross-entropy in nats, summed over targets that are not `IGNORED`; a float32 scalar.

        Args:
            ids: (B, T) token ids.
            targets: (B, T) the ids to predict, already shifted; `IGNORED` where nothing is trained.
            documents: (B, T) numbers of the documents in a row, as `hidden` takes them.
        """
        return self._sum_loss(self.hidden(ids, None, documents).flatten(0, 1), targets)

    def _sum_loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss from the last hidden states, (B * T, D)."""
        if hidden.device.type == "cpu" and not torch.compiler.is_compiling():
            return linear_cross_entropy(hidden, self.head_weight, targets.flatten(), IGNORED)
        if HAS_TRITON and hidden.is_cuda and not torch.compiler.is_compiling():
            return gpu_cross_entropy.linear_cross_entropy(
                hidden, self.head_weight, targets.flatten(), IGNORED, eight_bits=self.uses_eight_bits
            )
        logits = F.linear(hidden, self.head_weight)  # (B * T, V)
        return F.cross_entropy(logits.float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")

    def compile_parts(self) -> None:
        """Compile the blocks and the head, each by itself: all blocks share one graph, so the first step comes soon."""
        for block in self.blocks:
            block.compile(dynamic=False, options=self.compiler_options() or None)
        self.are_blocks_compiled = True
        if not HAS_TRITON:
            self._sum_loss = torch.compile(self._sum_loss, dynamic=False)  # type: ignore[method-assign]  # the compiled one

    def compiler_options(self) -> dict[str, Any]:
        """Settings of the framework's compiler that the blocks need."""
        return {}

    def split_matrix(self, name: str, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Views of the matrices that a fused weight holds side by side; an optimizer may treat each by itself."""
        return [tensor]

    def is_block_matrix(self, name: str) -> bool:
        """Whether a matrix is in one of the blocks: neither an embedding nor the head."""
        return name.startswith("blocks.")

    def decays(self, name: str, parameter: torch.Tensor) -> bool:
        """Whether a parameter has weight decay."""
        return parameter.ndim >= 2

    def learning_rate_scale(self, name: str) -> float:
        """How many times as fast as the others a parameter learns."""
        return 1.0

    def num_parameters(self) -> int:
        """All trained numbers; a shared head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def to_hugging_face(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Contents of `config.json`, and the weights under Hugging Face's names."""
        raise AssertionError(f"{type(self).__name__} has no to_hugging_face()")

    def load_hugging_face(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Copy weights under Hugging Face's names into this model."""
        raise AssertionError(f"{type(self).__name__} has no load_hugging_face()")


def narrow(x: torch.Tensor) -> torch.Tensor:
    """The residual stream in the type of the matrix products: under autocast alone it would stay float32, twice the memory."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def init_normal(module: object, std: float, generator: torch.Generator) -> None:
    """Draw a module's weight from a normal distribution; its bias becomes zero."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    assert isinstance(weight, torch.Tensor), f"{module} has no weight"
    with torch.no_grad():
        weight.normal_(0.0, std, generator=generator)
        if bias is not None:
            bias.zero_()
