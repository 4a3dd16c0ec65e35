"""How long work takes on a GPU, for choosing between two ways of doing it at first use."""

from __future__ import annotations

from collections.abc import Callable

import torch

_WARM, _TIMED = 2, 5
_SLEEP_CYCLES = 4_000_000  # some 2 ms: the work is named to the GPU meanwhile, so that naming it takes none of the time


def take_time(way: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """Milliseconds that a way takes when it comes again and again, and what it gives; for the current device."""
    for _ in range(_WARM):
        found = way()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(_SLEEP_CYCLES)
    begin.record()
    for _ in range(_TIMED):
        found = way()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / _TIMED, found
