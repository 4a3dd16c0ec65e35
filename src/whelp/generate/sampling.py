"""Choosing the next token: one small function for each way to reshape the distribution.

Shapes: N sequences, V vocabulary (or, after top-k, the k that are left). What is left out becomes -inf.

A choice needs one number above 0, up to 1, for each sequence, and takes the token at which the summed probabilities reach it.
So a request's text hangs on its own numbers, not on what else is computed at the same time. Only top-p without top-k sorts a
whole vocabulary, and only the logits, not their ids.
Where a token is expensive, each token of the vocabulary has a number of its own instead: exponential waiting times, divided by the
probabilities, and the first to come is taken. That is the same distribution, and nearly the same probabilities nearly always choose the
same token, so that a choice can be guessed (draft). With summed probabilities they often do not: a small difference anywhere in
the vocabulary moves the place that a number falls on. Measured: 99 % and 80 % of choices alike, temperature 0.8, matrices of 8 bits.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from whelp.generate.config import GenerateConfig

_TIE = 1e-4  # logits nearer than this may change places by the rounding of what a choice computes


def keep_top_k(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest logits of each sequence, largest first, and their ids: (N, V) -> (N, k), (N, k)."""
    values, ids = logits.topk(min(k, logits.shape[-1]), dim=-1)
    return values, ids


def keep_top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Keep the likeliest tokens until their probability reaches p (Holtzman et al. 2020); always at least one.

    Args:
        logits: (N, k), largest first.
    """
    probabilities = logits.softmax(dim=-1)
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
        numbers: (N, 1) float32, above 0 and up to 1, one for each sequence; or (N, V), above 0, waiting times (see above); None
            when `settings.is_greedy`.
    """
    if settings.is_greedy:
        return logits.argmax(dim=-1)
    assert numbers is not None, "a draw needs a number for each sequence"
    logits, ids = logits.float() / settings.temperature, None
    if 0 < settings.top_k < logits.shape[-1]:
        logits, ids = keep_top_k(logits, settings.top_k)
        if settings.top_p < 1.0:
            logits = keep_top_p(logits, settings.top_p)
    elif settings.top_p < 1.0:
        logits = _keep_likeliest(logits, settings.top_p)
    logits = keep_min_p(logits, settings.min_p)
    if numbers.shape[-1] > 1:
        times = numbers if ids is None else numbers.gather(-1, ids)
        places = logits.softmax(dim=-1).div_(times).argmax(dim=-1, keepdim=True)  # (N, 1)
    else:
        places = _draw(logits, numbers)
    return (places if ids is None else ids.gather(-1, places)).squeeze(-1)


def find_rivals(
    lowest: torch.Tensor, highest: torch.Tensor, settings: GenerateConfig, times: torch.Tensor | None
) -> torch.Tensor:
    """Which tokens `choose` may take, (N, V), by the lowest and the highest that their logits (N, V) can be.

    Args:
        times: (N, V) what chooses; None when `settings.is_greedy`.
    """
    if settings.is_greedy:
        return highest >= lowest.amax(dim=-1, keepdim=True)
    if 0 < settings.top_k < lowest.shape[-1]:
        return highest >= lowest.topk(settings.top_k, dim=-1).values[:, -1:]
    if settings.top_p < 1.0:  # which weighs all tokens
        return torch.ones_like(lowest, dtype=torch.bool)
    least = lowest.amax(dim=-1, keepdim=True) - _TIE
    if settings.min_p > 0.0:
        return highest >= least + settings.temperature * math.log(settings.min_p)
    assert times is not None, "a draw needs waiting times"
    lead = times.log().mul_(-settings.temperature)
    return highest + lead >= (lowest + lead).amax(dim=-1, keepdim=True) - _TIE


def _keep_likeliest(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Top-p of a whole vocabulary in its own order; tokens as likely as the last one are kept as well."""
    if logits.device.type == "cpu":  # numpy sorts far faster than the framework, which sorts places too
        ordered = torch.from_numpy(np.sort(logits.numpy(), axis=-1)).flip(-1)
    else:
        ordered = logits.sort(dim=-1, descending=True).values
    kept = keep_top_p(ordered, p)
    smallest = torch.where(kept.isfinite(), kept, torch.inf).amin(dim=-1, keepdim=True)
    return logits.masked_fill(logits < smallest, -torch.inf)


def _draw(logits: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The first place where the summed probabilities reach the number: (N, k), (N, 1) -> (N, 1).

    A token without probability is never the first to reach anything, since no number is 0.
    """
    reached = logits.softmax(dim=-1).cumsum(dim=-1)
    return torch.searchsorted(reached, numbers * reached[:, -1:])
