"""Processes for work in pure Python."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ProcessPool(ProcessPoolExecutor):
    """Fresh processes, which import what the work needs and nothing else: the caller's own script is not run in them.

    So a script needs no `if __name__ == "__main__":`, and threads of the caller do no harm. The functions handed in must
    be importable.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)

    def submit(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> Future[T]:
        """Schedule a call."""
        with _hidden_main():  # processes start here, as they are needed
            return super().submit(function, *args, **options)


def _end_with_parent() -> None:
    """In a process of the pool: end when the one that started it was killed, and not wait for work for ever.

    Ctrl-C is for the one that started it, which ends its pool.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True, name="watch the parent").start()


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Let `multiprocessing` see no main script, which it would run again in every process."""
    values = vars(sys.modules["__main__"])
    saved: dict[str, Any] = {name: values.pop(name) for name in ("__file__", "__spec__") if name in values}
    values["__spec__"] = None
    try:
        yield
    finally:
        values.update(saved)
