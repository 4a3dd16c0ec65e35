"""The next token of each of several rows: penalties and biases, random numbers, the choice. Shapes: N rows, V vocabulary."""

from __future__ import annotations

import numpy as np
import torch

from whelp.generate.interfaces import Screen
from whelp.generate.row import Row
from whelp.generate.sampling import choose, find_rivals, penalise_repetition


def bend(row: Row, logits: torch.Tensor) -> None:
    """Apply a row's penalties and biases to its logits (V,), in place."""
    config = row.config
    if config.repetition_penalty != 1.0:
        if row.seen is None:
            row.seen = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
            row.seen[row.ids] = True
        logits.copy_(penalise_repetition(logits, row.seen, config.repetition_penalty))
    if config.presence_penalty or config.frequency_penalty:
        if row.counts is None:
            row.counts = torch.zeros_like(logits)
        logits -= row.counts * config.frequency_penalty + (row.counts > 0) * config.presence_penalty
    for token_id, bias in config.logit_bias.items():
        logits[token_id] += bias


def keep_to_patterns(rows: list[Row], logits: torch.Tensor) -> None:
    """Rule out what does not go on with the rows' patterns: in place, of logits (N, V)."""
    for row, scores in zip(rows, logits, strict=True):
        if row.pattern is not None:
            wrong = torch.from_numpy(~row.pattern.look()[: len(scores)])
            scores.masked_fill_(wrong.to(logits.device, non_blocking=True), -torch.inf)


def choose_for_rows(rows: list[Row], logits: torch.Tensor, *, ahead: int = 0, is_slow: bool) -> torch.Tensor:
    """One id for each row of logits (N, V), so many tokens ahead of what has come; `is_slow` as a decoder says it.

    Rows of the same style are chosen for together, so that no row's choice depends on its neighbours.
    """
    style = rows[0].style
    if all(row.style == style for row in rows):
        return choose(logits, rows[0].config, _draw_numbers(rows, logits, ahead, is_slow))
    chosen = torch.empty(len(rows), dtype=torch.long, device=logits.device)
    for style in {row.style for row in rows}:
        places = [place for place, row in enumerate(rows) if row.style == style]
        group = [rows[place] for place in places]
        chosen[places] = choose(logits[places], group[0].config, _draw_numbers(group, logits, ahead, is_slow))
    return chosen


def _draw_numbers(rows: list[Row], logits: torch.Tensor, ahead: int, is_slow: bool) -> torch.Tensor | None:
    """What chooses: numbers (N, 1) of each row's own stream, above 0 and up to 1; of a slow model, waiting times (N, V)."""
    if rows[0].config.is_greedy:
        return None
    if is_slow:
        return torch.from_numpy(np.stack([row.waits(row.num_new + ahead, logits.shape[1]) for row in rows]))
    numbers = [[(row.random.getrandbits(24) + 1) / (1 << 24)] for row in rows]  # 24 bits: what float32 holds exactly
    return torch.tensor(numbers, dtype=torch.float32).to(logits.device, non_blocking=logits.is_cuda)


def make_screen(rows: list[Row], counts: list[int], vocabulary_size: int) -> Screen | None:
    """What says which tokens may be chosen at the next places of each row; None where all logits are looked at.

    Args:
        counts: How many places each row has.
    """
    if not all(row.can_be_screened for row in rows):
        return None
    places = [(row, ahead) for row, count in zip(rows, counts, strict=True) for ahead in range(count)]

    def screen(lowest: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
        bounds = [part[:, :vocabulary_size].split(1) for part in (lowest, highest)]
        return torch.cat(
            [
                find_rivals(low, high, row.config, _draw_numbers([row], low, ahead, is_slow=True))
                for (row, ahead), low, high in zip(places, *bounds, strict=True)
            ]
        )

    return screen
