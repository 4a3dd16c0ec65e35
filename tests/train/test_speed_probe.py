"""The probe before a run, by a clock that only the steps move."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from whelp.base.log import log, say_if_long
from whelp.train import TrainConfig, make_plan
from whelp.train.plan import TrainPlan
from whelp.train.speed_probe import probe_speed

from .plans import FACTS

ROWS = 10  # of a batch


class _Machine:
    """A clock, and a training loop that moves it: by the optimizer's seconds, and some for each row; per number of threads."""

    def __init__(self, row_seconds: dict[int, float], optimizer_seconds: dict[int, float] | None = None) -> None:
        self.row_seconds, self.optimizer_seconds = row_seconds, optimizer_seconds or {}
        self.now = 0.0
        self.steps: list[tuple[int, int]] = []  # threads and rows of each
        self.threads = 4
        self.slow_first = 1.0  # how many times as long the first step of a loop takes
        self.hiccup: float = 0.0  # seconds added to the third step of each loop

    def update(self, *_: float) -> None:
        self.now += self.optimizer_seconds.get(self.threads, 0.0)

    def fit(self, model: Any, optimizer: Any, rows: Any, plan: TrainPlan, *others: Any, **_: Any) -> Iterator[Any]:
        progress = others[-1]
        for step in range(1, plan.num_steps - progress.step + 1):
            seconds = self.row_seconds[self.threads] * plan.batch_rows
            self.now += seconds * (self.slow_first if step == 1 else 1.0) + (self.hiccup if step == 3 else 0.0)
            optimizer.step(0.1)
            self.steps.append((self.threads, plan.batch_rows))
            progress.step += 1
            yield SimpleNamespace(step=progress.step)

    def probe(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
        config = TrainConfig(batch_tokens=ROWS * FACTS.context_tokens, num_steps=100, **options)
        plan = make_plan(config, FACTS)
        assert plan.batch_rows == ROWS
        monkeypatch.setattr("whelp.train.speed_probe.fit", self.fit)
        monkeypatch.setattr("whelp.train.speed_probe.count_cores", lambda: 4)
        monkeypatch.setattr(torch, "set_num_threads", lambda threads: setattr(self, "threads", threads))
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.threads)
        optimizer: Any = SimpleNamespace(clip=lambda norm: None, step=self.update)
        return probe_speed(lambda: (SimpleNamespace(), optimizer), None, plan, config, clock=lambda: self.now)


def test_the_mean_of_whole_steps_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow ones count with the others; the first does not, nor does the hiccup decide the threads."""
    machine = _Machine({4: 0.1, 1: 0.3}, {4: 0.2, 1: 0.2})
    machine.slow_first, machine.hiccup = 3.0, 4.0
    result = machine.probe(monkeypatch)
    assert (result.threads, result.seconds_per_step) == (4, pytest.approx(1.2 + 4.0 / 4))
    assert machine.steps == [(4, 1)] + [(4, ROWS)] * 5 + [(1, 1)] + [(1, ROWS)] * 5


@pytest.mark.parametrize(("one", "threads"), [(0.05, 1), (0.095, 4)])
def test_one_thread_where_it_is_clearly_faster(monkeypatch: pytest.MonkeyPatch, one: float, threads: int) -> None:
    """All threads are kept unless they take clearly longer."""
    result = _Machine({4: 0.1, 1: one}).probe(monkeypatch)
    assert (result.threads, result.seconds_per_step) == (threads, pytest.approx({1: one, 4: 0.1}[threads] * ROWS))


def test_short_steps_are_timed_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until they took a second and a half together, or there are enough."""
    machine = _Machine({1: 0.016})
    machine.probe(monkeypatch, threads=1)
    assert machine.steps[1:] == [(1, ROWS)] * 11


def test_long_steps_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step after the first is enough where it takes fifteen seconds."""
    machine = _Machine({1: 1.5})
    assert machine.probe(monkeypatch, threads=1).seconds_per_step == pytest.approx(15.0)
    assert machine.steps == [(1, 1), (1, ROWS), (1, ROWS)]


def test_of_very_long_steps_a_part_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows as fit; the optimizer's part is not multiplied. One thread that is slower at once is not timed further."""
    machine = _Machine({4: 4.0, 1: 8.0}, {4: 6.0, 1: 9.0})
    result = machine.probe(monkeypatch)
    assert (result.threads, result.seconds_per_step) == (4, pytest.approx(6.0 + 4.0 * ROWS))
    assert machine.steps == [(4, 1), (4, 2), (4, 2), (1, 1)]
    assert machine.now < 2 * (6.0 + 4.0 * ROWS)


def test_threads_are_chosen_by_parts_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait for each other are found out where steps are long, too."""
    result = _Machine({4: 40.0, 1: 4.0}, {4: 60.0, 1: 6.0}).probe(monkeypatch)
    assert (result.threads, result.seconds_per_step) == (1, pytest.approx(46.0))


def test_what_takes_long_is_said_once() -> None:
    """While it goes on; what is done before is passed over in silence."""
    said: queue.Queue[str] = queue.Queue()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.put(record.getMessage())

    handler, before = Handler(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with say_if_long("resting", after_seconds=3600):
            pass
        with say_if_long("working", after_seconds=0):
            assert said.get(timeout=60) == "working"
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    assert said.empty()
