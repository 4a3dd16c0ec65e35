"""Where partitions are worked on: on threads of this process, or on the machines of a Ray cluster (`ray_engine.py`).

    for job, part in engine.run(jobs, work, write): ...     # part = write(work(*job.arguments), job.place), or job.done

Every engine calls the same `work` with the same arguments and gives the parts back in order, so that what is made of them is
the same, to the byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from whelp.base.counts import check_count
from whelp.base.errors import ConfigError
from whelp.base.machine import count_cores
from whelp.base.worker_threads import WorkerThreads

Part = TypeVar("Part")
Found = TypeVar("Found", covariant=True)


class Job(Protocol[Found]):
    """A partition to work on: what `work` is called with, where its part goes, and the part that a run before has left there."""

    @property
    def arguments(self) -> tuple[Any, ...]: ...
    @property
    def place(self) -> Path: ...
    @property
    def done(self) -> Found | None: ...


AnyJob = TypeVar("AnyJob", bound=Job[Any])
Work = Callable[..., Any]  # a function of a module, so that it can travel; what it gives, too
Write = Callable[[Any, Path], Part]  # from what `work` gave to a part on disk; called on this machine


class Engine(Protocol):
    """Works on partitions and writes their parts."""

    def run(self, jobs: Iterator[AnyJob], work: Work, write: Write[Part]) -> Iterator[tuple[AnyJob, Part]]:
        """Yield the parts in the order of the jobs."""
        ...


@dataclass(frozen=True)
class LocalEngine:
    """Threads of this process: encoders, Arrow and numpy are native code that several threads share."""

    workers: int | None = None  # None: one for each core

    def run(self, jobs: Iterator[AnyJob], work: Work, write: Write[Part]) -> Iterator[tuple[AnyJob, Part]]:
        """Read ahead by no more partitions than there are threads, so that memory stays flat."""
        workers = self.workers or count_cores()

        def finish(job: AnyJob) -> Part:
            done: Part | None = job.done
            return done or write(work(*job.arguments), job.place)

        pending: deque[tuple[AnyJob, Future[Part]]] = deque()
        with WorkerThreads(workers, name="partition") as pool:
            for job in jobs:
                pending.append((job, pool.submit(finish, job)))
                if len(pending) > workers:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()


def make_engine(name: str, workers: int | None) -> Engine:
    """The engine of a name: `local` or `ray`.

    Raises:
        ConfigError: When there is no such engine, or not so many workers.
    """
    from whelp.base.ray_engine import RayEngine

    engines: dict[str, type[LocalEngine] | type[RayEngine]] = {"local": LocalEngine, "ray": RayEngine}
    if name not in engines:
        raise ConfigError("engine", [f"{name!r} is no engine"], "Choose local or ray.")
    if workers is not None:
        check_count("workers", workers)
    return engines[name](workers=workers)
