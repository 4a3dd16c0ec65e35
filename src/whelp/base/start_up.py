"""Where the seconds go between a command's start and its first result."""

from __future__ import annotations

import os
import time


class StartUp:
    """Seconds of each stage, one after the other. A stage is named when it is over."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last: float | None = None

    def begin(self, *, with_process: bool = False) -> None:
        """Count from now, or from the process's start; a count that is going on goes on."""
        if self._last is None:
            self.seconds, now = {}, time.perf_counter()
            self._last = now - _process_age() if with_process else now

    def reach(self, stage: str) -> None:
        """The time since the stage before was this one's."""
        if self._last is not None:
            now = time.perf_counter()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
            self._last = now

    def end(self) -> dict[str, float] | None:
        """The seconds of all stages, the first time that this is asked for; None where nothing is counted."""
        if self._last is None:
            return None
        self._last = None
        return {stage: round(seconds, 3) for stage, seconds in self.seconds.items()}


def _process_age() -> float:
    """Seconds since the system started this process; 0 where it does not say."""
    try:
        with open("/proc/self/stat", encoding="ascii") as stat, open("/proc/uptime", encoding="ascii") as uptime:
            ticks = int(stat.read().rpartition(")")[2].split()[19])
            return max(0.0, float(uptime.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0


start_up = StartUp()  # of this process's run
