"""Choosing the next token: one small function for each way to reshape the distribution.

Shapes: N sequences, V vocabulary. Every function takes and gives logits; what is left out becomes -inf.
"""

from __future__ import annotations

import torch

from whelp.generate.config import GenerateConfig


def keep_top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Keep the k largest logits of each sequence: (N, V) -> (N, V)."""
    if k <= 0 or k >= logits.shape[-1]:
        return logits
    smallest_kept = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < smallest_kept, -torch.inf)


def keep_top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Keep the likeliest tokens until their probability reaches p (Holtzman et al. 2020); always at least one."""
    if p >= 1.0:
        return logits
    ordered, indices = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    reached_before = probabilities.cumsum(dim=-1) - probabilities  # what the likelier ones have
    dropped = reached_before >= p
    dropped[:, 0] = False
    return logits.masked_fill(torch.zeros_like(dropped).scatter(-1, indices, dropped), -torch.inf)


def keep_min_p(logits: torch.Tensor, share: float) -> torch.Tensor:
    """Keep tokens at least `share` times as likely as the likeliest (Nguyen et al. 2024)."""
    if share <= 0.0:
        return logits
    log_probabilities = logits.log_softmax(dim=-1)
    threshold = log_probabilities.max(dim=-1, keepdim=True).values + torch.log(torch.tensor(share))
    return logits.masked_fill(log_probabilities < threshold, -torch.inf)


def penalise_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Make tokens that are already there less likely (Keskar et al. 2019).

    Args:
        seen: (N, V), true for ids in the prompt or the continuation.
    """
    if penalty == 1.0:
        return logits
    weaker = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, weaker, logits)


def choose(
    logits: torch.Tensor, settings: GenerateConfig, seen: torch.Tensor | None, generator: torch.Generator
) -> torch.Tensor:
    """One id for each sequence: (N, V) -> (N,)."""
    logits = logits.float()
    if seen is not None:
        logits = penalise_repetition(logits, seen, settings.repetition_penalty)
    if settings.temperature == 0.0:
        return logits.argmax(dim=-1)
    logits = logits / settings.temperature
    logits = keep_min_p(keep_top_p(keep_top_k(logits, settings.top_k), settings.top_p), settings.min_p)
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator).squeeze(-1)
