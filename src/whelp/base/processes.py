"""Processes for work in pure Python."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_HIDING = threading.RLock()
InOrder = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[tuple[Any, Any]]]  # items with what a function makes of them


class ProcessPool(ProcessPoolExecutor):
    """Fresh processes, which import what the work needs and nothing else: the caller's own script is not run in them.

    So a script needs no `if __name__ == "__main__":`, and threads of the caller do no harm. The functions handed in must
    be importable.
    """

    def __init__(self, workers: int, *, huge_pages: bool = False) -> None:
        """Make a pool.

        Args:
            huge_pages: Let large buffers of the processes lie in pages of 2 MB, on Linux with glibc 2.35 or newer, where the
                kernel allows it. Unpacking bzip2, which jumps about in 4 MB, takes little more than half of the time then.
        """
        self._variables = {"GLIBC_TUNABLES": _add_tunable("glibc.malloc.hugetlb=1")} if huge_pages else {}
        super().__init__(workers, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_parent)

    def submit(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> Future[T]:
        """Schedule a call."""
        with hide_main(), add_variables(self._variables):  # processes start here, as they are needed
            return super().submit(function, *args, **options)


def work_in_line(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """As what `open_in_order` gives, in this process."""
    return ((item, function(item)) for item in items)


@contextmanager
def open_in_order(workers: int, *, huge_pages: bool = False) -> Iterator[InOrder]:
    """Processes that work side by side, and a function that calls another on them for each item, in the order of the items.

    It may be used for several kinds of work at once. Items are asked for as they are needed: few of them are held in memory.

    Raises:
        BrokenProcessPool: When one of the processes was killed.
    """
    with ProcessPool(workers, huge_pages=huge_pages) as pool:
        futures: set[Future[Any]] = set()

        def in_order(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
            pending: deque[tuple[Any, Future[Any]]] = deque()

            def take() -> tuple[Any, Any]:
                item, future = pending.popleft()
                futures.discard(future)
                return item, future.result()

            for item in items:
                pending.append((item, pool.submit(function, item)))
                futures.add(pending[-1][1])
                if len(pending) > workers + 1:  # so many are held in memory
                    yield take()
            while pending:
                yield take()

        try:
            yield in_order
        finally:
            for future in futures:
                future.cancel()


def start_process(
    serve: Callable[..., None], *arguments: Any, variables: Mapping[str, str] | None = None, daemon: bool = False
) -> tuple[multiprocessing.process.BaseProcess, connection.Connection]:
    """Start a fresh process that does `serve(pipe, *arguments)`, as one of the pool; return it with the other end of the pipe.

    Args:
        variables: What it has in its environment besides that of this one.
        daemon: End it with this one.
    """
    context = multiprocessing.get_context("spawn")
    pipe, far_end = context.Pipe()
    process = context.Process(target=serve, args=(far_end, *arguments), daemon=daemon)
    with hide_main(), add_variables(variables or {}):
        process.start()
    far_end.close()
    return process, pipe


def pack_error(error: Exception) -> Exception:
    """An error that can travel to another process; one that is not ours brings its traceback."""
    if not type(error).__module__.startswith("whelp."):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def end_with_parent() -> None:
    """In a process that was started: end when the one that started it was killed, and not wait for work for ever.

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


def _add_tunable(setting: str) -> str:
    """The tunables of the environment and this one, unless it is set there."""
    given = os.environ.get("GLIBC_TUNABLES", "")
    return given if setting.partition("=")[0] in given else f"{given}:{setting}".lstrip(":")


@contextmanager
def add_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that a process which starts meanwhile gets."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def hide_main() -> Iterator[None]:
    """Let `multiprocessing` see no main script, which it would run again in every process. Threads start processes in turn."""
    with _HIDING:
        values = vars(sys.modules["__main__"])
        saved: dict[str, Any] = {name: values.pop(name) for name in ("__file__", "__spec__") if name in values}
        values["__spec__"] = None
        try:
            yield
        finally:
            values.update(saved)
