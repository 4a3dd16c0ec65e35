"""The processes that train together, and the few things they tell each other.

Every process computes a slice of each batch. Gradients are added up in buckets while the backward pass still runs; numbers
about a step (targets, losses, requests) travel between CPUs, so that no GPU waits for them.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.distributed as dist

from whelp.base.errors import LostProcessError
from whelp.train.place import Place

if TYPE_CHECKING:
    from whelp.train.flat_group import FlatGroup

# 64 MiB of fp32: beside matrix products GPT-2 124M's gradient costs 0.8 ms on two H200, in messages of 16 MiB 1.7, as one 0.4
_BUCKET_NUMBERS = 1 << 24

has_met = False  # whether this process has met others


class HasGroups(Protocol):
    """An optimizer over flat buffers."""

    @property
    def groups(self) -> Sequence[FlatGroup]: ...


class Team:
    """All processes of a run. A team of one has nothing to say, and its arithmetic is that of a plain loop."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place()
        self.rank, self.size = self.place.rank, self.place.size

    @property
    def is_first(self) -> bool:
        """Whether this process logs, samples and writes."""
        return self.rank == 0

    def add(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes, place by place, in float64: exact for counts."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        with self._talking():
            dist.all_reduce(tensor)
        return list(tensor.tolist())

    def largest(self, values: Sequence[float]) -> list[float]:
        """The largest over all processes, place by place."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        with self._talking():
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
        with self._talking():
            dist.broadcast(data, 0)
        return json.loads(data.numpy().tobytes())

    def add_tensor(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by its sum over all processes."""
        if self.size > 1:
            with self._talking():
                dist.all_reduce(tensor)

    def copy_from_first(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by the first process's."""
        if self.size > 1:
            with self._talking():
                dist.broadcast(tensor, 0)

    def exchange(self, given: torch.Tensor, given_sizes: list[int], taken: torch.Tensor, taken_sizes: list[int]) -> None:
        """Give every process its piece of `given`, and put what each gives into `taken`, in the order of processes."""
        with self._talking():
            dist.all_to_all_single(taken, given, taken_sizes, given_sizes)

    def wait(self) -> None:
        """Wait until every process has come here."""
        self.add([0.0])

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise LostProcessError(
                f"process {self.rank + 1} of {self.size}",
                f"another process of this run is gone, or did not answer in time ({str(error).splitlines()[0]})",
                "",
                "See what that one said. The last checkpoint stands; the same command goes on from there.",
            ) from error


def _encode(value: Any) -> bytes:
    import json

    return json.dumps(value).encode()


class GradientSum:
    """Adds up gradients over all processes, in buckets, from the end of the model to its start.

    Autograd comes to the last layers first: their bucket travels while earlier layers are still computed. All processes send
    the buckets in one fixed order, whatever order they become ready in. With `at_end`, which all processes must set alike, nothing
    travels before the end, and then in as few messages as there are buffers.

    Args:
        number: In which type gradients travel and are added up. In bf16 half as much travels, and each process's part and each sum
            are rounded, alike in all processes.
    """

    def __init__(
        self,
        team: Team,
        optimizer: HasGroups,
        parameters: dict[str, torch.nn.Parameter],
        number: torch.dtype = torch.float32,
    ) -> None:
        self.team, self.number = team, number
        self.is_last = False  # whether the backward pass now running is the batch's last
        self.at_end = False
        self._whole = [group.grad for group in optimizer.groups]
        self._buckets: list[torch.Tensor] = []
        self._sizes: list[int] = []
        bucket_of: dict[str, int] = {}
        for group in optimizer.groups:
            stops = [*group.starts[1:], group.grad.numel()]
            stop, count = len(group.names), 0
            for index in reversed(range(len(group.names))):
                bucket_of[group.names[index]] = len(self._buckets)
                count += 1
                if stops[stop - 1] - group.starts[index] >= _BUCKET_NUMBERS or index == 0:
                    self._buckets.append(group.grad[group.starts[index] : stops[stop - 1]])
                    self._sizes.append(count)
                    stop, count = index, 0
        self._missing = list(self._sizes)
        self._sent: list[tuple[Any, torch.Tensor, torch.Tensor]] = []  # work, the gradient, and the message made of it
        self._hooks = [
            parameters[name].register_post_accumulate_grad_hook(self._make_hook(bucket)) for name, bucket in bucket_of.items()
        ]

    def _make_hook(self, bucket: int) -> Any:
        def hook(_: torch.Tensor) -> None:
            if self.is_last and not self.at_end:
                self._missing[bucket] -= 1
                while len(self._sent) < len(self._buckets) and self._missing[len(self._sent)] <= 0:
                    self._send()

        return hook

    def _send(self) -> None:
        gradient = (self._whole if self.at_end else self._buckets)[len(self._sent)]
        message = gradient.to(self.number)
        with self.team._talking():
            self._sent.append((dist.all_reduce(message, async_op=True), gradient, message))

    def finish(self) -> None:
        """Send what is left (of parameters without a gradient, or of a slice without rows), and wait for all."""
        while len(self._sent) < len(self._whole if self.at_end else self._buckets):
            self._send()
        with self.team._talking():
            for work, gradient, message in self._sent:
                work.wait()
                if message is not gradient:
                    gradient.copy_(message)
        self._sent, self._missing, self.is_last = [], list(self._sizes), False

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()


@contextlib.contextmanager
def join_team(place: Place, *, uses_gpu: bool, timeout_minutes: float) -> Iterator[Team]:
    """Meet the other processes; a process that is alone meets nobody.

    Args:
        timeout_minutes: How long to wait for a process that does not answer.
    """
    if place.size == 1:
        yield Team(place)
        return
    global has_met
    team, has_met = Team(place), True
    is_ours = not dist.is_initialized()
    if is_ours:
        with team._talking():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if uses_gpu else "gloo",
                init_method=f"file://{place.meeting_file}" if place.meeting_file is not None else "env://",
                rank=place.rank,
                world_size=place.size,
                timeout=datetime.timedelta(minutes=timeout_minutes),
            )
    try:
        yield team
    except Exception:
        raise  # one that failed leaves without a word: saying goodbye could wait for the others for ever
    except BaseException:
        if is_ours:
            dist.destroy_process_group()
        raise
    else:
        if is_ours:
            dist.destroy_process_group()
