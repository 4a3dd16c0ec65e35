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

import numpy as np
import numpy.typing as npt
import torch

from whelp.base.errors import PlanError
from whelp.base.log import log
from whelp.base.shared_beginning import count_shared
from whelp.generate.interfaces import DecoderLike, Snapshot
from whelp.generate.row import Row

LEAST_SHARED = 32  # tokens: to read fewer takes no longer than to take them over
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

    def list_parts(self) -> list[_Kept]:
        """The texts that hold a part of the memory, from the first token on."""
        parts, part = [], self
        while part.before is not None:
            parts.append(part)
            part = part.before
        return [part, *reversed(parts)]

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
        if row.is_scored:
            return True  # each of its tokens has to be read
        ids = row.prompt.ids[:-1]  # the last one is read in any case: what comes next is not remembered
        kept = [(count_shared(each.ids, ids), each) for each in self._kept]
        near = [(count_shared(each.prompt.ids, ids), each) for each in others if not each.has_slid]
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
            self._touch(source)
            for part in source.list_parts():
                if part.snapshot.first < num_tokens:
                    decoder.restore(row.slot, part.snapshot, min(len(part.ids), num_tokens))
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
        usable = [(count_shared(kept.ids, ids), kept) for kept in self._kept]
        first, before = max((pair for pair in usable if pair[1].serves(pair[0])), key=lambda pair: pair[0], default=(0, None))
        if before is not None and first == num_tokens:
            self._touch(before)
            return
        snapshot = decoder.snapshot(row.slot, first if first >= LEAST_SHARED else 0, num_tokens)
        if snapshot is None or not snapshot.num_bytes:
            return
        if not snapshot.first:
            before = None
        if before is not None:
            self._touch(before)
        num_bytes = ids.nbytes + snapshot.num_bytes
        if self._make_room(num_bytes, before):
            try:
                self._kept.append(_Kept(ids, snapshot.detach(), before, num_bytes))
            except torch.OutOfMemoryError:
                log.info("no memory is left: the beginnings of prompts, %d MB, are forgotten", self.num_bytes >> 20)
                self.clear()

    def _touch(self, used: _Kept) -> None:
        """Note that a text was used just now."""
        parts = used.list_parts()
        self._kept = [*(kept for kept in self._kept if kept not in parts), *parts]

    def _make_room(self, num_bytes: int, before: _Kept | None) -> bool:
        """Forget what was used longest ago, and no other text needs, until there is room; False where there is none."""
        needed = before.list_parts() if before is not None else []
        num_held = self.num_bytes
        while num_held + num_bytes > self.max_bytes or len(self._kept) >= MOST_TEXTS:
            bases = {id(kept.before) for kept in self._kept}
            oldest = next((kept for kept in self._kept if id(kept) not in bases and kept not in needed), None)
            if oldest is None:
                return False
            self._kept.remove(oldest)
            num_held -= oldest.num_bytes
        return True
