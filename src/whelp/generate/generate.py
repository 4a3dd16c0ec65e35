"""The decoding loop: read the prompt once, then one token at a time with a key/value cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from whelp.base.errors import PlanError
from whelp.generate.config import GenerateConfig
from whelp.generate.sampling import choose


class CacheLike(Protocol):
    """What a model remembers of the tokens it has read."""

    num_tokens: int

    @property
    def capacity(self) -> int: ...
    def expand(self, num_rows: int) -> CacheLike: ...
    def keep_rows(self, rows: torch.Tensor) -> None: ...


class GeneratingModel(Protocol):
    """A model that reads with a cache."""

    def last_logits(self, ids: torch.Tensor, cache: Any) -> torch.Tensor: ...
    def make_cache(self, num_rows: int, capacity: int) -> CacheLike: ...
    def eval(self) -> object: ...
    @property
    def context_tokens(self) -> int: ...


@dataclass(frozen=True)
class Token:
    """One new token of one sample; `is_last` when the sample ends with it."""

    sample: int
    id: int
    is_last: bool


@torch.inference_mode()
def generate_tokens(
    model: GeneratingModel,
    prompt: npt.NDArray[np.integer] | list[int],
    settings: GenerateConfig,
    *,
    num_ids: int,
    eos_id: int | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Token]:
    """Continue a prompt; yield tokens as they come, all samples side by side. End-of-text ends a sample and is yielded.

    A continuation may be longer than the context: when the cache is full, the later half of the text is read anew.
    The caller may `send(sample)` to end a sample early (its stop string has come).

    Args:
        num_ids: Ids the tokenizer knows; the rows a padded embedding has beyond them are never chosen.

    Raises:
        PlanError: When the prompt has no token.
    """
    ids = torch.as_tensor(np.asarray(prompt, dtype=np.int64)).reshape(1, -1)
    if ids.shape[1] == 0:
        raise PlanError("the prompt", "it is empty", "at least one token", "Give some text to continue.")
    model.eval()
    generator = torch.Generator(device=device).manual_seed(settings.seed)
    context = model.context_tokens
    text = ids.repeat(settings.n, 1).to(device)  # (N, all tokens so far)
    samples = list(range(settings.n))  # which sample each row still running is
    seen = None
    if settings.repetition_penalty != 1.0:
        seen = torch.zeros(settings.n, num_ids, dtype=torch.bool, device=device)
        seen.scatter_(1, text, True)
    cache = model.make_cache(1, min(context, ids.shape[1] + settings.max_tokens))
    logits = model.last_logits(text[:1, -context:], cache).expand(settings.n, -1)
    cache = cache.expand(settings.n)
    for count in range(1, settings.max_tokens + 1):
        chosen = choose(logits[:, :num_ids], settings, seen, generator)  # (N,)
        if seen is not None:
            seen.scatter_(1, chosen.unsqueeze(1), True)
        text = torch.cat((text, chosen.unsqueeze(1)), dim=1)
        ended = set()
        for row, token_id in enumerate(chosen.tolist()):
            is_last = token_id == eos_id or count == settings.max_tokens
            stopped = yield Token(samples[row], token_id, is_last)
            if is_last or stopped is not None:
                ended.add(row)
        if len(ended) == len(samples):
            return
        if ended:
            kept = torch.tensor([row for row in range(len(samples)) if row not in ended], device=device)
            samples = [samples[row] for row in kept.tolist()]
            text, seen = text[kept], seen[kept] if seen is not None else None
            cache.keep_rows(kept)
        if cache.num_tokens == cache.capacity:
            cache = model.make_cache(len(samples), context)
            logits = model.last_logits(text[:, -max(context // 2, 1) :], cache)
        else:
            logits = model.last_logits(text[:, -1:], cache)
