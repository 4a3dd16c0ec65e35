"""The gradient of a batch: micro-batch by micro-batch here, added up over all processes, recorded on GPUs.

Shapes: B rows of a micro-batch, T tokens in a row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.base.errors import say_first_line
from whelp.base.log import log
from whelp.base.start_up import start_up
from whelp.train.bf16_weights import NarrowWeights
from whelp.train.config import TrainConfig
from whelp.train.cuda_graph import CapturedCall, Shapes, get_shapes
from whelp.train.device import get_product_type
from whelp.train.gradient_buffers import GradientBuffers
from whelp.train.gradient_sum import GradientSum
from whelp.train.optimizer import Optimizer
from whelp.train.plan import TrainPlan
from whelp.train.process_group import ProcessGroup
from whelp.train.step_trial import Timer, Trial
from whelp.train.truncated_backpropagation import Chunk, LossAndState, iter_losses, plan_chunks

# Where steps are not recorded: with fewer tokens at a time, calling a dozen compiled parts costs more than the half minute of
# compiling all as one: 336 against 437 thousand tokens a second with 8 rows of 1,024 on an H200, and no difference with 64.
_MANY_TOKENS = 1 << 15


class TrainableModel(Protocol):
    """What is trained: `loss(ids, targets, documents)` sums nats over targets that are not ignored."""

    uses_eight_bits: bool

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
    @property
    def reads_narrow_weights(self) -> bool: ...


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


class Backward:
    """Loss and gradient of a batch: micro-batch by micro-batch here, added up over all processes.

    On a GPU a micro-batch of sizes that come again is recorded as a CUDA graph, and replayed from then on.
    """

    def __init__(
        self, model: TrainableModel, optimizer: StepOptimizer, plan: TrainPlan, config: TrainConfig, processes: ProcessGroup
    ) -> None:
        self.plan, self.config, self.processes = plan, config, processes
        self.device, self.optimizer = torch.device(plan.device), optimizer
        self.is_sharded = optimizer.is_sharded
        self.most_rows = math.ceil(plan.batch_rows / processes.size)  # of any process
        self.precision = get_product_type(plan.precision)
        self.model = model
        model.uses_eight_bits = plan.precision == "fp8"
        self.compute = model.loss
        self.compute_on: LossAndState | None = model.loss_and_state if isinstance(model, RecurrentModel) else None
        self.loss = torch.zeros((), device=self.device)
        self.num_targets = torch.ones((), device=self.device)  # of the batch, in all processes
        self.graph: CapturedCall | None = None
        self.may_record = self.device.type == "cuda" and not self.is_sharded and not model.uses_randomness
        self.adds_recorded = self.may_record and plan.micro_batch_rows < self.most_rows  # a recorded pass is one of several
        self.trial = Trial(Timer) if self.may_record and processes.size > 1 else None
        self.last_shapes: Shapes | None = None
        is_in_parts = self.may_record or self.compute_on is not None  # what reads on from a state has graphs of its own
        if plan.compile and (is_in_parts or plan.micro_batch_rows * plan.context_tokens >= _MANY_TOKENS):
            model.compile_parts()
            start_up.reach("kernels")
        elif plan.compile:
            self.compute = torch.compile(model.loss, dynamic=False)
        self.buffers: GradientBuffers | None = None
        self.sum: GradientSum | None = None
        self.narrow: NarrowWeights | None = None
        if isinstance(optimizer, Optimizer):
            if model.reads_narrow_weights and self.precision == torch.bfloat16 and optimizer.in_one_pass:
                self.narrow = NarrowWeights(optimizer, dict(model.named_parameters()))
            self.buffers = GradientBuffers(optimizer, dict(model.named_parameters()), is_alone=processes.size == 1)
            if processes.size > 1:
                number = torch.bfloat16 if config.add_gradients_in == "bf16" else torch.float32
                self.sum = GradientSum(processes, optimizer, dict(model.named_parameters()), number)

    def __call__(self, batch: RowBatch, num_targets: int) -> torch.Tensor:
        """Leave the gradient of the mean over `num_targets` in place; return this process's part of the loss.

        The returned tensor is overwritten by the next call.
        """
        if self.trial is not None and self.sum is not None:
            self.trial.begin_step()
            self.sum.at_end = self.trial.tries_second
        if self.narrow is not None:
            self.narrow.check()
        self._forget()
        self._compute(batch, num_targets)
        if self.buffers is not None:
            self.buffers.finish()
        if self.sum is not None:
            self.sum.finish()
        if self.trial is not None:
            self._choose(self.trial)
        return self.loss

    def _compute(self, batch: RowBatch, num_targets: int) -> None:
        num_rows, at_once = len(batch.ids), self.plan.micro_batch_rows
        self.num_targets.fill_(max(num_targets, 1))
        if self.is_sharded and num_rows < self.most_rows:  # all gather each weight equally often: compute a row for nothing
            batch, num_rows = _add_empty_row(batch), self.most_rows
        if self.is_sharded and self.config.bptt_tokens is not None:  # and equally many chunks
            batch = _widen(batch, int(self.processes.largest([batch.ids.shape[1]])[0]))
        for first in range(0, num_rows, at_once):
            piece = slice(first, first + at_once)
            arrays = (batch.ids[piece], batch.targets[piece], None if batch.documents is None else batch.documents[piece])
            is_last = first + at_once >= num_rows
            tensors = [None if array is None else torch.from_numpy(array) for array in arrays]
            if self._is_cut(batch):
                self._add_chunks(self._send(tensors), self._plan_chunks(batch, piece), is_last=is_last)
                continue
            if self._is_recorded(tensors, is_first=first == 0) and self.graph is not None:
                self.graph(tensors)
                if self.sum is not None and is_last:
                    self.sum.send_marked()
                if self.buffers is not None and not self.adds_recorded:
                    self.buffers.take_up()
                continue
            if self.sum is not None:
                self.sum.is_last = is_last
            self._add(*self._send(tensors))

    def _send(self, tensors: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
        """To the device; one of NVIDIA's copies from pinned memory while the processor goes on.

        Apple's would read what has been freed by then (github.com/pytorch/pytorch/issues/189690).
        """
        if self.device.type != "cuda":
            return [None if tensor is None else tensor.to(self.device) for tensor in tensors]
        return [None if tensor is None else tensor.pin_memory().to(self.device, non_blocking=True) for tensor in tensors]

    def _choose(self, trial: Trial) -> None:
        """Of several processes: send gradients on their way or at the end, whichever is the faster, in all processes alike."""
        times = trial.end_step()
        if times is None:
            return
        on_the_way, at_end = self.processes.add([*times])
        self.trial = None
        if self.sum is not None:
            self.sum.at_end = at_end < on_the_way
        log.info(
            "a step takes %.2f ms with gradients sent while it is computed, %.2f with all sent at its end",
            on_the_way / self.processes.size,
            at_end / self.processes.size,
        )

    def _add(self, ids: torch.Tensor | None, targets: torch.Tensor | None, documents: torch.Tensor | None) -> None:
        """Add the loss and the gradient of a micro-batch to what is there."""
        assert ids is not None, "a batch without ids"
        assert targets is not None, "a batch without targets"
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            nats = self.compute(ids, targets, documents)
        mean = nats / self.num_targets
        mean.backward()
        self.loss += mean.detach()

    def _add_recorded(self, *tensors: torch.Tensor | None) -> None:
        """`_add`, which begins by forgetting the gradients of the batch before if it is all of a batch."""
        with self.sum.marking() if self.sum is not None else contextlib.nullcontext():
            if self.buffers is None or self.adds_recorded:
                self._add(*tensors)
                return
            self.buffers.begin()
            self._add(*tensors)
            self.buffers.finish()

    def _is_cut(self, batch: RowBatch) -> bool:
        """Whether the rows are trained in chunks; one answer for all that share weights, though their rows differ in width."""
        tokens = self.config.bptt_tokens
        return tokens is not None and (self.is_sharded or tokens < batch.ids.shape[1])

    def _add_chunks(self, tensors: list[torch.Tensor | None], chunks: list[Chunk], *, is_last: bool) -> None:
        """Add the loss and the gradient of a micro-batch of rows that are cut."""
        ids, targets, documents = tensors
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
        if comes_again and is_first:
            own = [None if tensor is None else tensor.to(self.device) for tensor in tensors]
            try:
                self.graph = CapturedCall(self._add_recorded, own, self._forget, has_company=self.processes.size > 1)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self.may_record = False
                self._forget()
                log.warning("steps are not recorded as a CUDA graph (%s): small batches are slower", say_first_line(error))
        return self.graph is not None

    def _forget(self) -> None:
        """No gradient and no loss of this batch is there yet."""
        if self.buffers is None or self.adds_recorded:
            self.optimizer.zero_grad()
        else:
            self.buffers.begin()
        self.loss.zero_()

    def _plan_chunks(self, batch: RowBatch, piece: slice) -> list[Chunk]:
        """The chunks of a micro-batch; where a gathered weight is everybody's, all compute equally many."""
        part = RowBatch(batch.ids[piece], batch.targets[piece])
        if not self.is_sharded:
            return plan_chunks(part, self.config)
        most = int(self.processes.largest([len(plan_chunks(part, self.config))])[0])
        return [dataclasses.replace(chunk, is_trained=True) for chunk in plan_chunks(part, self.config, num_chunks=most)]

    def close(self) -> None:
        """Leave the model as it was."""
        self.model.uses_eight_bits = False
        for part in (self.buffers, self.sum, self.narrow):
            if part is not None:
                part.close()


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
