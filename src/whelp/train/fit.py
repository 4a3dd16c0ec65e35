"""The training loop: a generator of step reports. It trains and nothing else.

Shapes: B rows of a micro-batch, T tokens in a row.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.base.errors import TrainingError
from whelp.base.seeds import make_seed
from whelp.train.config import TrainConfig
from whelp.train.optimizer import Optimizer
from whelp.train.plan import TrainPlan
from whelp.train.schedule import Schedule

# With fewer tokens at a time, calling a dozen compiled parts costs more than the half minute of compiling all as one:
# 336 against 437 thousand tokens a second with 8 rows of 1,024 on an H200, and no difference with 64.
_MANY_TOKENS = 1 << 15


class TrainableModel(Protocol):
    """What is trained: `loss(ids, targets, documents)` sums nats over targets that are not ignored."""

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor: ...
    def compile_parts(self) -> None: ...
    def train(self, mode: bool = True) -> object: ...
    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...
    def split_matrix(self, name: str, tensor: torch.Tensor) -> list[torch.Tensor]: ...
    def is_block_matrix(self, name: str) -> bool: ...
    @property
    def uses_randomness(self) -> bool: ...


class Rows(Protocol):
    """Rows in an endless order that is a pure function of the seed."""

    def read(self, first: int, count: int, seed: int) -> RowBatch: ...


@dataclass
class Progress:
    """How far a run has come: all that resuming needs besides weights and optimizer state."""

    step: int = 0
    rows_read: int = 0
    tokens_trained: int = 0
    elapsed_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One optimizer step. `loss` is nats per token of its batch; None between log steps on a GPU (reading it waits)."""

    step: int
    loss: float | None
    learning_rate: float
    gradient_norm: float | None
    num_tokens: int
    seconds: float
    share_done: float
    is_last: bool


def fit(
    model: TrainableModel,
    optimizer: Optimizer,
    rows: Rows,
    plan: TrainPlan,
    config: TrainConfig,
    progress: Progress,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[StepReport]:
    """Train until the plan is done; yield a report after every optimizer step. `progress` is kept up to date.

    The gradient is the mean over all targets of the whole batch, however it is divided into micro-batches.

    Raises:
        TrainingError: When the loss is no longer a finite number.
    """
    device = torch.device(plan.device)
    precision = torch.bfloat16 if plan.precision == "bf16" else torch.float32
    schedule = Schedule(
        kind=config.schedule,
        warmup_share=plan.warmup_share,
        decay_share=config.decay_share,
        final_share=config.final_learning_rate_share,
    )
    compute_loss = model.loss
    if plan.compile and plan.micro_batch_rows * plan.context_tokens >= _MANY_TOKENS:
        model.compile_parts()
    elif plan.compile:
        compute_loss = torch.compile(model.loss, dynamic=False)
    data_seed = make_seed(config.seed, "rows")
    before, started = progress.elapsed_seconds, clock()
    model.train()
    while True:
        begun = clock()
        share = _share_done(progress, plan)
        if share >= 1.0:
            return
        if model.uses_randomness:
            torch.manual_seed(make_seed(config.seed, "dropout", progress.step))
        batch = rows.read(progress.rows_read, plan.batch_rows, data_seed)
        num_targets = int(np.count_nonzero(batch.targets != IGNORED))
        loss = torch.zeros((), device=device)
        for first in range(0, plan.batch_rows, plan.micro_batch_rows):
            piece = slice(first, first + plan.micro_batch_rows)
            ids, targets = _to_device(batch.ids[piece], device), _to_device(batch.targets[piece], device)
            documents = None if batch.documents is None else _to_device(batch.documents[piece], device)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                nats = compute_loss(ids, targets, documents)
            mean = nats / max(num_targets, 1)
            mean.backward()
            loss += mean.detach()
        norm = optimizer.clip(config.clip_gradient_norm)
        # the warm-up's first step is not wasted on a rate of zero: the schedule is read at the end of the step
        learning_rate = config.learning_rate * schedule.at(share + 1.0 / max(plan.num_steps, 1))
        optimizer.step(learning_rate)
        optimizer.zero_grad()
        progress.step += 1
        progress.rows_read += plan.batch_rows
        progress.tokens_trained += num_targets
        is_read = device.type == "cpu" or progress.step % config.log_every_steps == 0
        loss_value = float(loss) if is_read else None
        progress.elapsed_seconds = before + clock() - started
        share = _share_done(progress, plan)
        if loss_value is not None and not math.isfinite(loss_value):
            raise TrainingError(
                f"step {progress.step}",
                f"the loss is {loss_value}",
                "a finite number",
                "Lower train.learning_rate or raise train.warmup_share, then start a new run.",
            )
        yield StepReport(
            step=progress.step,
            loss=loss_value,
            learning_rate=learning_rate,
            gradient_norm=float(norm) if is_read else None,
            num_tokens=num_targets,
            seconds=clock() - begun,
            share_done=share,
            is_last=share >= 1.0,
        )


def _share_done(progress: Progress, plan: TrainPlan) -> float:
    if plan.budget_seconds is not None:
        return min(progress.elapsed_seconds / plan.budget_seconds, 1.0)
    return progress.step / plan.num_steps


def _to_device(array: npt.NDArray[np.int64] | npt.NDArray[np.int32], device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
