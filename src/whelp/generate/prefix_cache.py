"""Beginnings of prompts that were read before are not read again.

A text that has ended leaves what the model remembers of it, in at most so many bytes; what was not used for longest goes first. A new
prompt takes over the longest beginning that it has in common with one of these, or with a prompt under way, and only its rest is read.
While another prompt that shares more is being read, it waits for that.
Keys and values serve every beginning of their text, and of texts that begin alike the later ones are kept from where they part. A state
serves the whole of its text alone: of a recurrent model it is kept at the ends of prompts and of texts, and where a prompt parts from a
known one, its reading pauses for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from whelp.base.errors import PlanError
from whelp.base.log import log
from whelp.base.shared_beginning import LEAST_SHARED, count_shared, get_head
from whelp.generate.interfaces import DecoderLike, Snapshot
from whelp.generate.row import Row

MOST_TEXTS = 256  # each new prompt is compared with all of them
DEFAULT_BYTES = 512 << 20  # of a computer's memory: some 7,000 tokens of GPT-2 (124 million)

Ids = npt.NDArray[np.integer]


def choose_bytes(device: torch.device | str | None = None) -> int:
    """How much memory beginnings may take when nobody says: of a GPU an eighth of what is free."""
    if device is not None and torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 8
    return DEFAULT_BYTES


@dataclass(frozen=True, eq=False)
class _Kept:
    """A text, and what the model remembers of it: here from `snapshot.first` on, before that in another."""

    ids: Ids
    snapshot: Snapshot
    before: _Kept | None
    num_bytes: int

    @cached_property
    def head(self) -> bytes:
        """The tokens that another text has to begin with to be worth a comparison."""
        return get_head(self.ids)

    def list_parts(self, num_tokens: int) -> list[_Kept]:
        """The texts that hold the memory of the first tokens; each up to where the next one begins."""
        parts: list[_Kept] = []
        part: _Kept | None = self
        while part is not None:
            if part.snapshot.first < num_tokens:
                parts.append(part)
            part = part.before
        return parts[::-1]

    def serves(self, num_tokens: int) -> bool:
        """Whether the memory of the text's first tokens is in it."""
        return self.snapshot.can_be_cut or num_tokens == len(self.ids)


class PrefixCache:
    """What one model remembers of recent texts. Whoever gives the model other weights calls `clear`.

    Args:
        max_bytes: Of all that is kept. 0: nothing is, and only prompts that are under way side by side share their reading.

    Raises:
        PlanError: When it is negative.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise PlanError("prefix_cache_bytes", f"is {max_bytes}", "at least 0")
        self.max_bytes = max_bytes
        self._kept: list[_Kept] = []  # the last used is last

    @property
    def num_bytes(self) -> int:
        """Memory in use."""
        return sum(kept.num_bytes for kept in self._kept)

    def clear(self) -> None:
        """Forget all texts."""
        self._kept = []

    def begin(self, row: Row, others: Sequence[Row], decoder: DecoderLike) -> bool:
        """Put the longest beginning that is remembered of a row's prompt into its slot, which is empty.

        False where the row should wait for one of the others, whose prompt is just being read.
        """
        row.awaited = None
        ids = row.prompt.ids[:-1]  # the last one is read in any case: what comes next is not remembered
        if row.is_scored or len(ids) < LEAST_SHARED:  # of a scored one, each token has to be read
            return True
        kept = self._compare(ids)
        alike = [each for each in others if each.prompt.head == row.prompt.head and not each.has_slid]
        near = [(count_shared(each.prompt.ids, ids), each) for each in alike]
        usable: list[tuple[int, _Kept | Row]] = [(count, each) for count, each in kept if each.serves(count)]
        if decoder.can_forget:
            usable += [(min(count, decoder.lengths[each.slot]), each) for count, each in near]
        num_tokens, source = max(usable, key=lambda pair: pair[0], default=(0, None))
        if source is None or num_tokens < LEAST_SHARED:
            num_tokens, source = 0, None
        for count, other in near:
            if count >= num_tokens + LEAST_SHARED and self._is_coming(other, count, decoder):
                row.awaited = other, count
                return False
        known = max((count for count, _ in [*kept, *near]), default=0)
        if self.max_bytes and not decoder.can_forget and known >= num_tokens + LEAST_SHARED:
            row.pauses.add(known)
        if isinstance(source, Row):
            was_copied = decoder.copy(source.slot, row.slot, num_tokens)
            assert was_copied, "of a memory that can forget any beginning can be copied"
        elif source is not None:
            parts = source.list_parts(num_tokens)
            self._touch(parts)
            ends = [*(part.snapshot.first for part in parts[1:]), num_tokens]
            for part, end in zip(parts, ends, strict=True):
                decoder.restore(row.slot, part.snapshot, end)
        row.unread = row.ids[num_tokens:]
        row.generation.cached_tokens = num_tokens
        return True

    def must_wait(self, row: Row, decoder: DecoderLike) -> bool:
        """Whether what a row was told to wait for is still to come."""
        return row.awaited is not None and self._is_coming(*row.awaited, decoder)

    def _is_coming(self, other: Row, count: int, decoder: DecoderLike) -> bool:
        """Whether so many tokens of another row's prompt will be remembered soon."""
        is_being_read = bool(other.unread) and not other.has_slid and other.generation.finish_reason is None
        if not is_being_read or decoder.lengths[other.slot] >= count:
            return False
        if not decoder.can_forget:
            if other.is_scored or not self.max_bytes:
                return False
            other.pauses.add(count)
        return True

    def keep(self, row: Row, decoder: DecoderLike) -> None:
        """Remember what a row's slot holds."""
        num_tokens = decoder.lengths[row.slot]  # all but the last, unless a step was asked for early
        if not self.max_bytes or row.has_slid or num_tokens < LEAST_SHARED:
            return
        assert num_tokens <= len(row.ids), f"a slot holds {num_tokens} tokens of a text of {len(row.ids)}"
        ids = np.array(row.ids[:num_tokens])
        usable = [(count, kept) for count, kept in self._compare(ids) if kept.serves(count)]
        first, source = max(usable, key=lambda pair: pair[0], default=(0, None))
        parts = source.list_parts(first) if source is not None else []
        if parts and first == num_tokens:
            self._touch(parts)
            return
        snapshot = decoder.snapshot(row.slot, first, num_tokens)
        if snapshot is None or not snapshot.num_bytes:
            return
        if not snapshot.first:
            parts = []
        self._touch(parts)
        num_bytes = ids.nbytes + snapshot.num_bytes
        if self._make_room(num_bytes, parts):
            try:
                self._kept.append(_Kept(ids, snapshot.detach(), parts[-1] if parts else None, num_bytes))
            except torch.OutOfMemoryError:
                log.info("no memory is left: the beginnings of prompts, %d MB, are forgotten", self.num_bytes >> 20)
                self.clear()

    def _compare(self, ids: Ids) -> list[tuple[int, _Kept]]:
        """The texts that begin as these tokens do, and how many they have in common: at least LEAST_SHARED."""
        head = get_head(ids)
        return [(count_shared(kept.ids, ids), kept) for kept in self._kept if kept.head == head]

    def _touch(self, used: list[_Kept]) -> None:
        """Note that texts were used just now."""
        self._kept = [*(kept for kept in self._kept if kept not in used), *used]

    def _make_room(self, num_bytes: int, needed: list[_Kept]) -> bool:
        """Forget what was used longest ago, and no other text needs, until there is room; False, and nothing, where that is not enough."""
        if sum(kept.num_bytes for kept in needed) + num_bytes > self.max_bytes or len(needed) >= MOST_TEXTS:
            return False
        num_held = self.num_bytes
        while num_held + num_bytes > self.max_bytes or len(self._kept) >= MOST_TEXTS:
            bases = {id(kept.before) for kept in self._kept}
            oldest = next(kept for kept in self._kept if id(kept) not in bases and kept not in needed)
            self._kept.remove(oldest)
            num_held -= oldest.num_bytes
        return True
