"""How likely a model finds continuations of contexts: the measure behind multiple choice and perplexity.

A context that several continuations share is read once; each of them goes on from a copy of its keys and values. So is what all
contexts of a batch begin with: the examples before the questions. A continuation alone is read together with its context. Rows of about the
same length are read side by side.
Shapes: B rows, T tokens in a row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from whelp.base.shared_beginning import LEAST_SHARED, count_shared

_BATCH_ROWS = 32
_BATCH_TOKENS = 8192  # read side by side
_BATCH_LOGITS = 1 << 26  # numbers of logits that exist at once: 256 MiB in float32


class ContinuationReader(Protocol):
    """Room for several texts, each in a slot: what generating asks of a model, and the logits of more than one token."""

    @property
    def lengths(self) -> list[int]: ...
    def read_ends(self, first: int, ids: list[list[int]], num_kept: list[int]) -> list[torch.Tensor]: ...
    def copy(self, source: int, target: int, num_tokens: int) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """Tokens, and the tokens they come after (one at least)."""

    context: tuple[int, ...]
    ids: tuple[int, ...]

    def fit(self, context_tokens: int) -> Continuation:
        """The same with as much of the end of its context as a model can see; the last token is only predicted.

        >>> Continuation(context=(1, 2, 3), ids=(4, 5)).fit(3)
        Continuation(context=(2, 3), ids=(4, 5))
        """
        room = context_tokens + 1 - len(self.ids)
        assert room > 0, f"{len(self.ids)} tokens after a context do not fit a model of {context_tokens}"
        return Continuation(context=self.context[-room:], ids=self.ids)

    @property
    def num_read(self) -> int:
        """Tokens that a model reads to predict it: all but the last."""
        return len(self.context) + len(self.ids) - 1


@dataclass(frozen=True)
class Score:
    """Summed log-probability (nats) of a continuation, and whether each of its tokens was the likeliest in its place."""

    logprob: float
    is_greedy: bool


@torch.inference_mode()
def score_continuations(
    continuations: Sequence[Continuation],
    *,
    context_tokens: int,
    vocab_size: int,
    read_rows: Callable[[torch.Tensor], torch.Tensor] | None = None,
    make_reader: Callable[[int, int], ContinuationReader] | None = None,
    device: torch.device | str = "cpu",
    on_done: Callable[[int], object] = lambda _: None,
) -> list[Score]:
    """Score continuations, in their order; equal ones are computed once.

    Args:
        context_tokens: Most tokens the model can see; longer contexts lose their beginnings.
        vocab_size: Numbers in the logits of one token; they bound what is computed side by side.
        read_rows: The model itself, (B, T) ids -> (B, T, V) logits. Used when there is no `make_reader`: always right, but
            every continuation reads its context anew.
        make_reader: Room for so many slots of so many tokens.
        on_done: Told of every batch how many continuations it settled.
    """
    fitted = [continuation.fit(context_tokens) for continuation in continuations]
    scores: dict[Continuation, Score] = {}
    counts: dict[Continuation, int] = {}
    for continuation in fitted:
        counts[continuation] = counts.get(continuation, 0) + 1
    for batch in _make_batches(list(counts), vocab_size, is_grouped=make_reader is not None):
        if make_reader is not None:
            logits = _read_shared(batch, make_reader)
        else:
            assert read_rows is not None, "a model is given in one of two ways"
            logits = _read_whole(batch, read_rows, device)
        for continuation, found in logits:
            scores[continuation] = _score(found, continuation.ids)
        on_done(sum(counts[continuation] for group in batch for continuation in group))
    return [scores[continuation] for continuation in fitted]


def iter_windows(ids: Sequence[int], first_id: int, context_tokens: int) -> Iterator[Continuation]:
    """Cut a text so that every token is predicted once, each window as long as the model can see.

    The last window begins earlier, with tokens that were predicted before: as lm-evaluation-harness does it.

    >>> [(window.context, window.ids) for window in iter_windows([1, 2, 3, 4, 5], 0, 3)]
    [((0,), (1, 2, 3)), ((2, 3), (4, 5))]
    """
    for start in range(0, len(ids), context_tokens):
        end = min(start + context_tokens, len(ids))
        if not start:
            yield Continuation(context=(first_id,), ids=tuple(ids[:end]))
        else:
            yield Continuation(context=tuple(ids[end - context_tokens - 1 : start]), ids=tuple(ids[start:end]))


Group = list[Continuation]  # of one context


def _make_batches(continuations: list[Continuation], vocab_size: int, *, is_grouped: bool) -> Iterator[list[Group]]:
    """Groups of about the same length, longest first: what does not fit into memory shows at once."""
    groups: dict[object, Group] = {}
    for continuation in continuations:
        groups.setdefault(continuation.context if is_grouped else continuation, []).append(continuation)
    ordered = sorted(groups.values(), key=lambda group: -max(each.num_read for each in group))
    batch: list[Group] = []
    num_rows = num_logits = longest = 0
    for group in _iter_pieces(ordered):
        length = max(each.num_read for each in group)
        kept = sum(len(each.ids) if is_grouped else each.num_read for each in group)
        rows = num_rows + len(group)
        is_full = rows > _BATCH_ROWS or rows * max(longest, length) > _BATCH_TOKENS
        if batch and (is_full or (num_logits + kept) * vocab_size > _BATCH_LOGITS):
            yield batch
            batch, num_rows, num_logits, longest = [], 0, 0, 0
        batch.append(group)
        num_rows, num_logits, longest = num_rows + len(group), num_logits + kept, max(longest, length)
    if batch:
        yield batch


def _iter_pieces(groups: list[Group]) -> Iterator[Group]:
    """Groups of at most as many continuations as a batch has rows."""
    for group in groups:
        for start in range(0, len(group), _BATCH_ROWS):
            yield group[start : start + _BATCH_ROWS]


def _read_shared(
    batch: list[Group], make_reader: Callable[[int, int], ContinuationReader]
) -> Iterator[tuple[Continuation, torch.Tensor]]:
    """Logits for each token of each continuation; slots of contexts first, then one for each continuation that goes on."""
    going_on = [(slot, each) for slot, group in enumerate(batch) for each in group if len(group) > 1 and len(each.ids) > 1]
    capacity = max(each.num_read for group in batch for each in group)
    reader = make_reader(len(batch) + len(going_on), capacity)
    first_rows, num_kept = [], []
    num_shared = _read_beginning([group[0].context for group in batch], reader)
    for group in batch:
        is_alone = len(group) == 1
        first_rows.append([*group[0].context[num_shared:], *(group[0].ids[:-1] if is_alone else ())])
        num_kept.append(len(group[0].ids) if is_alone else 1)
    ends = reader.read_ends(0, first_rows, num_kept)
    rest: dict[Continuation, torch.Tensor] = {}
    if going_on:
        for target, (slot, each) in enumerate(going_on, len(batch)):
            was_copied = reader.copy(slot, target, len(each.context))
            assert was_copied, "what was just read can be copied"
        rows = [list(each.ids[:-1]) for _, each in going_on]
        found = reader.read_ends(len(batch), rows, [len(row) for row in rows])
        rest = {each: logits for (_, each), logits in zip(going_on, found, strict=True)}
    for group, end in zip(batch, ends, strict=True):
        for each in group:
            yield each, torch.cat([end, rest[each]]) if each in rest else end


def _read_beginning(contexts: list[tuple[int, ...]], reader: ContinuationReader) -> int:
    """Read what all contexts begin with into the slot of each; the number of tokens, none where it is not worth it."""
    first, *others = [np.array(context) for context in contexts]
    num_shared = min([count_shared(first[:-1], other[:-1]) for other in others], default=0)  # of each one token is left
    if num_shared < LEAST_SHARED:
        return 0
    reader.read_ends(0, [first[:num_shared].tolist()], [1])
    for slot in range(1, len(contexts)):
        was_copied = reader.copy(0, slot, num_shared)
        assert was_copied, "what was just read can be copied"
    return num_shared


def _read_whole(
    batch: list[Group], read_rows: Callable[[torch.Tensor], torch.Tensor], device: torch.device | str
) -> Iterator[tuple[Continuation, torch.Tensor]]:
    """Logits for each token of each continuation, by reading all of it; rows are filled up behind their ends."""
    rows = [each for group in batch for each in group]
    ids = torch.zeros(len(rows), max(row.num_read for row in rows), dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : row.num_read] = torch.tensor([*row.context, *row.ids[:-1]])
    for row, logits in zip(rows, read_rows(ids.to(device)), strict=True):
        yield row, logits[len(row.context) - 1 : row.num_read]


def _score(logits: torch.Tensor, ids: tuple[int, ...]) -> Score:
    """Of logits (T, V) and the T tokens that came."""
    chosen = torch.tensor(ids, device=logits.device)
    logprobs = logits.float().log_softmax(dim=-1).gather(1, chosen.unsqueeze(1))
    return Score(float(logprobs.sum()), bool((logits.argmax(dim=-1) == chosen).all()))
