"""The next step of a GPU is asked for before the processor knows the tokens of this one.

A recorded step is one call, and takes its ids from where the choice left them. So while the processor turns ids into text, the
GPU is at work already. A row that turns out to be done has one step too much, which nobody looks at.
Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from whelp.generate.row import Row


class Ahead(NamedTuple):
    """What a step that was asked for early gives."""

    rows: list[Row]
    logits: torch.Tensor  # (N, V)

    def take(self, running: list[Row]) -> Ahead:
        """What is left of it for the rows that still run."""
        places = [place for place, row in enumerate(self.rows) if row.slot < len(running) and running[row.slot] is row]
        if len(places) == len(self.rows):
            return self
        return Ahead([self.rows[place] for place in places], self.logits[places])


def start_fetching(ids: torch.Tensor) -> Callable[[], list[int]]:
    """Begin to copy ids (N,) to the processor; the function that is returned waits for them, and for nothing that comes later."""
    if not ids.is_cuda:
        values: list[int] = ids.tolist()
        return lambda: values
    copied = torch.empty(ids.shape, dtype=ids.dtype, pin_memory=True)
    copied.copy_(ids, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(ids.device))

    def wait() -> list[int]:
        event.synchronize()
        fetched: list[int] = copied.tolist()
        return fetched

    return wait
