"""A model that continues several texts at once: what generating asks of a model, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from whelp.base.log import log
from whelp.model.cache import Cache
from whelp.model.decode_step import make_step
from whelp.model.fixed_step import FixedStep
from whelp.model.language_model import LanguageModel


class Decoder:
    """A model with `num_slots` slots of `capacity` tokens; each holds a text of its own length.

    Shapes: B slots in use, V vocabulary.
    """

    def __init__(self, model: LanguageModel, num_slots: int, capacity: int) -> None:
        weight = model.head_weight
        self.model, self.device = model, weight.device
        self.cache: Any = model.make_cache(num_slots, capacity)
        self._step = make_step(model)
        self._fixed_step = FixedStep(model, self.cache) if weight.is_cuda and isinstance(self.cache, Cache) else None

    @property
    def lengths(self) -> list[int]:
        """Tokens in each slot; setting one to 0 forgets them."""
        lengths: list[int] = self.cache.lengths
        return lengths

    def step(self, ids: list[int]) -> torch.Tensor:
        """One more token for each of the first B slots; logits (B, V), which the next step may overwrite."""
        if self._fixed_step is not None and not torch.is_autocast_enabled("cuda"):  # which keeps casts that do not last
            try:
                return self._fixed_step(ids)
            except Exception as error:  # out of memory, a kernel that cannot be recorded: no token has been counted
                log.info("the step of decoding is not recorded: %s: %s", type(error).__name__, str(error).partition("\n")[0])
                self._fixed_step = None
        self.cache.select(0, [1] * len(ids))
        new = torch.tensor(ids, device=self.device).unsqueeze(1)  # (B, 1)
        hidden = self.model.hidden(new, self.cache)[:, 0] if self._step is None else self._step(new, self.cache)  # (B, D)
        return F.linear(hidden, self.model.head_weight)

    def read(self, first: int, ids: list[list[int]]) -> torch.Tensor:
        """More tokens for each of the slots from `first` on; logits after the last of each (B, V)."""
        hidden, counts = self._read_hidden(first, ids)
        last = hidden[torch.arange(len(ids), device=self.device), torch.tensor(counts, device=self.device) - 1]
        return F.linear(last, self.model.head_weight)

    def read_ends(self, first: int, ids: list[list[int]], num_kept: list[int]) -> list[torch.Tensor]:
        """As `read`, with the logits after each of the last `num_kept` tokens of every row, (num_kept, V) each."""
        hidden, counts = self._read_hidden(first, ids)
        ends = [row[count - kept : count] for row, count, kept in zip(hidden, counts, num_kept, strict=True)]
        return list(F.linear(torch.cat(ends), self.model.head_weight).split(num_kept))

    def _read_hidden(self, first: int, ids: list[list[int]]) -> tuple[torch.Tensor, list[int]]:
        """The last hidden states (B, T, D) of rows of ids, filled up at their ends, and how many are real."""
        counts = [len(row) for row in ids]
        padded = torch.zeros(len(ids), max(counts), dtype=torch.long)
        for place, row in enumerate(ids):
            padded[place, : len(row)] = torch.tensor(row)
        self.cache.select(first, counts)
        return self.model.hidden(padded.to(self.device), self.cache), counts

    def score(self, slot: int, ids: list[int]) -> torch.Tensor:
        """More tokens for one slot; logits after each of them (T, V)."""
        self.cache.select(slot, [len(ids)])
        hidden = self.model.hidden(torch.tensor([ids], device=self.device), self.cache)[0]  # (T, D)
        return F.linear(hidden, self.model.head_weight)

    def copy(self, source: int, target: int, num_tokens: int) -> bool:
        """Let a slot hold the first tokens of another; False when that cannot be."""
        return bool(self.cache.copy(source, target, num_tokens))
