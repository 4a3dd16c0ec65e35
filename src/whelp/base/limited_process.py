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
import pickle
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from multiprocessing import connection
from types import TracebackType
from typing import Any, Literal, TypeVar

from whelp.base.machine import count_own_bytes
from whelp.base.processes import end_with_parent, hide_main

T = TypeVar("T")

_IDLE_SECONDS = 60.0  # without work, after which a process ends by itself
_LOOK_SECONDS = 0.05  # between two looks at the memory
_OVER_MEMORY = 77  # exit code
_END_SECONDS = 10.0
_START_SECONDS = 120.0
_STOP_SECONDS = 1.0
_STOP = "stop"
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
        [result] = self.iterate(_call_once, function, arguments, seconds=seconds)
        returned: T = result
        return returned

    def iterate(self, function: Callable[..., Iterable[Any]], *arguments: Any, seconds: float) -> Generator[Any]:
        """As `iterate_within`."""
        pipe = self._begin((function, arguments))
        kind = "told"
        try:
            while True:
                kind, told = "lost", None
                kind, told = self._receive(pipe, seconds)
                if kind == "failed":
                    raise told
                if kind == "ended":
                    return
                yield told
        finally:
            if kind == "told":
                self._stop(pipe)
            elif kind == "lost":
                self.close()

    def close(self) -> None:
        """End the process, whatever it is at."""
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            if self._starter == os.getpid():  # and not a fork of it
                self._process.kill()
                self._process.join(_END_SECONDS)
        self._process = self._pipe = None

    def _begin(self, task: tuple[Callable[..., Any], tuple[Any, ...]]) -> connection.Connection:
        """Hand over a task. One that ends for want of work just then is replaced."""
        for _ in range(2):
            if self._process is None or self._starter != os.getpid() or not self._process.is_alive():
                self._start()
            assert self._pipe is not None
            try:
                self._pipe.send(task)
                if self._pipe.poll(_START_SECONDS) and self._pipe.recv() == "begun":
                    return self._pipe
            except (EOFError, OSError):
                pass
            self.close()
        raise OverLimitError("killed")

    def _start(self) -> None:
        self.close()
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, self._max_bytes), daemon=True)
        self._starter = os.getpid()
        with hide_main():
            self._process.start()
        far_end.close()

    def _stop(self, pipe: connection.Connection) -> None:
        try:
            pipe.send(_STOP)
            while self._receive(pipe, _STOP_SECONDS)[0] == "told":
                pass
        except (OSError, OverLimitError):
            self.close()

    def _receive(self, pipe: connection.Connection, seconds: float) -> tuple[str, Any]:
        if not pipe.poll(seconds):
            raise OverLimitError("time")
        try:
            kind, told = pipe.recv()
        except (EOFError, OSError):
            assert self._process is not None
            self._process.join(_END_SECONDS)
            raise OverLimitError("memory" if self._process.exitcode == _OVER_MEMORY else "killed") from None
        return kind, told


def _call_once(function: Callable[..., T], arguments: tuple[Any, ...]) -> Iterable[T]:
    yield function(*arguments)


def _serve(pipe: connection.Connection, max_bytes: int | None) -> None:
    """In the process: do tasks until none comes for a while. What readers print of a broken file is for who mends readers."""
    end_with_parent()
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    if max_bytes is not None:
        threading.Thread(target=_watch_memory, args=(max_bytes,), daemon=True, name="watch the memory").start()
    with contextlib.suppress(EOFError, ConnectionError):
        while pipe.poll(_IDLE_SECONDS):
            task = pipe.recv()
            if task == _STOP:  # which came when all was told
                continue
            pipe.send("begun")
            function, arguments = task
            try:
                for told in function(*arguments):
                    pipe.send(("told", told))
                    del told
                    if pipe.poll():
                        pipe.recv()
                        break
            except ConnectionError:
                raise
            except MemoryError:
                os._exit(_OVER_MEMORY)
            except Exception as error:
                pipe.send(("failed", _pack(error)))
            else:
                pipe.send(("ended", None))
            del task, function, arguments


def _watch_memory(max_bytes: int) -> None:
    while _count_bytes() <= max_bytes:
        time.sleep(_LOOK_SECONDS)
    os._exit(_OVER_MEMORY)


def _count_bytes() -> int:
    own = count_own_bytes()
    if own is not None:
        return own
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _pack(error: Exception) -> Exception:
    """An error that can travel; one that is not ours brings its traceback."""
    if not type(error).__module__.startswith("whelp."):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
