"""Time in which this process ran: that of a stop (SIGSTOP, Ctrl-Z, a paused container, a laptop asleep) is left out.

Linux's and macOS's clocks stand still themselves while the machine sleeps. Other stops are found by a thread that wakes several times
a second: where it did not for a while, and the process took hardly any of the processor's time meanwhile, nothing of it ran.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from whelp.base.counts import say_duration
from whelp.base.log import log

_TICK_SECONDS = 0.25
_LEAST_SECONDS = 5.0  # a thread may wait as long for its turn on a crowded machine
_IDLE = 0.5  # processor seconds a second: with fewer no other thread has kept this one from its turn


class AwakeClock:
    """Seconds, to be subtracted from each other, as `time.perf_counter` gives them; right between `__enter__` and `__exit__`."""

    def __init__(
        self, now: Callable[[], float] = time.perf_counter, processor: Callable[[], float] = time.process_time
    ) -> None:
        self._now, self._processor = now, processor
        self._stopped_seconds = 0.0
        self._last = now(), processor()
        self._looking, self._is_over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="awake clock", daemon=True)

    def __enter__(self) -> AwakeClock:
        self._last = self._now(), self._processor()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def __call__(self) -> float:
        with self._looking:
            now, processor = self._now(), self._processor()
            seconds, work = now - self._last[0], processor - self._last[1]
            self._last = now, processor
            if seconds >= _LEAST_SECONDS and work < _IDLE * seconds:
                stopped = seconds - work  # nearly: a step that was stopped in its midst has taken some time, too
                self._stopped_seconds += stopped
                log.warning("this process was stopped for %s, which does not count as training", say_duration(stopped))
            return now - self._stopped_seconds

    def _watch(self) -> None:
        while not self._is_over.wait(_TICK_SECONDS):
            self()
