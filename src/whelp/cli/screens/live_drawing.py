"""What moves on a terminal, begun whole and ended whole: rich, interrupted on the way, leaves the cursor hidden."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from rich.live import Live
from rich.progress import Progress
from rich.status import Status


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """A Ctrl-C that falls into this comes right after it. Signals are for the main thread: in others there are none."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is None:  # not Python's to change
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])


class _Whole:
    """Begins and ends without an interrupt in between."""

    def start(self, *arguments: Any) -> None:
        """Begin to draw; where a Ctrl-C came meanwhile, end again."""
        try:
            with interrupts_held():
                super().start(*arguments)  # type: ignore[misc]  # of the class beside this one
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End drawing."""
        with interrupts_held():
            super().stop()  # type: ignore[misc]


class Bars(_Whole, Progress):
    """Bars, a line for each."""


class Panel(_Whole, Live):
    """Whatever lines, by a clock of its own."""


class SignOfLife(_Whole, Status):
    """A text with a spinner."""
