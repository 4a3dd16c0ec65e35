"""The training loop: a generator of step reports. It trains and nothing else.

Shapes: B rows of a micro-batch, T tokens in a row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.base.errors import TrainingError
from whelp.base.log import log
from whelp.base.seeds import make_seed
from whelp.train.captured import CapturedCall, Shapes, Timer, Trial, get_shapes
from whelp.train.chunks import Chunk, LossAndState, iter_losses, limit_targets, plan_chunks
from whelp.train.config import TrainConfig
from whelp.train.device import get_product_type
from whelp.train.optimizer import Optimizer
from whelp.train.plan import TrainPlan
from whelp.train.schedule import Schedule
from whelp.train.team import GradientSum, Team

_MOST_SKIPS = 10  # bad batches in a row that are passed over; more are no accident
_CHECKSUM = 1 << 40  # sums of such numbers over thousands of processes are exact in float64
# Where steps are not recorded: with fewer tokens at a time, calling a dozen compiled parts costs more than the half minute of
# compiling all as one: 336 against 437 thousand tokens a second with 8 rows of 1,024 on an H200, and no difference with 64.
_MANY_TOKENS = 1 << 15


class TrainableModel(Protocol):
    """What is trained: `loss(ids, targets, documents)` sums nats over targets that are not ignored."""

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor: ...
    def compile_parts(self) -> None: ...
    def train(self, mode: bool = True) -> object: ...
    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...
    def split_matrix(self, name: str, tensor: torch.Tensor) -> list[torch.Tensor]: ...
    def is_block_matrix(self, name: str) -> bool: ...
    def decays(self, name: str, parameter: torch.Tensor) -> bool: ...
    def learning_rate_scale(self, name: str) -> float: ...

    @property
    def uses_randomness(self) -> bool: ...


@runtime_checkable
class RecurrentModel(Protocol):
    """A model that reads on from a state, so that rows may be trained chunk by chunk."""

    def loss_and_state(
        self, ids: torch.Tensor, targets: torch.Tensor, state: Any, starts: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Any]: ...


class StepOptimizer(Protocol):
    """What updates the weights: `Optimizer`, or `ShardedOptimizer`, whose model adds up gradients by itself."""

    @property
    def is_sharded(self) -> bool: ...
    def clip(self, largest_norm: float) -> torch.Tensor: ...
    def step(self, learning_rate: float) -> None: ...
    def zero_grad(self) -> None: ...


class Rows(Protocol):
    """Rows in an endless order that is a pure function of the seed."""

    def read(self, first: int, count: int, seed: int, *, rank: int = 0, world: int = 1) -> RowBatch: ...


@dataclass
class Progress:
    """How far a run has come: all that resuming needs besides weights and optimizer state."""

    step: int = 0
    rows_read: int = 0
    tokens_trained: int = 0
    elapsed_seconds: float = 0.0
    skipped_steps: int = 0  # batches whose loss or gradient was no number, under `on_bad_loss: skip`
    skipped_in_a_row: int = 0
    rewinds: int = 0  # under `spike_factor`
    recent_losses: list[float] = field(default_factory=list)  # what a spike is compared with


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One optimizer step. `loss` is nats per token of its batch; None between log steps on a GPU (reading it waits).

    `first_row` is the number of its first row in the endless order; `rows_checksum` is of what was read, where asked for.
    """

    step: int
    loss: float | None
    learning_rate: float
    gradient_norm: float | None
    num_tokens: int
    seconds: float
    share_done: float
    is_last: bool
    first_row: int
    is_skipped: bool = False
    rows_checksum: int | None = None


def fit(
    model: TrainableModel,
    optimizer: StepOptimizer,
    rows: Rows,
    plan: TrainPlan,
    config: TrainConfig,
    progress: Progress,
    *,
    team: Team | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[StepReport]:
    """Train until the plan is done; yield a report after every optimizer step. `progress` is kept up to date.

    The gradient is the mean over all targets of the whole batch, however it is divided into processes and micro-batches.

    Args:
        team: The processes that train together; each calls this with its own copy of the model.

    Raises:
        TrainingError: When the loss or the gradient is no longer a finite number, and `on_bad_loss` does not pass it over.
    """
    team = team or Team()
    device = torch.device(plan.device)
    schedule = Schedule(
        kind=config.schedule,
        warmup_share=plan.warmup_share,
        decay_share=config.decay_share,
        final_share=config.final_learning_rate_share,
    )
    data_seed = make_seed(config.seed, "rows")
    before, started, first_step = progress.elapsed_seconds, clock(), progress.step
    waits = config.on_bad_loss == "skip" or not _works_alone(device)  # for the loss, before the weights change
    # A gradient needs only the weights: a GPU has that of the next batch in hand while the loss of the last is read, written down and
    # shown, and never waits for the processor. Not where random numbers are drawn in between.
    runs_ahead = not waits and not model.uses_randomness
    model.train()
    optimizer.zero_grad()
    ahead: _Pass | None = None
    with contextlib.closing(_Backward(model, optimizer, plan, config, team)) as backward:

        def compute(first_row: int) -> _Pass:
            batch = rows.read(first_row, plan.batch_rows, data_seed, rank=team.rank, world=team.size)
            batch = limit_targets(batch, config)
            checksum = _check_rows(batch, plan.batch_rows * team.rank // team.size) if config.record_rows else 0
            own_targets = int(np.count_nonzero(batch.targets != IGNORED))
            num_targets, checksum = map(int, team.add([own_targets, checksum]))
            return _Pass(backward(batch, num_targets), num_targets, checksum)

        while True:
            begun, first_row = clock(), progress.rows_read
            share = _share_done(progress, plan)
            if share >= 1.0:
                return
            if model.uses_randomness:
                place = (team.rank,) if team.size > 1 else ()
                torch.manual_seed(make_seed(config.seed, "dropout", progress.step, *place))
            now, ahead = ahead or compute(first_row), None
            norm = optimizer.clip(config.clip_gradient_norm)
            # the warm-up's first step is not wasted on a rate of zero: the schedule is read at the end of the step
            learning_rate = config.peak_learning_rate * schedule.at(share + 1.0 / max(plan.num_steps, 1))
            is_read = waits or (progress.step + 1) % config.log_every_steps == 0
            if is_read:
                team.add_tensor(now.loss)
            numbers = _Numbers(now.loss, norm) if is_read else None
            if not waits:
                optimizer.step(learning_rate)
                optimizer.zero_grad()
                is_over = plan.budget_seconds is None and progress.step + 1 >= plan.num_steps
                if runs_ahead and not is_over and progress.step > first_step:  # the first step is told at once
                    ahead = compute(first_row + plan.batch_rows)
            loss_value, norm_value = (None, None) if numbers is None else numbers.read()
            is_skipped = _is_bad(loss_value, norm_value, config, progress)
            if waits and not is_skipped:
                optimizer.step(learning_rate)
            if waits:
                optimizer.zero_grad()
            progress.step += 1
            progress.rows_read += plan.batch_rows
            progress.tokens_trained += 0 if is_skipped else now.num_targets
            progress.elapsed_seconds = before + clock() - started
            if plan.budget_seconds is not None:  # all stop at one step: by the first one's clock
                progress.elapsed_seconds = team.add([progress.elapsed_seconds if team.is_first else 0.0])[0]
            share = _share_done(progress, plan)
            yield StepReport(
                step=progress.step,
                loss=loss_value,
                learning_rate=learning_rate,
                gradient_norm=norm_value,
                num_tokens=now.num_targets,
                seconds=clock() - begun,
                share_done=share,
                is_last=share >= 1.0,
                first_row=first_row,
                is_skipped=is_skipped,
                rows_checksum=now.checksum % _CHECKSUM if config.record_rows else None,
            )


def _works_alone(device: torch.device) -> bool:
    """Whether work is only handed to a device here, and done while the program goes on."""
    return device.type != "cpu"


@dataclass(frozen=True)
class _Pass:
    """What a batch left beside its gradient. The next pass overwrites `loss`, this process's part of it."""

    loss: torch.Tensor
    num_targets: int  # in all processes
    checksum: int


class _Numbers:
    """A loss and a gradient's norm on their way from a GPU: `read` waits for them alone, not for work given out since."""

    def __init__(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        self.values = torch.stack([loss.float(), norm.float()])
        self.arrival: torch.cuda.Event | None = None
        if self.values.is_cuda:
            self.values = torch.empty(2, pin_memory=True).copy_(self.values, non_blocking=True)
            self.arrival = torch.cuda.Event()
            self.arrival.record()

    def read(self) -> tuple[float, float]:
        if self.arrival is not None:
            self.arrival.synchronize()
        loss, norm = self.values.tolist()
        return loss, norm


class _Backward:
    """Loss and gradient of a batch: micro-batch by micro-batch here, added up over all processes.

    On a GPU a micro-batch of sizes that come again is recorded as a CUDA graph, and replayed from then on.
    """

    def __init__(
        self, model: TrainableModel, optimizer: StepOptimizer, plan: TrainPlan, config: TrainConfig, team: Team
    ) -> None:
        self.plan, self.config, self.team = plan, config, team
        self.device, self.optimizer = torch.device(plan.device), optimizer
        self.is_sharded = optimizer.is_sharded
        self.most_rows = math.ceil(plan.batch_rows / team.size)  # of any process
        self.precision = get_product_type(plan.precision)
        self.compute = model.loss
        self.compute_on: LossAndState | None = model.loss_and_state if isinstance(model, RecurrentModel) else None
        self.loss = torch.zeros((), device=self.device)
        self.num_targets = torch.ones((), device=self.device)  # of the batch, in all processes
        self.graph: CapturedCall | None = None
        self.may_record = self.device.type == "cuda" and not self.is_sharded and not model.uses_randomness
        self.trial = Trial(Timer) if self.may_record and team.size > 1 else None
        self.last_shapes: Shapes | None = None
        is_in_parts = self.may_record or self.compute_on is not None  # what reads on from a state has graphs of its own
        if plan.compile and (is_in_parts or plan.micro_batch_rows * plan.context_tokens >= _MANY_TOKENS):
            model.compile_parts()
        elif plan.compile:
            self.compute = torch.compile(model.loss, dynamic=False)
        self.sum: GradientSum | None = None
        if isinstance(optimizer, Optimizer) and team.size > 1:
            self.sum = GradientSum(team, optimizer, dict(model.named_parameters()))

    def __call__(self, batch: RowBatch, num_targets: int) -> torch.Tensor:
        """Leave the gradient of the mean over `num_targets` in place; return this process's part of the loss.

        The returned tensor is overwritten by the next call.
        """
        if self.trial is not None:
            self.trial.begin_step()
        self._compute(batch, num_targets)
        if self.sum is not None:
            self.sum.finish()
        if self.trial is not None:
            self._choose(self.trial)
        return self.loss

    def _compute(self, batch: RowBatch, num_targets: int) -> None:
        num_rows, at_once = len(batch.ids), self.plan.micro_batch_rows
        self.loss.zero_()
        self.num_targets.fill_(max(num_targets, 1))
        if self.is_sharded and num_rows < self.most_rows:  # all gather each weight equally often: compute a row for nothing
            batch, num_rows = _add_empty_row(batch), self.most_rows
        if self.is_sharded and self.config.bptt_tokens is not None:  # and equally many chunks
            batch = _widen(batch, int(self.team.largest([batch.ids.shape[1]])[0]))
        for first in range(0, num_rows, at_once):
            piece = slice(first, first + at_once)
            arrays = (batch.ids[piece], batch.targets[piece], None if batch.documents is None else batch.documents[piece])
            is_last = first + at_once >= num_rows
            tensors = [None if array is None else torch.from_numpy(array) for array in arrays]
            if self.device.type == "cuda":
                tensors = [None if tensor is None else tensor.pin_memory() for tensor in tensors]
            if self._is_cut(batch):
                self._add_chunks(tensors, self._plan_chunks(batch, piece), is_last=is_last)
                continue
            if self._is_recorded(tensors, is_first=first == 0) and self.graph is not None:
                self.graph(tensors)  # and what is not sent on the way is sent at the end
                continue
            if self.sum is not None:
                self.sum.is_last = is_last
            self._add(*(tensor if tensor is None else tensor.to(self.device, non_blocking=True) for tensor in tensors))

    def _choose(self, trial: Trial) -> None:
        """Of several processes: keep the recorded step if it is the faster one, in all processes alike."""
        times = trial.end_step()
        if times is None:
            return
        apart, recorded = self.team.add([*times])
        self.trial = None
        if recorded >= apart or self.graph is None:
            self.graph, self.may_record = None, False

    def _add(self, ids: torch.Tensor | None, targets: torch.Tensor | None, documents: torch.Tensor | None) -> None:
        """Add the loss and the gradient of a micro-batch to what is there."""
        assert ids is not None, "a batch without ids"
        assert targets is not None, "a batch without targets"
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            nats = self.compute(ids, targets, documents)
        mean = nats / self.num_targets
        mean.backward()
        self.loss += mean.detach()

    def _is_cut(self, batch: RowBatch) -> bool:
        """Whether the rows are trained in chunks; one answer for all that share weights, though their rows differ in width."""
        tokens = self.config.bptt_tokens
        return tokens is not None and (self.is_sharded or tokens < batch.ids.shape[1])

    def _add_chunks(self, tensors: list[torch.Tensor | None], chunks: list[Chunk], *, is_last: bool) -> None:
        """Add the loss and the gradient of a micro-batch of rows that are cut."""
        ids, targets, documents = (None if part is None else part.to(self.device, non_blocking=True) for part in tensors)
        assert ids is not None, "a batch without ids"
        assert targets is not None, "a batch without targets"
        num_backwards = sum(chunk.is_trained for chunk in chunks)
        if self.compute_on is not None and not self.config.bptt_truncated_learning:
            num_backwards = min(num_backwards, 1)
        losses = iter_losses(self.compute_on, self.compute, ids, targets, documents, chunks, self.config)
        for number in range(1, num_backwards + 1):
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                nats = next(losses)
            mean = nats / self.num_targets
            if self.sum is not None:
                self.sum.is_last = is_last and number == num_backwards
            mean.backward()
            self.loss += mean.detach()

    def _is_recorded(self, tensors: list[torch.Tensor | None], *, is_first: bool) -> bool:
        """Whether the graph takes these sizes; recorded where the same sizes came before, and nothing is added up yet."""
        if not self.may_record or (self.compute_on is not None and tensors[2] is not None):
            return False  # where documents begin decides the sizes of a recurrent kernel's work
        if self.graph is not None:
            return self.graph.fits(tensors)
        shapes = get_shapes(tensors)
        comes_again, self.last_shapes = shapes == self.last_shapes, shapes
        if self.trial is not None and not self.trial.tries_second:
            return False
        if comes_again and is_first:
            own = [None if tensor is None else tensor.to(self.device) for tensor in tensors]
            try:
                self.graph = CapturedCall(self._add, own, self._forget, has_company=self.team.size > 1)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self.may_record = False
                self._forget()
                log.warning("steps are not recorded as a CUDA graph (%s): small batches are slower", str(error).splitlines()[0])
        return self.graph is not None

    def _forget(self) -> None:
        self.optimizer.zero_grad()
        self.loss.zero_()

    def _plan_chunks(self, batch: RowBatch, piece: slice) -> list[Chunk]:
        """The chunks of a micro-batch; where a gathered weight is everybody's, all compute equally many."""
        part = RowBatch(batch.ids[piece], batch.targets[piece])
        if not self.is_sharded:
            return plan_chunks(part, self.config)
        most = int(self.team.largest([len(plan_chunks(part, self.config))])[0])
        return [dataclasses.replace(chunk, is_trained=True) for chunk in plan_chunks(part, self.config, num_chunks=most)]

    def close(self) -> None:
        """Leave the model as it was."""
        if self.sum is not None:
            self.sum.close()


def _add_empty_row(batch: RowBatch) -> RowBatch:
    """One row more, without a target."""
    targets = np.concatenate([batch.targets, np.full_like(batch.targets[:1], IGNORED)])
    documents = None if batch.documents is None else np.concatenate([batch.documents, batch.documents[:1]])
    return RowBatch(np.concatenate([batch.ids, batch.ids[:1]]), targets, documents)


def _widen(batch: RowBatch, width: int) -> RowBatch:
    """Rows of so many tokens, by pads at their ends."""
    missing = ((0, 0), (0, width - batch.ids.shape[1]))
    documents = None if batch.documents is None else np.pad(batch.documents, missing, constant_values=-1)
    return RowBatch(np.pad(batch.ids, missing), np.pad(batch.targets, missing, constant_values=IGNORED), documents)


def _is_bad(loss: float | None, norm: float | None, config: TrainConfig, progress: Progress) -> bool:
    """Whether to pass this batch over; counts those that are."""
    values = {"the loss": loss, "the gradient's norm": norm}
    bad = {name: value for name, value in values.items() if value is not None and not math.isfinite(value)}
    if not bad:
        progress.skipped_in_a_row = 0
        return False
    name, value = next(iter(bad.items()))
    advice = "Lower train.learning_rate or raise train.warmup_share, then start a new run."
    if config.on_bad_loss == "stop":
        raise TrainingError(f"step {progress.step + 1}", f"{name} is {value}", "a finite number", advice)
    progress.skipped_steps += 1
    progress.skipped_in_a_row += 1
    if progress.skipped_in_a_row > _MOST_SKIPS:
        found = f"{name} is {value}, and {_MOST_SKIPS} batches before were passed over for the same reason"
        raise TrainingError(f"step {progress.step + 1}", found, "a finite number", advice)
    return True


def _check_rows(batch: RowBatch, first: int) -> int:
    """A number that depends on every row read and on its place in the global batch; numbers of slices add up."""
    total = 0
    for place, (ids, targets) in enumerate(zip(batch.ids, batch.targets, strict=True), first):
        is_target = targets != IGNORED  # pads differ with the rows that are read together, and do not matter
        total += zlib.crc32(targets[is_target].tobytes(), zlib.crc32(ids[is_target].tobytes())) * (2 * place + 1)
    return total % _CHECKSUM


def _share_done(progress: Progress, plan: TrainPlan) -> float:
    if plan.budget_seconds is not None:
        return min(progress.elapsed_seconds / plan.budget_seconds, 1.0)
    return progress.step / plan.num_steps
