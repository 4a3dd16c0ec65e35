"""A short probe: how long a step takes on this machine, and on how many threads.

Two threads on a machine whose cores are busy can be eleven times slower than one (they wait for each other in every
operation), so a CPU run is timed on one thread and on all before it starts.

A run takes the mean of its steps, slow ones with the others; which number of threads is faster is told by the medians, which a
hiccup does not move.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch

from whelp.base.machine import count_cores
from whelp.train.backward import StepOptimizer, TrainableModel
from whelp.train.config import TrainConfig
from whelp.train.fit import Progress, Rows, fit
from whelp.train.plan import TrainPlan
from whelp.train.team import Team

_LEAST_SECONDS, _MOST_STEPS = 1.5, 24  # short steps are timed more often: a machine is fastest in its first moments
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
    team: Team | None = None,
) -> ProbeResult:
    """Train a throw-away copy for a few steps and take the time; of many processes, the first one's.

    Args:
        build: Makes a model like the one to be trained, on its device, and its optimizer.
        compiles: Take the time of compiled steps where the plan has such; it takes long until they are compiled.
    """
    team = team or Team()
    plan = plan if compiles else dataclasses.replace(plan, compile=False)
    device = torch.device(plan.device)
    cores = count_cores()
    if device.type != "cpu":
        times = _time_steps(build, rows, plan, config, num_steps, team)
        return ProbeResult(seconds_per_step=statistics.mean(times), threads=cores)
    is_settled = config.threads is not None or team.size > 1
    choices = [plan.threads] if is_settled else sorted({1, cores}, reverse=True)
    before = torch.get_num_threads()
    results = {}
    for threads in choices:
        torch.set_num_threads(threads)
        results[threads] = _time_steps(build, rows, plan, config, num_steps, team)
    torch.set_num_threads(before)
    most = choices[0]
    medians = {threads: statistics.median(times) for threads, times in results.items()}
    best = most if len(results) == 1 or medians[most] <= _CLEARLY_SLOWER * medians[1] else 1
    return ProbeResult(seconds_per_step=statistics.mean(results[best]), threads=best)


def _time_steps(
    build: Callable[[], tuple[TrainableModel, StepOptimizer]],
    rows: Rows,
    plan: TrainPlan,
    config: TrainConfig,
    num_steps: int,
    team: Team,
) -> list[float]:
    """Seconds of each step but the first, by the first process's clock: `num_steps` of them, or more where they are short."""
    model, optimizer = build()
    most = max(num_steps, _MOST_STEPS) + 1
    plan = dataclasses.replace(plan, budget_seconds=None, num_steps=most, smaller_batch_rows=[])
    times: list[float] = []
    with contextlib.closing(fit(model, optimizer, rows, plan, config, Progress(), team=team)) as reports:
        start = time.perf_counter()
        for report in reports:
            if plan.device.startswith("cuda"):
                torch.cuda.synchronize()
            times += team.add([time.perf_counter() - start if team.is_first else 0.0])
            if report.step > num_steps and sum(times[1:]) >= _LEAST_SECONDS:
                break
            start = time.perf_counter()
    return times[1:]
