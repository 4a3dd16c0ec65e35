"""Signals as requests that training meets between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


def is_hangup_ignored(name: str) -> bool:
    """Whether this signal is SIGHUP, and whoever started this process has asked for it to be ignored (`nohup`)."""
    return name == "SIGHUP" and hasattr(signal, name) and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def ignore_early_requests() -> None:
    """A request to save that comes before there is anything to save is not met: by itself SIGUSR1 would end the process."""
    if hasattr(signal, "SIGUSR1") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


class Requests:
    """Turn signals into requests that are met after the step that is running.

    SIGINT, SIGTERM, SIGHUP: save and stop; a second one stops at once. SIGUSR1: save and go on.
    Under `nohup`, which has SIGHUP ignored, it stays so.
    """

    def __init__(self) -> None:
        self.must_stop = self.must_save = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Requests:
        if threading.current_thread() is threading.main_thread():
            handlers = {"SIGINT": self._stop, "SIGTERM": self._stop, "SIGHUP": self._stop, "SIGUSR1": self._save}
            for name, handler in handlers.items():
                if hasattr(signal, name) and not is_hangup_ignored(name):
                    number = getattr(signal, name)
                    self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.must_stop:
            raise KeyboardInterrupt
        self.must_stop = True

    def _save(self, number: int, frame: FrameType | None) -> None:
        self.must_save = True
