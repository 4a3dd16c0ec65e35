"""Whether a run has become far slower than it was, and what the system says about it."""

from __future__ import annotations

import os
import statistics
from typing import TYPE_CHECKING

from whelp.base.log import log
from whelp.base.machine import count_cores

if TYPE_CHECKING:
    from whelp.train import StepReport, TrainPlan

_WINDOW_SECONDS = 10.0
_SLOW_WINDOWS = 2  # in a row: one may be a hiccup
_SLOW = 0.5  # of the speed before
_BUSY = 1.3  # times as many programs that want to compute as there are cores


class Pace:
    """The speed of a run so far, in tokens a second of its steps: evaluations, samples and checkpoints do not count."""

    def __init__(self, plan: TrainPlan) -> None:
        self._plan = plan
        self._tokens, self._seconds = 0, 0.0  # of the window that is being filled
        self._usual: list[float] = []  # speeds of windows
        self._slow: list[float] = []  # of the last ones, in a row
        self._is_said = False

    def watch(self, report: StepReport) -> None:
        """Count a step; say, once, that steps have become far slower than those before."""
        self._tokens, self._seconds = self._tokens + report.num_tokens, self._seconds + report.seconds
        if self._is_said or self._seconds < _WINDOW_SECONDS:
            return
        speed = self._tokens / self._seconds
        self._tokens, self._seconds = 0, 0.0
        if not self._usual or speed >= _SLOW * statistics.median(self._usual):
            self._usual.append(speed)
            self._slow.clear()
            return
        self._slow.append(speed)
        if len(self._slow) == _SLOW_WINDOWS:
            self._is_said = True
            fewer = "; fewer steps fit into its minutes" if self._plan.budget_seconds is not None else ""
            note = "step %d: training has slowed down, to %s tokens/s from %s: %s%s"
            speeds = [f"{value:,.0f}" for value in (statistics.mean(self._slow), statistics.median(self._usual))]
            log.warning(note, report.step, *speeds, _explain(self._plan.device), fewer)


def _explain(device: str) -> str:
    """What may be the cause, by the load of the last minute: how many programs computed, or wanted to."""
    place = "the machine" if device == "cpu" else "the machine or its GPU"
    if not hasattr(os, "getloadavg"):
        return f"other programs, or heat, may hold up {place}"
    load, cores = os.getloadavg()[0], count_cores()
    said = f"a load of {load:.1f} on {cores} core{'s' if cores > 1 else ''}"
    if load > _BUSY * cores:
        return f"other programs keep {place} busy ({said})"
    return f"{place} is not crowded ({said}), so heat, saving of power or want of memory may hold it up"
