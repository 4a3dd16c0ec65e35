"""A model that continues several texts at once: what generating asks of a model, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from whelp.base.errors import say_first_line
from whelp.base.log import log
from whelp.model.cpu.decode_step import MOST_TOKENS, make_product, make_step
from whelp.model.cpu.eight_bits import can_multiply_bytes
from whelp.model.decoding.draft import Drafter, is_worth_drafting, make_drafter
from whelp.model.decoding.key_value_cache import Cache
from whelp.model.decoding.screened_head import LEAST_SCREENED, Screen, ScreenedHead
from whelp.model.decoding.slot_snapshot import SlotSnapshot
from whelp.model.gpu.decode_step import FixedStep
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
        self._head = ScreenedHead(weight.detach(), make_product(model, weight.detach())) if self._step is not None else None
        self.drafter: Drafter | None = make_drafter(model, self.cache)
        self.is_slow = self._step is not None and is_worth_drafting(model)
        self.can_screen = self.is_slow and weight.numel() >= LEAST_SCREENED and not model.reads_rounded and can_multiply_bytes()
        self._fixed_step = FixedStep(model, self.cache) if weight.is_cuda and isinstance(self.cache, Cache) else None

    @property
    def lengths(self) -> list[int]:
        """Tokens in each slot; setting one to 0 forgets them."""
        lengths: list[int] = self.cache.lengths
        return lengths

    @property
    def can_forget(self) -> bool:
        """Whether the last tokens of a slot can be taken back: of keys and values, not of a state that went on."""
        return isinstance(self.cache, Cache)

    @property
    def is_step_recorded(self) -> bool:
        """Whether single tokens are replayed from a recording, beside which reading several is slow."""
        return self._fixed_step is not None

    def step(self, ids: list[int] | torch.Tensor, screen: Screen | None = None) -> torch.Tensor:
        """One more token for each of the first B slots; logits (B, V), which the next step may overwrite.

        With `screen`, logits that do not matter may be -inf, where `can_screen`.
        Ids that are a tensor on the model's device need not be known to the processor where the step is recorded.
        """
        if self._fixed_step is not None and not torch.is_autocast_enabled("cuda"):  # which keeps casts that do not last
            try:
                return self._fixed_step(ids)
            except Exception as error:  # out of memory, a kernel that cannot be recorded: no token has been counted
                log.info("the step of decoding is not recorded: %s", say_first_line(error, with_kind=True))
                self._fixed_step = None
        known: list[int] = ids.tolist() if isinstance(ids, torch.Tensor) else ids
        hidden, _ = self._read_hidden(0, [[token] for token in known])
        return self._apply_head(hidden[:, 0], screen)

    def read(self, first: int, ids: list[list[int]]) -> torch.Tensor:
        """More tokens for each of the slots from `first` on; logits after the last of each (B, V)."""
        hidden, counts = self._read_hidden(first, ids)
        last = hidden[torch.arange(len(ids), device=self.device), torch.tensor(counts, device=self.device) - 1]
        return self._apply_head(last)

    def check(self, ids: list[list[int]], screen: Screen | None = None) -> list[torch.Tensor]:
        """More tokens for each of the first B slots; logits after each token, (T, V) for a row of T.

        A slot forgets its last tokens when its length is set to less, where `can_forget`.
        """
        return self.read_ends(0, ids, [len(row) for row in ids], screen)

    def read_ends(
        self, first: int, ids: list[list[int]], num_kept: list[int], screen: Screen | None = None
    ) -> list[torch.Tensor]:
        """As `read`, with the logits after each of the last `num_kept` tokens of every row, (num_kept, V) each."""
        hidden, counts = self._read_hidden(first, ids)
        if len(ids) == 1:
            return [self._apply_head(hidden[0, counts[0] - num_kept[0] :], screen)]
        ends = [row[count - kept : count] for row, count, kept in zip(hidden, counts, num_kept, strict=True)]
        return list(self._apply_head(torch.cat(ends), screen).split(num_kept))

    def _read_hidden(self, first: int, ids: list[list[int]]) -> tuple[torch.Tensor, list[int]]:
        """The last hidden states (B, T, D) of rows of ids, filled up at their ends, and how many are real."""
        counts = [len(row) for row in ids]
        longest = max(counts)
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=self.device)
        self.cache.select(first, counts)
        if self._step is not None and padded.numel() <= MOST_TOKENS:
            return self._step(padded, self.cache).view(len(ids), longest, -1), counts
        return self.model.hidden(padded, self.cache), counts

    def _apply_head(self, hidden: torch.Tensor, screen: Screen | None = None) -> torch.Tensor:
        """Logits (N, V) of hidden states (N, D)."""
        if self._head is not None and len(hidden) <= MOST_TOKENS:
            return self._head(hidden, screen if self.can_screen else None)
        return F.linear(hidden, self.model.head_weight)

    def score(self, slot: int, ids: list[int]) -> torch.Tensor:
        """More tokens for one slot; logits after each of them (T, V)."""
        return self.read_ends(slot, [ids], [len(ids)])[0]

    def copy(self, source: int, target: int, num_tokens: int) -> bool:
        """Let a slot hold the first tokens of another; False when that cannot be."""
        return bool(self.cache.copy(source, target, num_tokens))

    def snapshot(self, slot: int, first: int, num_tokens: int) -> SlotSnapshot | None:
        """What is remembered of the first tokens of a slot, until that goes on; None where there is no memory of so many.

        Where it can be had in pieces, without what is remembered of the tokens before `first`.
        """
        snapshot: SlotSnapshot | None = self.cache.snapshot(slot, first, num_tokens)
        return snapshot

    def restore(self, slot: int, snapshot: SlotSnapshot, num_tokens: int) -> None:
        """Let a slot, which holds the tokens before the snapshot, hold `num_tokens`: all, or fewer where it can be cut."""
        self.cache.restore(slot, snapshot, num_tokens)
