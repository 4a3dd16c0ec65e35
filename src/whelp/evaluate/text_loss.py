"""Loss over a text, or over each of many: every token predicted once, each with as much of the text before it as its window has.

Of many texts, so that models of different vocabularies can be compared text by text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from whelp.artifacts.targets import IGNORED
from whelp.base.evaluation_mode import evaluation_mode
from whelp.evaluate.loss import LossModel, LossResult

_MAX_WINDOW = 4096  # a longer context changes little, and costs much
_TOKENS_AT_ONCE = 2048  # windows of a short context are read side by side: one by one, most of the time goes into calls
_MOST_LOGITS = 1 << 24  # numbers at a time: 64 MiB of float32
_MOST_ROWS = 64

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
    window, whole = _fit(context_tokens), _put_before(first_id, ids)
    total = len(whole) - 1
    assert total > 0, "a text needs a token to predict"
    nats, num_rows = 0.0, 0
    for rows, targets in _iter_batches(_iter_windows(whole, window), max(1, _TOKENS_AT_ONCE // window)):
        nats += float(model.loss(torch.from_numpy(rows).to(device), torch.from_numpy(targets).to(device)))
        num_rows += len(rows)
    return LossResult(nats=nats, num_tokens=total, num_bytes=num_bytes, num_rows=num_rows)


@torch.no_grad()
def measure_texts(
    model: nn.Module,
    texts: Sequence[npt.NDArray[np.integer]],
    *,
    first_id: int | None,
    context_tokens: int,
    vocab_size: int,
    device: torch.device | str = "cpu",
) -> npt.NDArray[np.float64]:
    """Sum the loss of each text, in nats; shape (D,). Every token is predicted once, in windows as `evaluate_text` has them.

    Args:
        model: From ids (B, T) to logits (B, T, V).
        texts: The ids of each text.
        first_id: Stands before each text (end-of-text, as before any document). Without it, the first token of a text counts
            as one of `vocab_size` equally likely ones: left out, it would flatter a vocabulary of long tokens.
    """
    nats = np.zeros(len(texts))
    windows: list[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []  # text, ids, targets
    for number, ids in enumerate(texts):
        if first_id is None and len(ids):
            nats[number] += np.log(vocab_size)
        windows += [(number, row, targets) for row, targets in _iter_windows(_put_before(first_id, ids), _fit(context_tokens))]
    windows.sort(key=lambda window: -len(window[1]))  # rows of about one length side by side
    first = 0
    with evaluation_mode(model):
        while first < len(windows):
            width = len(windows[first][1])
            batch = windows[first : first + max(1, min(_MOST_ROWS, _MOST_LOGITS // (width * vocab_size)))]
            sums = _sum_rows(model, [(row, targets) for _, row, targets in batch], width, device)
            np.add.at(nats, [number for number, _, _ in batch], sums)
            first += len(batch)
    return nats


def _sum_rows(model: nn.Module, windows: Sequence[Window], width: int, device: torch.device | str) -> npt.NDArray[np.float64]:
    """The loss of each window, (B,), in one row of `width` each, filled up behind its end."""
    ids, targets = np.zeros((len(windows), width), np.int64), np.full((len(windows), width), IGNORED)
    for place, (row, wanted) in enumerate(windows):
        ids[place, : len(row)], targets[place, : len(row)] = row, wanted
    logits = model(torch.from_numpy(ids).to(device)).float()
    wanted_ids = torch.from_numpy(targets).to(device).flatten()
    losses = F.cross_entropy(logits.flatten(0, 1), wanted_ids, ignore_index=IGNORED, reduction="none")
    sums: npt.NDArray[np.float64] = losses.view(len(windows), width).cpu().double().sum(dim=1).numpy()
    return sums


def _fit(context_tokens: int) -> int:
    """How many tokens a window has, for a model that can see so many."""
    return max(2, min(context_tokens, _MAX_WINDOW))


def _put_before(first_id: int | None, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    whole = np.asarray(ids, dtype=np.int64)
    return whole if first_id is None else np.concatenate(([first_id], whole))


def _iter_batches(windows: Iterator[Window], most_rows: int) -> Iterator[Window]:
    """Windows of one length side by side: ids and targets, (B, T) each."""
    for _, alike in groupby(windows, key=lambda window: len(window[0])):
        while batch := list(islice(alike, most_rows)):
            yield np.stack([ids for ids, _ in batch]), np.stack([targets for _, targets in batch])


def _iter_windows(whole: npt.NDArray[np.int64], window: int) -> Iterator[Window]:
    """Ids and targets of rows of `window` tokens at most, overlapping by half; every token but the first is a target once."""
    stride, total, done = max(1, window // 2), len(whole) - 1, 0  # targets so far
    while done < total:
        start = max(0, done - (window - stride)) if done else 0
        stop = min(total, start + window)
        targets = whole[start + 1 : stop + 1].copy()
        targets[: done - start] = IGNORED
        yield whole[start:stop].copy(), targets
        done = stop
