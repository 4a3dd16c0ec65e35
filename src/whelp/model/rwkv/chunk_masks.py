"""Rows cut into chunks of tokens, and which of them know of each other where documents begin inside of a row.

Shapes: B rows, T tokens, H heads, K head width, N chunks, C tokens in a chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F


class Masks(NamedTuple):
    """Which pairs of tokens, and which tokens and the state, know of each other; None: all."""

    whole: torch.Tensor  # (C, C) or (B, 1, N, C, C)
    from_state: torch.Tensor | None = None  # (B, 1, N, C, 1): no document begins in the chunk before it
    to_state: torch.Tensor | None = None  # (B, 1, N, C, 1): none begins after it
    carried: torch.Tensor | None = None  # (B, 1, N, 1, 1): none begins in the chunk at all


def make_masks(size: int, starts: torch.Tensor | None, device: torch.device) -> tuple[Masks, Masks]:
    """For what is read (a token sees itself), and for what is looked up (it does not)."""
    seen = torch.ones(size, size, device=device).tril_()
    before = seen.tril(-1)
    if starts is None:
        return Masks(seen), Masks(before)
    number = _divide_tokens(starts, size).cumsum(2)  # (B, N, C): documents begun in the chunk so far
    same = (number.unsqueeze(-1) == number.unsqueeze(-2)).float().unsqueeze(1)  # (B, 1, N, C, C)
    number = number[:, None, :, :, None]
    first, last = (number == 0).float(), (number == number[..., -1:, :]).float()
    return Masks(seen * same, first, last, first[..., -1:, :]), Masks(before * same)


def divide(part: torch.Tensor, size: int) -> torch.Tensor:
    """(B, T, H, K) -> (B, H, N, C, K), filled up with tokens that change nothing."""
    missing = -part.shape[1] % size
    if missing:
        part = F.pad(part, (0, 0, 0, 0, 0, missing))
    return part.reshape(len(part), -1, size, *part.shape[2:]).permute(0, 3, 1, 2, 4).contiguous()


def _divide_tokens(part: torch.Tensor, size: int) -> torch.Tensor:
    """(B, T) -> (B, N, C), filled up with false."""
    return F.pad(part, (0, -part.shape[1] % size)).view(len(part), -1, size)
