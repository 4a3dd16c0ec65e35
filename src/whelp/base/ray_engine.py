"""Work on partitions on the machines of a Ray cluster.

The source is read here, in order; partitions travel to workers on the cluster, and their parts come back to be written
here. So only the machine that reads and writes needs the files. A worker that dies is started again, and its work with it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from whelp.base.engines import AnyJob, Part, Work, Write
from whelp.base.errors import MissingExtraError

_JOBS_IN_FLIGHT = 2  # for each worker: one that it works on, one that waits for it


@dataclass(frozen=True)
class RayEngine:
    """Workers as Ray actors of one core each.

    Attributes:
        workers: How many; None for one on each core of the cluster.
        address: The cluster; None for the one that this process is connected to, else one of this machine alone.
    """

    workers: int | None = None
    address: str | None = None

    def run(self, jobs: Iterator[AnyJob], work: Work, write: Write[Part]) -> Iterator[tuple[AnyJob, Part]]:
        """Yield the parts in the order of the jobs; memory: two partitions for each worker.

        Raises:
            MissingExtraError: When Ray is not installed.
        """
        try:
            import ray
        except ImportError:
            raise MissingExtraError("engine ray", "ray", "ray") from None

        is_ours = not ray.is_initialized()
        if is_ours:
            ray.init(address=self.address, log_to_driver=False, include_dashboard=False)
        try:
            num_workers = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            remote: Any = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(_Worker)
            one_thread = {"env_vars": {"RAYON_NUM_THREADS": "1"}}
            workers = [remote.options(runtime_env=one_thread).remote(work) for _ in range(num_workers)]
            yield from _dispatch(ray, workers, jobs, write)
            for worker in workers:
                ray.kill(worker)
        finally:
            if is_ours:
                ray.shutdown()


class _Worker:
    """What runs on the cluster: the same function as on threads here."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def run(self, *arguments: Any) -> Any:
        return self._work(*arguments)


def _dispatch(ray: Any, workers: list[Any], jobs: Iterator[AnyJob], write: Write[Part]) -> Iterator[tuple[AnyJob, Part]]:
    """Keep every worker busy; give results in order."""
    pending: deque[tuple[AnyJob, int, Any]] = deque()
    num_waiting: Counter[int] = Counter()

    def finish() -> tuple[AnyJob, Part]:
        job, number, reference = pending.popleft()
        if job.done is not None:
            return job, job.done
        try:
            made = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        num_waiting[number] -= 1
        return job, write(made, job.place)

    for job in jobs:
        if job.done is not None:
            pending.append((job, -1, None))
        else:
            number = min(range(len(workers)), key=lambda index: num_waiting[index])
            num_waiting[number] += 1
            pending.append((job, number, workers[number].run.remote(*job.arguments)))
        if len(pending) >= _JOBS_IN_FLIGHT * len(workers):
            yield finish()
    while pending:
        yield finish()
