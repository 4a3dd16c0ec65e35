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

from whelp.model.cpu.decode_step import AnyProduct, Step, make_product, make_step
from whelp.model.cpu.eight_bits import LARGEST, EightBitMatrix, can_multiply_bytes, can_round, round_rows
from whelp.model.cpu.few_rows import LEAST_NUMBERS, MOST_COPIED
from whelp.model.decoding.key_value_cache import Cache
from whelp.model.language_model import LanguageModel

LEAST_DRAFTED = 1 << 25  # numbers of a model: smaller ones are read from the processor's own memory, and soon
# The largest number that a weight becomes without instructions for products of bytes: two of them are added up in 16 bits then, and
# with 63 the sum fits (2 x 255 x 63), with 127 it would be cut off.
_LARGEST_ADDED = 63.0
LEAST_ROUNDED = LEAST_NUMBERS  # of a matrix: calling the rounded product costs more than reading a small one
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
    return Drafter(model, cache) if can_round() else None


class EightBitProduct:
    """Multiplies with a weight (O, I) rounded to 8 bits, one scale for each output; adds a bias (O,). Inputs are rounded, too."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self._matrix = EightBitMatrix(*round_rows(weight, LARGEST if can_multiply_bytes() else _LARGEST_ADDED))
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(N, I) -> (N, O), about."""
        scale = max(x.abs().max().item() / LARGEST, 1e-12)
        return self._matrix.multiply((x * (1.0 / scale)).round_(), scale, self._bias)

    def add_to(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The product with `factor` (N, I), added to `x` (N, O)."""
        return self(factor).add_(x)
