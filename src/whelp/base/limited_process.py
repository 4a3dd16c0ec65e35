"""Work on what strangers wrote, in a process of its own: whatever a file makes its reader do, it costs that file alone.

    limits = Limits(seconds=60)
    call_within(limits, read_pdf, data)                       # what it returns; what it raises is raised here
    for block in iterate_within(limits, iter_rows, data): ...     # what it yields, each within the time

A reader in C that hangs, or fills the memory, cannot be stopped from within. Its process can: it is ended, and the next call begins
another. Processes wait for the next call, and end by themselves when none comes for a minute.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from multiprocessing import connection
from types import TracebackType
from typing import Any, Literal, TypeVar

from whelp.base.machine import count_own_bytes, count_peak_bytes
from whelp.base.processes import end_with_parent, pack_error, start_process

T = TypeVar("T")

_IDLE_SECONDS = 60.0  # without work, after which a process ends by itself
_LOOK_SECONDS = 0.05  # between two looks at the memory
_OVER_MEMORY, _RESTED = 77, 78  # exit codes
_OVER_TIME = -getattr(signal, "SIGPROF", 0) or None
_END_SECONDS = 10.0
_START_SECONDS = 120.0
_STOP_SECONDS = 1.0
_WAIT_SECONDS = 1.0  # at a time
_STOP = "stop"
_READY = ("ready", None)
_at_rest: defaultdict[int | None, list[LimitedProcess]] = defaultdict(list)  # by the memory that they may hold


class OverLimitError(Exception):
    """Work that was ended: it took too long, too much memory, or broke its process (`killed`)."""

    def __init__(self, limit: Literal["time", "memory", "killed"]) -> None:
        super().__init__(limit)
        self.limit = limit


@dataclass(frozen=True)
class Limits:
    """What work may take.

    Attributes:
        seconds: Of the clock, for each thing that it gives.
        max_bytes: Memory, where the system says what a process holds (Linux, macOS).
    """

    seconds: float
    max_bytes: int | None = None


def call_within(limits: Limits, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function of a module; arguments and result travel.

    Raises:
        OverLimitError: When it takes more than allowed; what the function raises is raised here.
    """
    with _borrow(limits.max_bytes) as process:
        return process.call(function, *arguments, seconds=limits.seconds)


def iterate_within(limits: Limits, function: Callable[..., Iterable[Any]], *arguments: Any) -> Generator[Any]:
    """Yield what a generator yields. Left early, it is stopped behind the next.

    Raises:
        OverLimitError: As `call_within`.
    """
    with _borrow(limits.max_bytes) as process:
        yield from process.iterate(function, *arguments, seconds=limits.seconds)


@contextlib.contextmanager
def _borrow(max_bytes: int | None) -> Generator[LimitedProcess]:
    """One that has nothing to do: threads work side by side, each with one of its own."""
    at_rest = _at_rest[max_bytes]
    try:
        process = at_rest.pop()
    except IndexError:
        process = LimitedProcess(max_bytes=max_bytes)
    try:
        yield process
    finally:
        at_rest.append(process)


class LimitedProcess:
    """Does one piece of work at a time. The process starts with the first, and ends with the program, if not before."""

    def __init__(self, *, max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: connection.Connection | None = None
        self._starter = os.getpid()

    def __enter__(self) -> LimitedProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def call(self, function: Callable[..., T], *arguments: Any, seconds: float) -> T:
        """As `call_within`."""
        [result] = self._do(_Task(function, arguments, seconds, _find_folder()))
        returned: T = result
        return returned

    def iterate(self, function: Callable[..., Iterable[Any]], *arguments: Any, seconds: float) -> Generator[Any]:
        """As `iterate_within`."""
        return self._do(_Task(function, arguments, seconds, _find_folder(), is_iterated=True))

    def close(self) -> None:
        """End the process, whatever it is at."""
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            if self._starter == os.getpid():  # and not a fork of it
                self._process.kill()
                self._process.join(_END_SECONDS)
        self._process = self._pipe = None

    def _do(self, task: _Task) -> Generator[Any]:
        kind = "lost"
        try:
            kind, told = self._hand_over(task)
            while kind == "told":
                yield told
                kind = "lost"
                kind, told = self._receive(task.seconds)
        finally:
            if kind == "told":
                self._stop()
            elif kind == "lost":
                self.close()
        if kind == "failed":
            raise told
        if kind == "returned":
            yield told

    def _hand_over(self, task: _Task) -> tuple[str, Any]:
        """What comes of it first. A process that ends for want of work just then is replaced."""
        while True:
            if self._process is None or self._starter != os.getpid() or not self._process.is_alive():
                self._start()
            assert self._pipe is not None
            try:
                with contextlib.suppress(OSError):  # that it is gone is found below
                    self._pipe.send(task)
                return self._receive(task.seconds)
            except _RestedError:
                self.close()

    def _start(self) -> None:
        self.close()
        self._starter = os.getpid()
        self._process, self._pipe = start_process(_serve, self._max_bytes, daemon=True)
        if self._receive(_START_SECONDS) != _READY:
            raise OverLimitError("killed")

    def _stop(self) -> None:
        assert self._pipe is not None
        kind = "told"
        try:
            self._pipe.send(_STOP)
            while kind == "told":
                kind, _ = self._receive(_STOP_SECONDS)
        except (OSError, OverLimitError):
            pass
        finally:
            if kind == "told":
                self.close()

    def _receive(self, seconds: float) -> tuple[str, Any]:
        """What it tells next. Seconds in which this process was stopped (Ctrl-Z, a machine asleep) are not counted."""
        assert self._process is not None
        assert self._pipe is not None
        while not self._pipe.poll(min(seconds, _WAIT_SECONDS)):
            seconds -= _WAIT_SECONDS
            if seconds <= 0:
                raise OverLimitError("time")
        try:
            kind, told = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_END_SECONDS)
            code = self._process.exitcode
            if code == _RESTED:
                raise _RestedError from None
            raise OverLimitError("memory" if code == _OVER_MEMORY else "time" if code == _OVER_TIME else "killed") from None
        return kind, told


@dataclass(frozen=True)
class _Task:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    seconds: float
    folder: str | None  # in which relative paths lie
    is_iterated: bool = False


def _find_folder() -> str | None:
    """The folder that this process works in; None once it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None


class _RestedError(Exception):
    """The process has ended for want of work, before it took the next."""


def _serve(pipe: connection.Connection, max_bytes: int | None) -> None:
    """In the process: do tasks until none comes for a while. What readers print of a broken file is for who mends readers."""
    end_with_parent()
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
    if max_bytes is not None:
        threading.Thread(target=_watch_memory, args=(max_bytes,), daemon=True, name="watch the memory").start()
    with contextlib.suppress(EOFError, ConnectionError):
        pipe.send(_READY)
        while pipe.poll(_IDLE_SECONDS):
            task = pipe.recv()
            if task != _STOP:  # which may come when all was told
                _work(task, pipe)
            del task
        sys.exit(_RESTED)


def _work(task: _Task, pipe: connection.Connection) -> None:
    try:
        if task.folder is not None:
            os.chdir(task.folder)
        _end_after(task.seconds)
        found = task.function(*task.arguments)
        if not task.is_iterated:
            _end_after(None)
            pipe.send(("returned", found))
            return
        for told in found:
            _end_after(None)
            pipe.send(("told", told))
            del told
            if pipe.poll():
                pipe.recv()
                break
            _end_after(task.seconds)
        _end_after(None)
        pipe.send(("ended", None))
    except ConnectionError:
        raise
    except MemoryError:
        os._exit(_OVER_MEMORY)
    except Exception as error:
        _end_after(None)
        pipe.send(("failed", pack_error(error)))


def _end_after(seconds: float | None) -> None:
    """Let the system end this process after so many seconds of its processor; None takes that back.

    Who started it ends it by the clock. But once that one is killed, a reader in C that never lets go of Python's lock would
    hang on for ever: no thread beside it could notice.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds or 0.0)


def _watch_memory(max_bytes: int) -> None:
    while (count_own_bytes() or count_peak_bytes()) <= max_bytes:  # where the system does not say the one, the other
        time.sleep(_LOOK_SECONDS)
    os._exit(_OVER_MEMORY)
