"""Which of two ways of taking a step is the faster on a GPU, found while training goes on."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch


class Trial:
    """Which of two ways of taking a step is the faster: four steps of each are timed in turn, then all processes choose alike.

    With several processes, gradients are added up while they are computed, or at the end: which one wins depends on the link
    between the GPUs, and on what the messages take from the products beside them.
    """

    # Steps, counted from one: the first that is timed (step 1 compiles, step 2 records), and the first no longer.
    FIRST, END = 3, 11

    def __init__(self, make_timer: Callable[[], Timer]) -> None:
        self.make_timer, self.num_steps = make_timer, 0
        self.timers: list[Timer] = []

    @property
    def tries_second(self) -> bool:
        """Whether the step now taken is taken the second way."""
        return self.num_steps >= self.FIRST and (self.num_steps - self.FIRST) % 2 == 1

    def begin_step(self) -> None:
        """Count a step; its time begins."""
        self.num_steps += 1
        if self.num_steps >= self.FIRST:
            self.timers.append(self.make_timer())

    def end_step(self) -> tuple[float, float] | None:
        """Its time ends. After the last step: the milliseconds of both ways, medians."""
        if self.timers:
            self.timers[-1].stop()
        if self.num_steps < self.END - 1:
            return None
        times = [timer.read() for timer in self.timers]
        return statistics.median(times[::2]), statistics.median(times[1::2])


class Timer:
    """Time on a GPU, from when it comes to what is given to it now until `stop`."""

    def __init__(self) -> None:
        self.start, self.end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.start.record()

    def stop(self) -> None:
        """What is given to it from now on no longer counts."""
        self.end.record()

    def read(self) -> float:
        """Milliseconds; waits until they are over."""
        self.end.synchronize()
        return float(self.start.elapsed_time(self.end))
