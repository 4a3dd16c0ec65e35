"""What a large model will say, guessed by a copy of itself whose matrices have 8 bits, a quarter of the memory to read.

On a CPU a token of a large model costs the reading of its weights. A few tokens are guessed with the copy, and the model reads all of
them in one step, which costs little more than one token: speculative decoding (Leviathan et al. 2023) without a second model to train.
The copy shares the model's memory of keys and values; what it writes there is written over when the guesses are checked.
Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from whelp.model.cpu_decode_step import AnyProduct, Step, make_product, make_step
from whelp.model.cpu_few_rows import LEAST_NUMBERS, MOST_COPIED
from whelp.model.huge_pages import move_to_huge_pages
from whelp.model.key_value_cache import Cache
from whelp.model.language_model import LanguageModel
from whelp.model.screened_head import can_multiply_bytes

LEAST_DRAFTED = 1 << 25  # numbers of a model: smaller ones are read from the processor's own memory, and soon
_OPERATIONS = torch.ops.onednn
_CAN_ROUND = torch.backends.mkldnn.is_available() and all(
    hasattr(_OPERATIONS, name) for name in ("qlinear_prepack", "qlinear_pointwise")
)
# The largest number that a weight becomes. Without instructions for products of bytes, two of them are added up in 16 bits: with 63
# the sum fits (2 x 255 x 63), with 127 it would be cut off.
_LARGEST, _LARGEST_ADDED = 127.0, 63.0
LEAST_ROUNDED = LEAST_NUMBERS  # of a matrix: calling the rounded product costs more than reading a small one
_LEAST_ROWS = (
    4  # for one, and some sizes, oneDNN has nothing but a loop that takes a hundred times as long; two take longer than four
)
Choose = Callable[[torch.Tensor, int], torch.Tensor]
"""Logits (B, V) and the number of the guess, from 0 on; the chosen ids (B,)."""


def is_worth_drafting(model: LanguageModel) -> bool:
    """Whether a model is so large that reading its weights is what a token costs; it says nothing of the processor."""
    return model.num_parameters() >= LEAST_DRAFTED


class Drafter:
    """Guesses the next tokens of the first slots of a cache. The copy is made when it is first asked for."""

    def __init__(self, model: LanguageModel, cache: Cache) -> None:
        self._model, self._cache = model, cache
        self._parts: tuple[Step, AnyProduct] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the copy is there."""
        return self._parts is not None

    def guess(self, ids: list[int], num_tokens: int, choose: Choose) -> list[list[int]]:
        """So many tokens after the last one (which is not read yet) of each of the first B slots."""
        if self._parts is None:
            step = make_step(self._model, self._make_product)
            assert step is not None, "a model that is drafted has a step of its own"
            self._parts = step, self._make_product(self._model.head_weight.detach(), None)
        step, head = self._parts
        starts = self._cache.lengths[: len(ids)]
        tokens, columns = torch.tensor(ids), []
        for place in range(num_tokens):
            tokens = choose(head(step(tokens.unsqueeze(1), self._cache)), place)
            columns.append(tokens)
        self._cache.lengths[: len(ids)] = starts
        guesses: list[list[int]] = torch.stack(columns, dim=1).tolist()
        return guesses

    def _make_product(self, weight: torch.Tensor, bias: torch.Tensor | None) -> AnyProduct:
        if weight.numel() < LEAST_ROUNDED:
            return make_product(self._model, weight, bias)
        return EightBitProduct(weight, bias)


def make_drafter(model: LanguageModel, cache: Any) -> Drafter | None:
    """The drafter of a model, or None where it cannot save time: a small model, too little memory, another processor or type."""
    weight = model.head_weight
    is_plain = weight.device.type == "cpu" and weight.dtype == torch.float32 and isinstance(cache, Cache)
    if not is_plain or not is_worth_drafting(model) or model.num_parameters() > MOST_COPIED or model.reads_rounded:
        return None
    return Drafter(model, cache) if _CAN_ROUND else None


class EightBitProduct:
    """Multiplies with a weight (O, I) rounded to 8 bits, one scale for each output; adds a bias (O,). Inputs are rounded, too."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        largest = _LARGEST if can_multiply_bytes() else _LARGEST_ADDED
        self._scales = weight.abs().amax(dim=1).clamp_(min=1e-12).div_(largest)  # (O,)
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._packed = _OPERATIONS.qlinear_prepack((weight / self._scales.unsqueeze(1)).round_().to(torch.int8), None)
        move_to_huge_pages([self._packed])
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(N, I) -> (N, O), about."""
        scale = max(x.abs().max().item() / 127.0, 1e-12)
        rounded = (x * (1.0 / scale)).round_().to(torch.int8)
        if len(x) < _LEAST_ROWS:
            rounded = rounded.repeat(-(-_LEAST_ROWS // len(x)), 1)
        weight = self._packed, self._scales, self._zeros, self._bias
        product: torch.Tensor = _OPERATIONS.qlinear_pointwise(rounded, scale, 0, *weight, 1.0, 0, torch.float32, "none", [], "")
        return product[: len(x)]

    def add_to(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The product with `factor` (N, I), added to `x` (N, O)."""
        return self(factor).add_(x)
