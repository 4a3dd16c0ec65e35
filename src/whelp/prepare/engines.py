"""Where partitions are encoded: on threads of this process, or on the machines of a Ray cluster.

Both run the same `encode` on the same partitions and give the parts back in order, so the store is the same, to the byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.machine import count_cores
from whelp.prepare.parts import EncodedPart, Part, write_part

Encode = Callable[[int, pa.RecordBatch, npt.NDArray[np.bool_] | None], EncodedPart]  # the first: the number of the source


@dataclass(frozen=True)
class Job:
    """A partition of source number `stream` to encode. `is_test` says which of its documents are held out; None for none."""

    index: int
    stream: int
    batch: pa.RecordBatch
    is_test: npt.NDArray[np.bool_] | None
    place: Path
    done: Part | None  # found on disk, from a run before


class Engine(Protocol):
    """Encodes partitions and writes their parts."""

    def run(self, jobs: Iterator[Job], encode: Encode) -> Iterator[tuple[Job, Part]]:
        """Yield the parts in the order of the jobs."""
        ...


@dataclass(frozen=True)
class LocalEngine:
    """Threads of this process: the encoder is native code that several threads share, with one cache of what it has seen."""

    workers: int | None = None  # None: one for each core

    def run(self, jobs: Iterator[Job], encode: Encode) -> Iterator[tuple[Job, Part]]:
        """Read ahead by no more partitions than there are threads, so that memory stays flat."""
        workers = self.workers or count_cores()

        def work(job: Job) -> Part:
            return job.done or write_part(encode(job.stream, job.batch, job.is_test), job.place)

        pending: deque[tuple[Job, Future[Part]]] = deque()
        with ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool:
            try:
                for job in jobs:
                    pending.append((job, pool.submit(work, job)))
                    if len(pending) > workers:
                        first, future = pending.popleft()
                        yield first, future.result()
                while pending:
                    first, future = pending.popleft()
                    yield first, future.result()
            finally:
                for _, future in pending:
                    future.cancel()
