"""Long pieces of work side by side, each in a process of its own; what they tell on their way comes as it is told.

for number, told in iter_side_by_side(work, tasks, places): ...     # what `work(tasks[number])` yields; ENDED after it
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from multiprocessing import connection
from typing import Any, TypeVar

from whelp.base.errors import TrainingError
from whelp.base.log import forward_log, log
from whelp.base.processes import end_with_parent, pack_error, start_process

ENDED = "ended"
_STOP_SECONDS = 60.0  # to save what is going, once asked to stop

Task = TypeVar("Task")


class _Process:
    """A process that waits for tasks, and tells what their work yields."""

    def __init__(self, work: Callable[[Any], Iterable[object]], variables: Mapping[str, str]) -> None:
        self.process, self.pipe = start_process(_serve, work, variables=variables)

    def describe_end(self) -> str:
        self.process.join(_STOP_SECONDS)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"its process was killed by {signal.Signals(-code).name}, as the system does when memory runs out"
        return f"its process ended with exit code {code}"


def iter_side_by_side(
    work: Callable[[Task], Iterable[object]], tasks: Sequence[Task], places: Sequence[Mapping[str, str]]
) -> Generator[tuple[int, Any]]:
    """Do every task, as many at once as there are places; yield its number with what its work yields, and at last with `ENDED`.

    When one fails, or the caller stops, the others are asked to stop (SIGTERM) and given time to save what they have. When the
    caller is killed, they end at once.

    Args:
        work: A function of a module, which yields what can be pickled. It gets SIGTERM as any process does.
        places: Of each process, what it has in its environment besides the caller's.

    Raises:
        TrainingError: When a process is gone; what a work raises is raised here.
    """
    left, going = list(enumerate(tasks)), dict[Any, tuple[_Process, int]]()
    processes: list[_Process] = []

    def give(process: _Process) -> None:
        if left:
            number, task = left.pop(0)
            with contextlib.suppress(BrokenPipeError):  # that it is gone is found below
                process.pipe.send(task)
            going[process.pipe] = (process, number)

    try:
        for variables in places[: len(tasks)]:
            processes.append(_Process(work, variables))
            give(processes[-1])
        while going:
            for pipe in connection.wait(list(going)):
                process, number = going[pipe]
                try:
                    kind, told = process.pipe.recv()
                except (EOFError, ConnectionError):
                    advice = "The same command goes on; fewer at once take less memory."
                    raise TrainingError(f"task {number + 1}", process.describe_end(), "", advice) from None
                if kind == "said":
                    log.log(*told)
                elif kind == "told":
                    yield number, told
                elif kind == "failed":
                    raise told
                else:
                    del going[pipe]
                    yield number, ENDED
                    give(process)
    except BaseException:
        _stop(processes)
        raise
    finally:
        for process in processes:
            process.pipe.close()
            process.process.join(_STOP_SECONDS)
            if process.process.is_alive():
                process.process.kill()
                process.process.join()


def _stop(processes: Sequence[_Process]) -> None:
    """Ask all to stop, and hear them out: one that cannot tell what it tells does not come to an end."""
    try:
        for process in processes:
            process.process.terminate()
        deadline, pipes = time.monotonic() + _STOP_SECONDS, [process.pipe for process in processes]
        while pipes and time.monotonic() < deadline:
            ready = connection.wait(pipes, 0.5)
            for pipe in [pipe for pipe in pipes if pipe in ready]:
                try:
                    kind, told = pipe.recv()
                    if kind == "said":
                        log.log(*told)
                except (EOFError, OSError):
                    pipes.remove(pipe)
    finally:
        for process in processes:
            if process.process.is_alive():
                process.process.join(1.0)
            if process.process.is_alive():
                process.process.kill()


def _serve(pipe: connection.Connection, work: Callable[[Any], Iterable[object]]) -> None:
    """In the process: do tasks until none comes."""
    if hasattr(os, "setsid"):
        os.setsid()  # a Ctrl-C is for who started it, which passes it on once
    end_with_parent()
    lock = threading.Lock()

    def tell(kind: str, told: object) -> None:
        with lock:  # threads log, too
            pipe.send((kind, told))

    forward_log(lambda level, text: tell("said", (level, "%s", text)))
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
        while True:
            task = pipe.recv()
            try:
                for told in work(task):
                    tell("told", told)
            except Exception as error:
                tell("failed", pack_error(error))
            else:
                tell(ENDED, None)
