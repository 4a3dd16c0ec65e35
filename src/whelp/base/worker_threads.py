"""Threads for native code, which nothing breaks off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from whelp.base.log import log

Result = TypeVar("Result")
_PATIENCE_SECONDS = 1.0  # before somebody is told what is waited for
_left: set[Future[Any]] = set()  # what threads may be at that nobody waits for


def are_at_work() -> bool:
    """Whether threads of a pool that was left go on with what they were at."""
    return not all(future.done() for future in _left)


class WorkerThreads(ThreadPoolExecutor):
    """A pool that is left early as soon as its threads have finished what they are at; nothing more is begun.

    Where that takes a while, it is said. An interrupt meanwhile leaves at once, and the threads to themselves.

    Args:
        reads_only: What the threads are at makes nothing that lasts: an error, or an interrupt, does not wait for it.
    """

    def __init__(self, num_threads: int, *, name: str, reads_only: bool = False) -> None:
        super().__init__(num_threads, thread_name_prefix=name)
        self._reads_only = reads_only
        self._given: set[Future[Any]] = set()

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **named: Any) -> Future[Result]:
        future = super().submit(function, *arguments, **named)
        self._given.add(future)
        future.add_done_callback(self._given.discard)
        return future

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is None:
            self.shutdown()
            return
        self.shutdown(wait=False, cancel_futures=True)
        given = self._given.copy()
        _left.update(given)
        if not self._reads_only:
            if wait(given, _PATIENCE_SECONDS).not_done:
                log.warning("stopping: what is being worked on is finished first, and kept; another Ctrl-C stops at once")
            self.shutdown()
        _left.difference_update(future for future in given if future.done())


@contextmanager
def working_apart(*calls: Callable[[], object]) -> Iterator[None]:
    """Inside, each call runs on a thread of its own; the end waits for all of them. They make nothing that lasts."""
    with WorkerThreads(len(calls), name="background", reads_only=True) as threads:
        given = [threads.submit(call) for call in calls]
        yield
        for future in given:
            future.result()
