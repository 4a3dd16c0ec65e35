"""The training loop: a generator of step reports. It trains and nothing else.

Shapes: B rows of a micro-batch, T tokens in a row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
import time
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.base.errors import TrainingError
from whelp.base.seeds import make_seed
from whelp.train.backward import Backward, StepOptimizer, TrainableModel
from whelp.train.config import TrainConfig
from whelp.train.device import free_idle_memory, is_out_of_memory
from whelp.train.plan import TrainPlan
from whelp.train.process_group import ProcessGroup
from whelp.train.schedule import make_schedule
from whelp.train.truncated_backpropagation import limit_targets

_MOST_SKIPS = 10  # bad batches in a row that are passed over; more are no accident
_CHECKSUM = 1 << 40  # sums of such numbers over thousands of processes are exact in float64


class Rows(Protocol):
    """Rows in an endless order that is a pure function of the seed."""

    def read(self, first: int, count: int, seed: int, *, rank: int = 0, world: int = 1) -> RowBatch: ...


class TornStepError(TrainingError):
    """Memory did not suffice while weights were changed: some are those of the next step, and training cannot go on with them."""


@dataclass
class Progress:
    """How far a run has come: all that resuming needs besides weights and optimizer state."""

    step: int = 0
    rows_read: int = 0
    tokens_trained: int = 0
    elapsed_seconds: float = 0.0  # all that passed, with evaluations and checkpoints
    training_seconds: float = 0.0  # of the steps alone
    skipped_steps: int = 0  # batches whose loss or gradient was no number, under `on_bad_loss: skip`
    skipped_in_a_row: int = 0
    rewinds: int = 0  # under `spike_factor`
    recent_losses: list[float] = field(default_factory=list)  # what a spike is compared with
    best_step: int = 0
    best_test_loss: float | None = None  # nats per token, of the evaluation after `best_step`; None before the first
    evaluations_since_best: int = 0

    def count_evaluation(self, test_loss: float) -> None:
        """Remember the lowest test loss, and how many evaluations have come after it; no number is no loss."""
        if math.isfinite(test_loss) and (self.best_test_loss is None or test_loss < self.best_test_loss):
            self.best_step, self.best_test_loss, self.evaluations_since_best = self.step, test_loss, 0
        else:
            self.evaluations_since_best += 1


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One optimizer step. `loss` is nats per token of its batch; None between log steps on a GPU (reading it waits).

    `first_row` is the number of its first row in the endless order, `num_rows` how many it has; `rows_checksum` is of what was
    read, where asked for.
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
    num_rows: int = 0
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
    processes: ProcessGroup | None = None,
    clock: Callable[[], float] = time.perf_counter,
    told: float | None = None,
) -> Generator[StepReport]:
    """Train until the plan is done; yield a report after every optimizer step. `progress` is kept up to date.

    The gradient is the mean over all targets of the whole batch, however it is divided into processes and micro-batches.

    Args:
        processes: The processes that train together; each calls this with its own copy of the model.
        told: What the clock was when `progress` was up to date; by default, now.

    Raises:
        TrainingError: When the loss or the gradient is no longer a finite number, and `on_bad_loss` does not pass it over.
        TornStepError: When memory does not suffice while weights are changed. Where it does not for a gradient, what PyTorch raises
            goes through; in one process `progress` is that of the weights, of several the weights may be a step further.
    """
    processes = processes or ProcessGroup()
    device = torch.device(plan.device)
    schedule = make_schedule(config, plan)
    before, started, first_step = progress.elapsed_seconds, clock() if told is None else told, progress.step
    waits = config.on_bad_loss == "skip" or not _works_alone(device)  # for the loss, before the weights change
    # A gradient needs only the weights: a GPU has that of the next batch in hand while the loss of the last is read, written down and
    # shown, and never waits for the processor. Not where random numbers are drawn in between.
    runs_ahead = not waits and not model.uses_randomness
    model.train()
    ahead: _Pass | None = None
    ramp = plan.ramp
    with contextlib.closing(_Gradients(model, optimizer, rows, plan, config, processes)) as gradients:
        while True:
            begun, first_row = clock(), progress.rows_read
            share = find_share_done(progress, plan)
            if share >= 1.0:
                return
            if model.uses_randomness:
                own = (processes.rank,) if processes.size > 1 else ()
                torch.manual_seed(make_seed(config.seed, "dropout", progress.step, *own))
            now, ahead = ahead or gradients.compute(first_row, ramp.find_rows(share)), None
            norm = optimizer.clip(config.clip_gradient_norm)
            # the warm-up's first step is not wasted on a rate of zero: the schedule is read at the end of the step
            learning_rate = config.peak_learning_rate * schedule.at(share + 1.0 / max(plan.num_steps, 1))
            is_read = waits or (progress.step + 1) % config.log_every_steps == 0
            if is_read:
                processes.add_tensor(now.loss)
            numbers = _Numbers(now.loss, norm) if is_read else None
            if not waits:
                _update(optimizer, learning_rate, progress)
                is_over = plan.budget_seconds is None and progress.step + 1 >= plan.num_steps
                if runs_ahead and not is_over and progress.step > first_step:  # the first step is told at once
                    after = dataclasses.replace(progress, step=progress.step + 1, rows_read=progress.rows_read + now.num_rows)
                    next_rows = ramp.find_rows(find_share_done(after, plan))
                    if next_rows == now.num_rows:  # the next size does not begin while this one's numbers are on their way
                        ahead = gradients.compute_ahead(first_row + now.num_rows, next_rows)
            loss_value, norm_value = (None, None) if numbers is None else numbers.read()
            is_skipped = _is_bad(loss_value, norm_value, config, progress)
            if is_skipped:
                optimizer.zero_grad()  # what lies between the parameters in their buffers is no number now, either
            elif waits:
                _update(optimizer, learning_rate, progress)
            progress.step += 1
            progress.rows_read += now.num_rows
            progress.tokens_trained += 0 if is_skipped else now.num_targets
            progress.elapsed_seconds = before + clock() - started
            if plan.budget_seconds is not None:  # all stop at one step: by the first one's clock
                progress.elapsed_seconds = processes.add([progress.elapsed_seconds if processes.is_first else 0.0])[0]
            share = find_share_done(progress, plan)
            seconds = clock() - begun
            progress.training_seconds += seconds
            yield StepReport(
                step=progress.step,
                loss=loss_value,
                learning_rate=learning_rate,
                gradient_norm=norm_value,
                num_tokens=now.num_targets,
                seconds=seconds,
                share_done=share,
                is_last=share >= 1.0,
                first_row=first_row,
                num_rows=now.num_rows,
                is_skipped=is_skipped,
                rows_checksum=now.checksum % _CHECKSUM if config.record_rows else None,
            )


def _update(optimizer: StepOptimizer, learning_rate: float, progress: Progress) -> None:
    try:
        optimizer.step(learning_rate)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        found = "out of memory while the weights were changed: some have changed, others not"
        advice = "The same command goes on from the last checkpoint."
        raise TornStepError(f"step {progress.step + 1}", found, "", advice) from None


def _works_alone(device: torch.device) -> bool:
    """Whether work is only handed to a device here, and done while the program goes on."""
    return device.type != "cpu"


@dataclass(frozen=True)
class _Pass:
    """What a batch left beside its gradient. The next pass overwrites `loss`, this process's part of it."""

    loss: torch.Tensor
    num_targets: int  # in all processes
    num_rows: int  # likewise
    checksum: int


class _Gradients:
    """The gradient of one batch after another; what was recorded or compiled is of one size, and is made anew for the next."""

    def __init__(
        self,
        model: TrainableModel,
        optimizer: StepOptimizer,
        rows: Rows,
        plan: TrainPlan,
        config: TrainConfig,
        processes: ProcessGroup,
    ) -> None:
        self.model, self.optimizer, self.rows = model, optimizer, rows
        self.plan, self.config, self.processes = plan, config, processes
        self.seed = make_seed(config.seed, "rows")
        self.backward: Backward | None = None
        self.backward_rows = 0

    def compute(self, first_row: int, num_rows: int) -> _Pass:
        """Read this process's slice of a batch, and leave its gradient in the parameters."""
        rank, world = self.processes.rank, self.processes.size
        backward = self._open(num_rows)
        batch = limit_targets(self.rows.read(first_row, num_rows, self.seed, rank=rank, world=world), self.config)
        checksum = _check_rows(batch, num_rows * rank // world) if self.config.record_rows else 0
        own_targets = int(np.count_nonzero(batch.targets != IGNORED))
        num_targets, checksum = map(int, self.processes.add([own_targets, checksum]))
        return _Pass(backward(batch, num_targets), num_targets, num_rows, checksum)

    def compute_ahead(self, first_row: int, num_rows: int) -> _Pass | None:
        """`compute`, for the batch after one whose step is not yet told; None where memory does not suffice.

        That is met again, and raised, once it is told. Others that have sent their gradients cannot begin again: then it is raised at once.
        """
        try:
            return self.compute(first_row, num_rows)
        except (RuntimeError, MemoryError) as error:
            if self.processes.size > 1 or not is_out_of_memory(error):
                raise
        return None

    def _open(self, num_rows: int) -> Backward:
        if self.backward is None or num_rows != self.backward_rows:
            self.close()
            plan = self.plan.at_batch(num_rows)
            self.backward = Backward(self.model, self.optimizer, plan, self.config, self.processes)
            self.backward_rows = num_rows
        return self.backward

    def close(self) -> None:
        """Give back the memory of what was recorded."""
        if self.backward is not None:
            self.backward.close()
            self.backward = None
            free_idle_memory(torch.device(self.plan.device))  # what was recorded of one size would lie beside the next


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


def has_only_numbers(model: torch.nn.Module) -> bool:
    """Whether every weight that this process has is a finite number; one look at all of them, one wait for a GPU."""
    to_own = operator.methodcaller("to_local")  # of a divided model; its type takes a second to import
    weights = [to_own(weight) if hasattr(weight, "to_local") else weight for weight in model.parameters()]
    own = [weight.detach() for weight in weights if weight.numel()]
    if not own:
        return True
    largest = torch._foreach_norm(own, ord=math.inf)
    return bool(torch.isfinite(torch.stack([value.float() for value in largest])).all())


def _check_rows(batch: RowBatch, first: int) -> int:
    """A number that depends on every row read and on its place in the global batch; numbers of slices add up."""
    total = 0
    for place, (ids, targets) in enumerate(zip(batch.ids, batch.targets, strict=True), first):
        is_target = targets != IGNORED  # pads differ with the rows that are read together, and do not matter
        total += zlib.crc32(targets[is_target].tobytes(), zlib.crc32(ids[is_target].tobytes())) * (2 * place + 1)
    return total % _CHECKSUM


def find_share_done(progress: Progress, plan: TrainPlan) -> float:
    """How much of a run is done, by steps, or by the clock and by rows where they have a limit; 1 at its end."""
    if plan.budget_seconds is not None:
        by_rows = 0.0 if plan.most_rows is None else progress.rows_read / plan.most_rows
        return min(max(progress.elapsed_seconds / plan.budget_seconds, by_rows), 1.0)
    return progress.step / plan.num_steps
