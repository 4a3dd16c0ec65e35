"""Loss over one text: every token predicted once, each with as much of the text before it as its window has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from whelp.artifacts.targets import IGNORED
from whelp.evaluate.loss import LossModel, LossResult

MAX_WINDOW = 4096  # a longer context changes little, and costs much


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
    for ids_of_row, targets in iter_windows(whole, window):
        row = torch.from_numpy(ids_of_row).unsqueeze(0).to(device)
        nats += float(model.loss(row, torch.from_numpy(targets).unsqueeze(0).to(device)))
        num_rows += 1
    return LossResult(nats=nats, num_tokens=total, num_bytes=num_bytes, num_rows=num_rows)


def iter_windows(whole: npt.NDArray[np.int64], window: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Ids and targets of rows of `window` tokens at most, overlapping by half; every token but the first is a target once."""
    stride, total, done = max(1, window // 2), len(whole) - 1, 0  # targets so far
    while done < total:
        start = max(0, done - (window - stride)) if done else 0
        stop = min(total, start + window)
        targets = whole[start + 1 : stop + 1].copy()
        targets[: done - start] = IGNORED
        yield whole[start:stop].copy(), targets
        done = stop
