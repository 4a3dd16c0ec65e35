"""Encode on the machines of a Ray cluster.

The source is read here, in order; partitions travel to encoders on the cluster, and their parts come back to be written
here. So only the machine that reads and writes needs the files. An encoder that dies is started again, and its work with it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from whelp.base.errors import MissingExtraError
from whelp.prepare.engines import Encode, Job
from whelp.prepare.parts import EncodedPart, Part, write_part

_JOBS_IN_FLIGHT = 2  # for each encoder: one that it works on, one that waits for it


@dataclass(frozen=True)
class RayEngine:
    """Encoders as Ray actors of one core each.

    Attributes:
        workers: How many; None for one on each core of the cluster.
        address: The cluster; None for the one that this process is connected to, else one of this machine alone.
    """

    workers: int | None = None
    address: str | None = None

    def run(self, jobs: Iterator[Job], encode: Encode) -> Iterator[tuple[Job, Part]]:
        """Yield the parts in the order of the jobs; memory: two partitions for each encoder.

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
            num_encoders = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            remote: Any = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(_Encoder)
            one_thread = {"env_vars": {"RAYON_NUM_THREADS": "1"}}
            encoders = [remote.options(runtime_env=one_thread).remote(encode) for _ in range(num_encoders)]
            yield from _dispatch(ray, encoders, jobs)
            for encoder in encoders:
                ray.kill(encoder)
        finally:
            if is_ours:
                ray.shutdown()


class _Encoder:
    """What runs on the cluster: the same function as on threads here."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def encode(self, stream: int, batch: Any, is_test: Any) -> EncodedPart:
        return self._encode(stream, batch, is_test)


def _dispatch(ray: Any, encoders: list[Any], jobs: Iterator[Job]) -> Iterator[tuple[Job, Part]]:
    """Keep every encoder busy; give results in order."""
    pending: deque[tuple[Job, int, Any]] = deque()
    num_waiting: Counter[int] = Counter()

    def finish() -> tuple[Job, Part]:
        job, number, reference = pending.popleft()
        if job.done is not None:
            return job, job.done
        try:
            encoded = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        num_waiting[number] -= 1
        return job, write_part(encoded, job.place)

    for job in jobs:
        if job.done is not None:
            pending.append((job, -1, None))
        else:
            number = min(range(len(encoders)), key=lambda index: num_waiting[index])
            num_waiting[number] += 1
            pending.append((job, number, encoders[number].encode.remote(job.stream, job.batch, job.is_test)))
        if len(pending) >= _JOBS_IN_FLIGHT * len(encoders):
            yield finish()
    while pending:
        yield finish()
