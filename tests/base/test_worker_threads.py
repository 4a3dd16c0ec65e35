"""Threads that are left early: nothing new begins, what was begun ends, and nobody is held up without being told."""

from __future__ import annotations

import _thread
import logging
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from waiting import SECONDS, wait_until
from whelp.base import worker_threads
from whelp.base.worker_threads import WorkerThreads, are_at_work, working_apart


@pytest.fixture(autouse=True)
def nobody_else() -> None:
    """Tests before these may have left threads that only read, and end by themselves."""
    wait_until(lambda: not are_at_work())


@pytest.fixture
def on_note(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What happens when it is said that something is waited for, which is said at once."""
    monkeypatch.setattr(worker_threads, "_PATIENCE_SECONDS", 0.0)
    calls: list[Callable[[], object]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert "another Ctrl-C stops at once" in record.getMessage()
            for call in calls:
                call()

    handler = Handler()
    logging.getLogger("whelp").addHandler(handler)
    yield calls
    logging.getLogger("whelp").removeHandler(handler)


class Work:
    """What threads are at: ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.done = threading.Event(), threading.Event(), list[int]()

    def __call__(self, number: int) -> None:
        self.begun.set()
        assert self.go_on.wait(SECONDS)
        self.done.append(number)


def leave_early(work: Work, error: BaseException, *, reads_only: bool = False) -> None:
    """Give one thread two pieces of work, and raise an error when the first has begun."""
    with WorkerThreads(1, name="test", reads_only=reads_only) as pool:
        pool.submit(work, 0)
        pool.submit(work, 1)
        assert work.begun.wait(SECONDS)
        raise error


def end(work: Work) -> None:
    work.go_on.set()
    wait_until(lambda: not are_at_work())


def test_left_early(on_note: list[Callable[[], object]]) -> None:
    """What runs is waited for, and that is said; what was not begun is not."""
    work = Work()
    on_note.append(work.go_on.set)
    with pytest.raises(ValueError, match="left"):
        leave_early(work, ValueError("left"))
    assert (work.done, are_at_work()) == ([0], False)


def test_interrupted_while_waiting(on_note: list[Callable[[], object]]) -> None:
    """A second Ctrl-C leaves at once, and the process knows that a thread is still at work."""
    work = Work()
    on_note.append(_thread.interrupt_main)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background are told to ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            leave_early(work, KeyboardInterrupt())
    finally:
        signal.signal(signal.SIGINT, before)
    assert (work.done, are_at_work()) == ([], True)
    end(work)


def test_what_only_reads_is_not_waited_for() -> None:
    """An error comes at once."""
    work = Work()
    with pytest.raises(ValueError, match="left"):
        leave_early(work, ValueError("left"), reads_only=True)
    assert (work.done, are_at_work()) == ([], True)
    end(work)


def test_left_as_it_should_be() -> None:
    """All that was given is done."""
    with WorkerThreads(2, name="test") as pool:
        futures = [pool.submit(pow, 2, number) for number in range(9)]
    assert [future.result() for future in futures] == [2**number for number in range(9)]


def test_working_apart() -> None:
    """All calls run beside each other and beside what is inside; the end waits for them, and gives the error of one."""
    together = threading.Barrier(3, timeout=60)
    with working_apart(together.wait, together.wait):
        together.wait()
    ended: list[int] = []

    def fail() -> None:
        ended.append(0)
        raise ValueError("apart")

    with pytest.raises(ValueError, match="apart"), working_apart(fail):
        pass
    assert ended == [0]
