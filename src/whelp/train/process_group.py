"""The processes that train together, and the few things they tell each other.

Every process computes a slice of each batch. Gradients are added up by `gradient_sum.py`; numbers about a step (targets, losses,
requests) travel between CPUs, so that no GPU waits for them.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist

from whelp.base.errors import LostProcessError, PlanError, say_first_line
from whelp.train.device import is_out_of_memory
from whelp.train.process_rank import FILE_MEETING, ProcessRank

has_met = False  # whether this process has met others


class ProcessGroup:
    """All processes of a run. A group of one has nothing to say, and its arithmetic is that of a plain loop."""

    def __init__(self, process: ProcessRank | None = None) -> None:
        self.process = process or ProcessRank()
        self.rank, self.size = self.process.rank, self.process.num_processes

    @property
    def is_first(self) -> bool:
        """Whether this process logs, samples and writes."""
        return self.rank == 0

    def add(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes, place by place, in float64: exact for counts."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        with self.talking():
            dist.all_reduce(tensor)
        return list(tensor.tolist())

    def largest(self, values: Sequence[float]) -> list[float]:
        """The largest over all processes, place by place."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        with self.talking():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return list(tensor.tolist())

    def share(self, value: Any) -> Any:
        """What the first process has, in every process; only plain values, as JSON can write them."""
        if self.size == 1:
            return value
        import json

        length = int(self.add([len(_encode(value)) if self.is_first else 0])[0])
        data = torch.zeros(length, dtype=torch.uint8)
        if self.is_first:
            data = torch.frombuffer(bytearray(_encode(value)), dtype=torch.uint8)
        with self.talking():
            dist.broadcast(data, 0)
        return json.loads(data.numpy().tobytes())

    def gather(self, value: Any) -> list[Any]:
        """What each process has, in every process, by rank; only plain values, as JSON can write them."""
        if self.size == 1:
            return [value]
        import json

        data = torch.frombuffer(bytearray(_encode(value)), dtype=torch.uint8)
        lengths = [int(length) for length in self.add([len(data) if rank == self.rank else 0 for rank in range(self.size)])]
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(data)] = data
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        with self.talking():
            dist.all_gather(parts, padded)
        return [json.loads(part[:length].numpy().tobytes()) for part, length in zip(parts, lengths, strict=True)]

    def add_tensor(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by its sum over all processes."""
        if self.size > 1:
            with self.talking():
                dist.all_reduce(tensor)

    def copy_from_first(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by the first process's."""
        if self.size > 1:
            with self.talking():
                dist.broadcast(tensor, 0)

    def exchange(self, given: torch.Tensor, given_sizes: list[int], taken: torch.Tensor, taken_sizes: list[int]) -> None:
        """Give every process its piece of `given`, and put what each gives into `taken`, in the order of processes."""
        with self.talking():
            dist.all_to_all_single(taken, given, taken_sizes, given_sizes)

    def wait(self) -> None:
        """Wait until every process has come here."""
        self.add([0.0])

    @contextlib.contextmanager
    def talking(self) -> Iterator[None]:
        """Inside, a broken connection becomes a `LostProcessError`."""
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise self.explain_loss(error) from error

    def explain_loss(self, error: RuntimeError) -> LostProcessError:
        """A broken connection in words."""
        return LostProcessError(
            f"process {self.rank + 1} of {self.size}",
            f"another process of this run is gone, or did not answer in time ({_shorten(say_first_line(error))})",
            "",
            "See what that one said. The last checkpoint stands; the same command goes on from there.",
        )


def _is_broken_connection(error: RuntimeError) -> bool:
    """Whether an error is of the library that messages travel by: of a divided model they travel in the midst of its layers."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def _shorten(line: str) -> str:
    """The first sentence of what the library says, without the place in its sources."""
    return re.sub(r"^\[[^]]*\.(cc|cpp|h):\d+\]\s*", "", line).partition(". ")[0]


def _encode(value: Any) -> bytes:
    import json

    return json.dumps(value).encode()


def _check_library(*, uses_gpu: bool) -> None:
    """Builds of PyTorch for Windows have no NCCL, some builds for other machines nothing to send messages with."""
    if not dist.is_available():
        found, advice = "this PyTorch was built without torch.distributed", "Train in one process."
    elif uses_gpu and not dist.is_nccl_available():
        found, advice = "this PyTorch was built without NCCL, by which GPUs talk", "Use train.device=cpu, or train on one GPU."
    else:
        return
    raise PlanError("many processes", found, "a build that has it", advice)


def _open_meeting(process: ProcessRank, timeout: datetime.timedelta) -> Any:
    """Where the processes leave their addresses for each other, apart from those of the processes before a restart."""
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if process.meeting.startswith(FILE_MEETING):  # as it is written: an address would be quoted, in each system in its own way
        path = process.meeting.removeprefix(FILE_MEETING)
        store: Any = dist.FileStore(path, process.num_processes)  # type: ignore[attr-defined]  # of its manual, not of its types
    else:
        store, _, _ = next(rendezvous(process.meeting, process.rank, process.num_processes, timeout=timeout))
    store.set_timeout(timeout)
    return PrefixStore(f"start-{process.num_restarts}", store)


@contextlib.contextmanager
def join_process_group(process: ProcessRank, *, uses_gpu: bool, timeout_minutes: float) -> Iterator[ProcessGroup]:
    """Meet the other processes; a process that is alone meets nobody.

    Args:
        timeout_minutes: How long to wait for a process that does not answer.

    Raises:
        PlanError: When this PyTorch has nothing by which they could talk.
    """
    if process.num_processes == 1:
        yield ProcessGroup(process)
        return
    global has_met
    _check_library(uses_gpu=uses_gpu)
    processes, has_met = ProcessGroup(process), True
    is_ours = not dist.is_initialized()
    if is_ours:
        timeout = datetime.timedelta(minutes=timeout_minutes)
        with processes.talking():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if uses_gpu else "gloo",
                store=_open_meeting(process, timeout),
                rank=process.rank,
                world_size=process.num_processes,
                timeout=timeout,
            )
    try:
        yield processes
    except RuntimeError as error:
        if _is_broken_connection(error):
            raise processes.explain_loss(error) from error
        raise
    except Exception:
        raise  # one that failed leaves without a word: saying goodbye could wait for the others for ever
    except BaseException:
        if is_ours:
            dist.destroy_process_group()
        raise
    else:
        if is_ours:
            dist.destroy_process_group()
