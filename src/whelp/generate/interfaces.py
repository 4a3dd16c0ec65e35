"""What a batch asks of a model. Shapes: N rows, T tokens of a row, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

Screen = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the lowest and the highest that logits can be, (N, V) each: which may be chosen."""
Prompt = str | Sequence[int] | npt.NDArray[np.integer]


class DrafterLike(Protocol):
    """Guesses what a model will say."""

    @property
    def is_ready(self) -> bool:
        """Whether the first guess needs no preparations."""
        ...

    def guess(self, ids: list[int], num_tokens: int, choose: Callable[[torch.Tensor, int], torch.Tensor]) -> list[list[int]]:
        """So many tokens after the last of each of the first N slots; `choose` takes logits (N, V) and the guess's number."""
        ...


class Snapshot(Protocol):
    """What a model remembers of the beginning of a text."""

    @property
    def first(self) -> int:
        """The place of the first token that is in it; what is remembered of those before is elsewhere."""
        ...

    @property
    def num_bytes(self) -> int: ...
    @property
    def can_be_cut(self) -> bool:
        """Whether the memory of fewer tokens is in it."""
        ...

    def detach(self) -> Snapshot:
        """A copy that stays what it is when the slot goes on."""
        ...


class DecoderLike(Protocol):
    """A model with room for several sequences of their own lengths, each in a slot."""

    @property
    def lengths(self) -> list[int]:
        """Tokens in each slot; one that is set to 0 is forgotten."""
        ...

    def step(self, ids: list[int] | torch.Tensor, screen: Screen | None = None) -> torch.Tensor:
        """One more token for each of the first N slots, ids on the model's device where they are a tensor; logits (N, V)."""
        ...

    def read(self, first: int, ids: list[list[int]]) -> torch.Tensor:
        """More tokens for each of the slots from `first` on; logits after the last of each (N, V)."""
        ...

    def score(self, slot: int, ids: list[int]) -> torch.Tensor:
        """More tokens for a slot; logits after each of them (T, V)."""
        ...

    @property
    def is_slow(self) -> bool:
        """Whether a token costs so much that draws are made in the way that can be guessed; of the model alone."""
        ...

    @property
    def can_screen(self) -> bool:
        """Whether there is something to gain when a step is told which logits matter; then it is slow, too."""
        ...

    @property
    def drafter(self) -> DrafterLike | None:
        """What guesses the model's next tokens in less time than it takes, where there is such a thing."""
        ...

    @property
    def can_forget(self) -> bool:
        """Whether the last tokens of a slot are taken back by setting its length to less."""
        ...

    @property
    def is_step_recorded(self) -> bool:
        """Whether single tokens are so quick, and several so much slower, that guesses do not pay."""
        ...

    def check(self, ids: list[list[int]], screen: Screen | None = None) -> list[torch.Tensor]:
        """More tokens for each of the first N slots; logits after each token, (T, V) for a row of T."""
        ...

    def copy(self, source: int, target: int, num_tokens: int) -> bool:
        """Let a slot hold the first tokens of another; False when that cannot be, and nothing was done."""
        ...

    def snapshot(self, slot: int, first: int, num_tokens: int) -> Snapshot | None:
        """What is remembered of the first tokens of a slot, until that goes on; None where there is no memory of so many.

        Where it can be had in pieces, without what is remembered of the tokens before `first`.
        """
        ...

    def restore(self, slot: int, snapshot: Any, num_tokens: int) -> None:
        """Let a slot, which holds the tokens before the snapshot, hold `num_tokens`: all, or fewer where it can be cut."""
        ...


class GeneratingModel(Protocol):
    """A model that can continue text."""

    @property
    def context_tokens(self) -> int: ...
    def make_decoder(self, num_slots: int, capacity: int) -> DecoderLike: ...
    def eval(self) -> object: ...
