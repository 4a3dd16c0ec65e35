"""A short probe: how long a step takes on this machine, and on how many threads.

Two threads on a machine whose cores are busy can be eleven times slower than one (they wait for each other in every
operation), so a CPU run is timed on one thread and on all before it starts.

A run takes the mean of its steps, slow ones with the others; which number of threads is faster is told by the medians, which a
hiccup does not move.

Where a step takes long on a CPU, a step of fewer rows is timed instead: the optimizer takes as long for it, the rest as much less
as it has fewer rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from whelp.base.machine import count_cores
from whelp.train.backward import StepOptimizer, TrainableModel
from whelp.train.config import TrainConfig
from whelp.train.device import wait_for
from whelp.train.fit import Progress, Rows, StepReport, fit
from whelp.train.plan import TrainPlan
from whelp.train.process_group import ProcessGroup

_LEAST_SECONDS, _MOST_STEPS = 1.5, 24  # short steps are timed more often: a machine is fastest in its first moments
_LONG_SECONDS = 15.0  # steps that took so long together are enough; a step that takes so long alone is timed with fewer rows
_CLEARLY_SLOWER = 1.15  # all threads are kept unless they take this many times as long as one


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Mean seconds of a step, and the threads it was measured on."""

    seconds_per_step: float
    threads: int


def probe_speed(
    build: Callable[[], tuple[TrainableModel, StepOptimizer]],
    rows: Rows,
    plan: TrainPlan,
    config: TrainConfig,
    *,
    num_steps: int = 4,
    compiles: bool = False,
    processes: ProcessGroup | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> ProbeResult:
    """Train a throw-away copy for a few steps and take the time; of many processes, the first one's.

    Args:
        build: Makes a model like the one to be trained, on its device, and its optimizer.
        num_steps: Steps whose time counts; more where they are short, fewer where they are long.
        compiles: Take the time of compiled steps where the plan has such; it takes long until they are compiled.
    """
    processes = processes or ProcessGroup()
    plan = plan if compiles else dataclasses.replace(plan, compile=False)
    probe = _Probe(build, rows, plan, config, num_steps, processes, clock)
    cores = count_cores()
    if torch.device(plan.device).type != "cpu":
        return ProbeResult(seconds_per_step=statistics.mean(probe.time_whole_steps(_Copy(*build()))), threads=cores)
    is_settled = config.threads is not None or processes.size > 1
    choices = [plan.threads] if is_settled else sorted({1, cores}, reverse=True)
    before = torch.get_num_threads()
    results: dict[int, list[float]] = {}
    for threads in choices:
        torch.set_num_threads(threads)
        times = probe.time_steps()
        if times is None:
            break
        results[threads] = times
    torch.set_num_threads(before)
    most = choices[0]
    medians = {threads: statistics.median(times) for threads, times in results.items()}
    best = most if len(results) == 1 or medians[most] <= _CLEARLY_SLOWER * medians[1] else 1
    return ProbeResult(seconds_per_step=statistics.mean(results[best]), threads=best)


@dataclasses.dataclass
class _Copy:
    """A model that is trained to be thrown away; steps are counted through all that is tried with it."""

    model: TrainableModel
    optimizer: StepOptimizer
    progress: Progress = dataclasses.field(default_factory=Progress)


@dataclasses.dataclass
class _Probe:
    """Takes the time of steps, by the first process's clock."""

    build: Callable[[], tuple[TrainableModel, StepOptimizer]]
    rows: Rows
    plan: TrainPlan
    config: TrainConfig
    num_steps: int
    processes: ProcessGroup
    clock: Callable[[], float]
    first_seconds: float | None = None  # of the first step, of one row, on the threads before

    def time_steps(self) -> list[float] | None:
        """Seconds of each step on a CPU; None where steps are long, and no faster than on the threads before.

        A first step, of a row for each process, warms up and says how long a whole one takes.
        """
        copy, processes, plan = _Copy(*self.build()), self.processes, self.plan
        if plan.compile:  # for one size of batch
            return self.time_whole_steps(copy)
        with self._steps(copy, processes.size) as steps:
            first = next(steps)
            before, self.first_seconds = self.first_seconds, first
            part = plan.batch_rows / processes.size
            if before is not None and first >= before and first * part > _LONG_SECONDS:
                return None
            optimizer = self._time_optimizer(copy.optimizer)
        rest = max(first - optimizer, 0.0)
        if optimizer + rest * part <= _LONG_SECONDS:
            return self.time_whole_steps(copy)
        fit_in = int((_LONG_SECONDS - optimizer) / rest) if rest else 1
        batch_rows = min(max(fit_in, 1) * processes.size, plan.batch_rows)
        times: list[float] = []
        with self._steps(copy, batch_rows) as steps:
            for seconds in steps:
                times.append(seconds)
                if len(times) >= self.num_steps or sum(times) >= _LONG_SECONDS:
                    break
        return [optimizer + max(seconds - optimizer, 0.0) * plan.batch_rows / batch_rows for seconds in times]

    def time_whole_steps(self, copy: _Copy) -> list[float]:
        """Seconds of each step but the first: `num_steps` of them, more where they are short, fewer where they are long."""
        times: list[float] = []
        with self._steps(copy, self.plan.batch_rows) as steps:
            next(steps)
            for seconds in steps:
                times.append(seconds)
                total = sum(times)
                if total >= _LONG_SECONDS or (len(times) >= self.num_steps and total >= _LEAST_SECONDS):
                    break
        return times

    @contextlib.contextmanager
    def _steps(self, copy: _Copy, batch_rows: int) -> Iterator[Iterator[float]]:
        """Seconds of one step after the other, of so many rows."""
        num_steps = copy.progress.step + max(self.num_steps, _MOST_STEPS) + 1
        plan = dataclasses.replace(self.plan, budget_seconds=None, num_steps=num_steps, smaller_batch_rows=[])
        plan, device = plan.at_batch(batch_rows), torch.device(plan.device)
        fitted = fit(copy.model, copy.optimizer, self.rows, plan, self.config, copy.progress, processes=self.processes)

        def take(reports: Iterator[StepReport]) -> Iterator[float]:
            start = self.clock()
            for _ in reports:
                wait_for(device)
                yield self._share_seconds_since(start)
                start = self.clock()

        with contextlib.closing(fitted) as reports:
            yield take(reports)

    def _time_optimizer(self, optimizer: StepOptimizer) -> float:
        """Seconds of what a step does after its gradient is there."""
        start = self.clock()
        optimizer.clip(self.config.clip_gradient_norm)
        optimizer.step(0.0)
        return self._share_seconds_since(start)

    def _share_seconds_since(self, start: float) -> float:
        return self.processes.add([self.clock() - start if self.processes.is_first else 0.0])[0]
