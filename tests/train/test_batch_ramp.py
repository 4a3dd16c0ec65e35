"""Batches that grow: which rows, how many, the same however a run is stopped, divided or measured."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whelp.base.errors import ConfigError, PlanError
from whelp.train import Progress, TrainConfig, TrainPlan, build_optimizer, make_plan
from whelp.train.batch_ramp import BatchRamp
from whelp.train.fit import fit
from whelp.train.length_change import lengthen_plan
from whelp.train.plan import adapt_plan, halve_micro_batch
from whelp.train.process_group import ProcessGroup

from .many import run_together
from .plans import FACTS
from .test_fit import LENGTH, _plan, _Rows, _SlowRows, _tokens, _weights

SIZES = [2] * 3 + [4] * 2 + [8] * 5  # of ten steps, half of them the ramp


def _config(**options: object) -> TrainConfig:
    values = {"num_steps": 10, "batch_tokens": 8 * LENGTH, "learning_rate": 1e-2, "micro_batch_rows": 3}
    return TrainConfig(**(values | {"first_batch_tokens": 2 * LENGTH, "batch_ramp_share": 0.5} | options))


@pytest.mark.parametrize(("first", "full", "share"), [(1, 8, 0.2), (2, 12, 0.5), (3, 64, 1.0), (4, 4, 0.5), (1, 1000, 0.07)])
def test_rows_are_counted_as_they_are_read(first: int, full: int, share: float) -> None:
    """The sum of all batches, one by one; and no shorter run has as many rows."""
    ramp = BatchRamp.plan(first, full, share, by_clock=False)
    for num_steps in (1, 2, 7, 10, 49, 300):
        sizes = [ramp.find_rows(step / num_steps) for step in range(num_steps)]
        assert [ramp.count_rows(steps, num_steps) for steps in range(num_steps + 1)] == [0, *itertools.accumulate(sizes)]
        assert sizes == sorted(sizes)
        assert max(sizes) <= full
        wanted = sum(sizes)
        found = ramp.count_steps(wanted)
        assert ramp.count_rows(found, found) >= wanted
        assert found == 1 or ramp.count_rows(found - 1, found - 1) < wanted


def test_it_is_one_run_after_the_other(make_model) -> None:
    """The same bits as plain runs of each size, one going on where the other ended; every row once and in order."""
    config = _config(schedule="constant", warmup_share=0.0)
    model, rows = make_model("gpt2"), _Rows(_tokens())
    reports = list(fit(model, build_optimizer(model, config), rows, _plan(config), config, Progress()))
    assert [report.num_rows for report in reports] == SIZES
    assert [report.first_row for report in reports] == [0, *itertools.accumulate(SIZES)][:-1]
    assert [report.num_tokens for report in reports] == [LENGTH * size for size in SIZES]
    assert rows.places == list(range(sum(SIZES)))

    expected, progress, losses = make_model("gpt2"), Progress(), []
    optimizer = build_optimizer(expected, config)
    for size, until in ((2, 3), (4, 5), (8, 10)):
        plain = _config(
            schedule="constant", warmup_share=0.0, first_batch_tokens=None, batch_tokens=size * LENGTH, num_steps=until
        )
        losses += [report.loss for report in fit(expected, optimizer, _Rows(_tokens()), _plan(plain), plain, progress)]
    assert [report.loss for report in reports] == losses
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in expected.state_dict().items())


def test_memory_of_each_size_is_given_back(make_model, monkeypatch) -> None:
    """Before work of the next size is recorded; else a GPU would hold what was recorded of all of them."""
    config, rows, given_back = _config(), _Rows(_tokens()), []
    monkeypatch.setattr("whelp.train.fit.free_idle_memory", lambda _: given_back.append(len(rows.places)))
    model = make_model("gpt2")
    list(fit(model, build_optimizer(model, config), rows, _plan(config), config, Progress()))
    assert given_back == [6, 14, sum(SIZES)]


@pytest.mark.parametrize("works_alone", [False, True])
def test_it_goes_on_from_every_step(make_model, monkeypatch, works_alone: bool) -> None:
    """To the bit, also where the next batch is in hand before a step is told, as on a GPU."""
    monkeypatch.setattr("whelp.train.fit._works_alone", lambda _: works_alone)
    config, rows = _config(), _Rows(_tokens())
    plan, straight = _plan(config), make_model("gpt2")
    expected = list(fit(straight, build_optimizer(straight, config), _Rows(_tokens()), plan, config, Progress()))
    for stop in range(1, 10):
        model, progress = make_model("gpt2"), Progress()
        optimizer = build_optimizer(model, config)
        steps = fit(model, optimizer, rows, plan, config, progress)
        reports = list(itertools.islice(steps, stop))
        steps.close()
        saved, state, noted = _weights(model), optimizer.state(), dataclasses.asdict(progress)
        resumed = make_model("gpt2", scrambled=False)
        continued = build_optimizer(resumed, config)
        resumed.load_state_dict(saved)
        continued.load_state(state)
        reports += fit(resumed, continued, rows, plan, config, Progress(**noted))
        assert [(report.loss, report.num_rows) for report in reports] == [(report.loss, report.num_rows) for report in expected]
        assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in straight.state_dict().items())


class _SharedRows(_Rows):
    """Those of this process."""

    def read(self, first, count, seed, *, rank=0, world=1):
        begin, end = count * rank // world, count * (rank + 1) // world
        return super().read(first + begin, end - begin, seed)


def test_two_processes_divide_every_size(make_model, tmp_path: Path) -> None:
    """The same losses as one alone, within rounding."""
    config = _config()

    def work(processes: ProcessGroup) -> list[tuple[float, int]]:
        model = make_model("gpt2")
        plan = dataclasses.replace(_plan(config), num_processes=processes.size)
        steps = fit(
            model, build_optimizer(model, config), _SharedRows(_tokens()), plan, config, Progress(), processes=processes
        )
        return [(report.loss, report.num_rows) for report in steps]

    alone, (ours, theirs) = run_together(1, tmp_path, work)[0], run_together(2, tmp_path, work)
    assert ours == theirs
    assert [rows for _, rows in ours] == [rows for _, rows in alone] == SIZES
    np.testing.assert_allclose([loss for loss, _ in ours], [loss for loss, _ in alone], atol=1e-5)


def test_by_the_clock(make_model) -> None:
    """A second for each batch read, six in all: half of them with small batches."""
    config = _config(num_steps=None, minutes=0.1)
    model, rows = make_model("gpt2"), _SlowRows(_tokens())
    plan = _plan(config, seconds_per_step=1.0)
    reports = list(fit(model, build_optimizer(model, config), rows, plan, config, Progress(), clock=lambda: rows.now))
    assert [report.num_rows for report in reports] == [2, 2, 4, 8, 8, 8]
    # were a step as long as it has rows: 1.5 s of each small size are 6 and 3 steps, then 3
    assert (plan.num_steps, plan.count_rows(12)) == (12, 48)


def _make_plan(facts: dict[str, object] | None = None, **options: object) -> TrainPlan:
    values = {"batch_tokens": 8 * 32, "first_batch_tokens": 2 * 32, "batch_ramp_share": 0.5}
    return make_plan(TrainConfig(**(values | options)), dataclasses.replace(FACTS, **facts or {}))


def test_the_plan_counts_what_is_trained() -> None:
    """Rows, tokens, epochs and seconds of all sizes; an epoch is as many steps as it takes."""
    plan = _make_plan(num_steps=10)
    assert (plan.smaller_batch_rows, plan.total_tokens, plan.num_epochs) == ([2, 4], 54 * 32, 0.54)
    epoch = _make_plan()
    assert epoch.count_rows(epoch.num_steps) >= FACTS.num_rows > _make_plan(num_steps=epoch.num_steps - 1).total_tokens / 32
    assert _make_plan({"seconds_per_step": 1.0}, num_steps=10).estimated_seconds == 54 / 8
    even = _make_plan(first_batch_tokens=None, num_steps=10)
    assert "train.batch_ramp_share" in even.warnings[-1]
    assert _make_plan(first_batch_tokens=8 * 32, num_steps=10).warnings == even.warnings[:-1]
    assert dataclasses.replace(even, warnings=[]) == dataclasses.replace(
        _make_plan(first_batch_tokens=8 * 32, num_steps=10), warnings=[]
    )


def test_pieces_of_every_size_are_even_and_no_larger() -> None:
    """What fits the memory with the full batch does with every other; so after it was halved."""
    plan = _make_plan({"num_processes": 2}, num_steps=10, micro_batch_rows=3)
    assert [(part.accumulation, part.micro_batch_rows) for part in map(plan.at_batch, (2, 4, 8))] == [(1, 1), (1, 2), (2, 2)]
    halved = halve_micro_batch(plan)
    assert [(part.accumulation, part.micro_batch_rows) for part in map(halved.at_batch, (2, 4, 8))] == [(1, 1), (2, 1), (4, 1)]
    alone = _make_plan(num_steps=10)
    assert adapt_plan(plan, alone).smaller_batch_rows == alone.smaller_batch_rows


def test_a_longer_run_grows_as_it_did() -> None:
    """Over as many steps as planned at first: a batch that has grown does not shrink."""
    plan, now = _make_plan(num_steps=10), _make_plan(num_steps=40)
    longer = lengthen_plan(plan, now, _config(num_steps=40))
    sizes = [longer.ramp.find_rows(step / 40) for step in range(40)]
    assert sizes == SIZES + [8] * 30
    assert longer.total_tokens == sum(sizes) * 32


@settings(deadline=None)
@given(
    before=st.integers(1, 400),
    now=st.integers(1, 400),
    first=st.integers(1, 8),
    share=st.sampled_from([0.05, 0.1, 0.2, 0.3, 1 / 3, 0.5, 0.7, 1.0]),
)
def test_another_length_moves_no_step_of_the_ramp(before: int, now: int, first: int, share: float) -> None:
    """Whatever the lengths: each step has the rows it had, and the plan counts what the loop takes."""
    config = {"first_batch_tokens": first * 32, "batch_ramp_share": share}
    plan = _make_plan(num_steps=before, **config)
    sizes = [plan.ramp.find_rows(step / before) for step in range(before)]
    longer = lengthen_plan(plan, _make_plan(num_steps=now, **config), _config(num_steps=now))
    taken = [longer.ramp.find_rows(step / now) for step in range(now)]
    assert taken[: min(before, now)] == sizes[:now]
    assert [longer.count_rows(steps) for steps in range(now + 1)] == [0, *itertools.accumulate(taken)]
    assert longer.num_epochs == pytest.approx(sum(taken) / FACTS.num_rows)
    back = lengthen_plan(longer, plan, _config(num_steps=before))
    assert [back.ramp.find_rows(step / before) for step in range(before)] == sizes


@settings(deadline=None)
@given(first=st.integers(1, 8), share=st.sampled_from([0.1, 0.2, 0.5, 1.0]), epochs=st.floats(0.1, 5))
def test_more_epochs_are_as_many_as_asked_for(first: int, share: float, epochs: float) -> None:
    """The ramp stays where it was, so a longer run has more full batches than one that is planned so long: it takes fewer steps."""
    config = {"first_batch_tokens": first * 32, "batch_ramp_share": share}
    plan, now = _make_plan(**config), _make_plan(num_epochs=epochs, **config)
    longer = lengthen_plan(plan, now, _config(num_steps=None, num_epochs=epochs))
    wanted = epochs * FACTS.num_rows
    assert longer.count_rows(longer.num_steps) >= wanted > longer.count_rows(longer.num_steps - 1)
    assert lengthen_plan(plan, plan, _config(num_steps=None)).num_steps == plan.num_steps


def test_a_shorter_time_counts_the_ramp_that_is_left() -> None:
    """Ten minutes of which five have batches of half the size; of the first four all do."""
    ramp = BatchRamp(batch_rows=8, smaller=(4,), share=0.5 * 10 / 4, by_clock=True)
    assert ramp.count_steps_in_time(100) == 200
    assert ramp.find_rows(0.99) == 4


def test_sizes_that_cannot_be() -> None:
    """Said before anything runs."""
    with pytest.raises(ConfigError, match=r"train\.first_batch_tokens is 512, more than train\.batch_tokens \(256\)"):
        _make_plan(first_batch_tokens=512)
    with pytest.raises(PlanError, match=r"a batch of 2 rows .* Raise train\.first_batch_tokens to 96 or more"):
        _make_plan({"num_processes": 3})
