"""The loss of each of many texts by itself, so that models of different vocabularies can be compared text by text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from whelp.artifacts.targets import IGNORED
from whelp.evaluate.text_loss import MAX_WINDOW, iter_windows

_MOST_LOGITS = 1 << 24  # numbers at a time: 64 MiB of float32
_MOST_ROWS = 64


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
    was_training = model.training
    model.eval()
    nats = np.zeros(len(texts))
    windows: list[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []  # text, ids, targets
    for number, ids in enumerate(texts):
        whole = np.asarray(ids, dtype=np.int64)
        if first_id is not None:
            whole = np.concatenate(([first_id], whole))
        elif len(whole):
            nats[number] += np.log(vocab_size)
        windows += [(number, row, targets) for row, targets in iter_windows(whole, max(2, min(context_tokens, MAX_WINDOW)))]
    windows.sort(key=lambda window: -len(window[1]))  # rows of about one length side by side
    first = 0
    while first < len(windows):
        width = len(windows[first][1])
        batch = windows[first : first + max(1, min(_MOST_ROWS, _MOST_LOGITS // (width * vocab_size)))]
        ids, targets = np.zeros((len(batch), width), np.int64), np.full((len(batch), width), IGNORED)
        for place, (_, row, wanted) in enumerate(batch):
            ids[place, : len(row)], targets[place, : len(row)] = row, wanted
        logits = model(torch.from_numpy(ids).to(device)).float()
        losses = F.cross_entropy(
            logits.flatten(0, 1), torch.from_numpy(targets).to(device).flatten(), ignore_index=IGNORED, reduction="none"
        )
        sums = losses.view(len(batch), width).cpu().double().sum(dim=1).numpy()
        np.add.at(nats, [number for number, _, _ in batch], sums)
        first += len(batch)
    model.train(was_training)
    return nats
