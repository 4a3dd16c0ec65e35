"""Choosing the next token: one small function for each way to reshape the distribution.

Shapes: N sequences, V vocabulary (or, after top-k, the k that are left). What is left out becomes -inf.

A choice needs one number above 0, up to 1, for each sequence, and takes the token at which the summed probabilities reach it.
So a request's text hangs on its own numbers, not on what else is computed at the same time. Nothing sorts a whole vocabulary:
top-k comes first, and top-p looks at the likeliest thousand before it looks at all.
"""

from __future__ import annotations

import math

import torch

from whelp.generate.config import GenerateConfig

_LIKELIEST = 1024  # what top-p looks at first


def keep_top_k(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest logits of each sequence, largest first, and their ids: (N, V) -> (N, k), (N, k)."""
    values, ids = logits.topk(min(k, logits.shape[-1]), dim=-1)
    return values, ids


def keep_top_p(logits: torch.Tensor, p: float, total: torch.Tensor | None = None) -> torch.Tensor:
    """Keep the likeliest tokens until their probability reaches p (Holtzman et al. 2020); always at least one.

    Args:
        logits: (N, k), largest first.
        total: (N, 1) the log of the summed exponentials, where these are not all the tokens that share the probability.
    """
    probabilities = logits.softmax(dim=-1) if total is None else (logits - total).exp()
    dropped = probabilities.cumsum(dim=-1) - probabilities >= p  # what the likelier ones have
    dropped[:, 0] = False
    return logits.masked_fill(dropped, -torch.inf)


def keep_min_p(logits: torch.Tensor, share: float) -> torch.Tensor:
    """Keep tokens at least `share` times as likely as the likeliest (Nguyen et al. 2024)."""
    if share <= 0.0:
        return logits
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(share), -torch.inf)


def penalise_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Make tokens that are already there less likely (Keskar et al. 2019).

    Args:
        seen: (N, V), true for ids in the prompt or the continuation.
    """
    weaker = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, weaker, logits)


def choose(logits: torch.Tensor, settings: GenerateConfig, numbers: torch.Tensor | None) -> torch.Tensor:
    """One id for each sequence: (N, V) -> (N,).

    Args:
        logits: With all penalties applied; any precision.
        numbers: (N, 1) float32, above 0 and up to 1, one for each sequence; None when `temperature` is 0.
    """
    if settings.temperature == 0.0 or settings.top_k == 1:
        return logits.argmax(dim=-1)
    assert numbers is not None, "a draw needs a number for each sequence"
    logits, ids = logits.float() / settings.temperature, None
    if 0 < settings.top_k < logits.shape[-1]:
        logits, ids = keep_top_k(logits, settings.top_k)
        if settings.top_p < 1.0:
            logits = keep_top_p(logits, settings.top_p)
    elif settings.top_p < 1.0:
        logits, ids = _keep_likeliest(logits, settings.top_p)
    places = _draw(keep_min_p(logits, settings.min_p), numbers)  # (N, 1)
    return (places if ids is None else ids.gather(-1, places)).squeeze(-1)


def _keep_likeliest(logits: torch.Tensor, p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Top-p of a whole vocabulary, sorting no more of it than it must."""
    total = logits.logsumexp(dim=-1, keepdim=True)
    values, ids = keep_top_k(logits, _LIKELIEST)
    if values.shape[-1] < logits.shape[-1] and bool(((values - total).exp().sum(dim=-1) < p).any()):
        values, ids = keep_top_k(logits, logits.shape[-1])
    return keep_top_p(values, p, total), ids


def _draw(logits: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The first place where the summed probabilities reach the number: (N, k), (N, 1) -> (N, 1).

    A token without probability is never the first to reach anything, since no number is 0.
    """
    reached = logits.softmax(dim=-1).cumsum(dim=-1)
    return torch.searchsorted(reached, numbers * reached[:, -1:])
