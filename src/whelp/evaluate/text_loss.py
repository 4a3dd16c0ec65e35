"""Loss over one text: every token predicted once, each with as much of the text before it as its window has."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from whelp.artifacts.targets import IGNORED
from whelp.evaluate.loss import LossModel, LossResult

MAX_WINDOW = 4096  # a longer context changes little, and costs much
_TOKENS_AT_ONCE = 2048  # windows of a short context are read side by side: one by one, most of the time goes into calls

Window: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Ids, and targets: the token after each, or `IGNORED`."""


@torch.no_grad()
def evaluate_text(
    model: LossModel,
    ids: npt.NDArray[np.integer],
    *,
    first_id: int | None,
    num_bytes: int,
    context_tokens: int,
    device: torch.device | str = "cpu",
) -> LossResult:
    """Sum the loss of a text. Windows overlap by half, and only their later halves count (but of the first, all).

    Args:
        ids: The text's tokens.
        first_id: Stands before the text (end-of-text, as before any document); without it, the first token is not predicted.
        num_bytes: Of the text, for bits per byte.
    """
    window = max(2, min(context_tokens, MAX_WINDOW))
    whole = np.asarray(ids, dtype=np.int64)
    if first_id is not None:
        whole = np.concatenate(([first_id], whole))
    total = len(whole) - 1
    assert total > 0, "a text needs a token to predict"
    nats, num_rows = 0.0, 0
    for rows, targets in _iter_batches(iter_windows(whole, window), max(1, _TOKENS_AT_ONCE // window)):
        nats += float(model.loss(torch.from_numpy(rows).to(device), torch.from_numpy(targets).to(device)))
        num_rows += len(rows)
    return LossResult(nats=nats, num_tokens=total, num_bytes=num_bytes, num_rows=num_rows)


def _iter_batches(windows: Iterator[Window], most_rows: int) -> Iterator[Window]:
    """Windows of one length side by side: ids and targets, (B, T) each."""
    for _, alike in groupby(windows, key=lambda window: len(window[0])):
        while batch := list(islice(alike, most_rows)):
            yield np.stack([ids for ids, _ in batch]), np.stack([targets for _, targets in batch])


def iter_windows(whole: npt.NDArray[np.int64], window: int) -> Iterator[Window]:
    """Ids and targets of rows of `window` tokens at most, overlapping by half; every token but the first is a target once."""
    stride, total, done = max(1, window // 2), len(whole) - 1, 0  # targets so far
    while done < total:
        start = max(0, done - (window - stride)) if done else 0
        stop = min(total, start + window)
        targets = whole[start + 1 : stop + 1].copy()
        targets[: done - start] = IGNORED
        yield whole[start:stop].copy(), targets
        done = stop
