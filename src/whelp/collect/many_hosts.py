"""Read of several hosts at once, never twice at once of one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Readings(Generic[Result]):
    """Work that waits for hosts, each piece on a thread of its own; results come in the order in which they are ready.

    Threads end with the program, whatever they wait for: they must write nothing.

    Args:
        max_at_once: How many hosts are asked at once.
    """

    def __init__(self, max_at_once: int) -> None:
        self.hosts: set[str] = set()
        self._max_at_once = max_at_once
        self._ready: queue.SimpleQueue[tuple[str, Result | BaseException]] = queue.SimpleQueue()

    @property
    def has_room(self) -> bool:
        """Whether one more host may be asked."""
        return len(self.hosts) < self._max_at_once

    def start(self, host: str, work: Callable[[], Result]) -> None:
        """Begin a piece of work for a host that is not asked already."""
        assert host not in self.hosts, host
        self.hosts.add(host)
        threading.Thread(target=self._run, args=(host, work), name=f"read of {host}", daemon=True).start()

    def _run(self, host: str, work: Callable[[], Result]) -> None:
        try:
            self._ready.put((host, work()))
        except BaseException as error:  # raised again where the results are taken
            self._ready.put((host, error))

    def next_result(self, seconds: float | None = None) -> Result | None:
        """The next result; None when there is none in this time."""
        try:
            host, result = self._ready.get(timeout=seconds)
        except queue.Empty:
            return None
        self.hosts.remove(host)
        if isinstance(result, BaseException):
            raise result
        return result
