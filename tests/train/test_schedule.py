"""The learning rate over a run."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whelp.train import TrainConfig, make_plan
from whelp.train.schedule import Schedule, find_step_before_decay, make_schedule

from .plans import FACTS

KINDS = ("cosine", "linear", "constant", "warmup_stable_decay")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("cosine", [0.5, 1.0, 0.86819805, 0.55, 0.23180195, 0.1]),
        ("linear", [0.5, 1.0, 0.775, 0.55, 0.325, 0.1]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("warmup_stable_decay", [0.5, 1.0, 1.0, 1.0, 0.55, 0.1]),
    ],
)
def test_pinned_values(kind, values):
    """Half-way up, at the peak, then at each quarter of the way down to a tenth."""
    schedule = Schedule(kind=kind, warmup_share=0.2, decay_share=0.4, final_share=0.1)
    assert [schedule.at(progress) for progress in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)] == pytest.approx(values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("warmup", [0.0, 0.02, 0.5])
def test_up_once_then_down_once(kind, warmup):
    """The warm-up rises in a straight line to the peak; afterwards nothing rises, and the end is the final share for good."""
    schedule = Schedule(kind=kind, warmup_share=warmup, decay_share=0.3, final_share=0.05)
    values = [schedule.at(step / 200) for step in range(201)]
    peak = round(200 * warmup)
    assert values[:peak] == pytest.approx([step / peak for step in range(peak)])
    assert values[peak] == max(values) == 1.0
    assert all(later <= earlier for earlier, later in itertools.pairwise(values[peak:]))
    end = 1.0 if kind == "constant" else pytest.approx(0.05)
    assert values[-1] == end
    assert schedule.at(1.001) == end
    assert schedule.at(50.0) == end


def test_stable_then_decay():
    """warmup_stable_decay is at its peak until the decay begins."""
    schedule = Schedule(kind="warmup_stable_decay", warmup_share=0.1, decay_share=0.3, final_share=0.0)
    assert {schedule.at(step / 100) for step in range(10, 70)} == {1.0}
    assert schedule.at(0.85) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_warm_up(kind):
    """A run that is all warm-up divides by nothing, also where the clock has run past its end."""
    schedule = Schedule(kind=kind, warmup_share=1.0, decay_share=0.0, final_share=0.2)
    assert schedule.at(0.99) == 0.99
    assert schedule.at(1.0) == 1.0
    assert schedule.at(1.01) == (1.0 if kind == "constant" else pytest.approx(0.2))


@settings(deadline=None)
@given(num_steps=st.integers(1, 1000), percent=st.integers(0, 100), from_step=st.none() | st.integers(0, 999))
def test_the_last_step_before_the_decay(num_steps: int, percent: int, from_step: int | None) -> None:
    """The last one at the peak: by whole numbers, whatever shares of steps do in binary."""
    begins = num_steps if from_step is None else min(from_step, num_steps - 1)
    options = {"schedule": "warmup_stable_decay", "warmup_share": 0.0, "decay_share": percent / 100, "num_steps": num_steps}
    config = TrainConfig(**options, decay_from_step=None if from_step is None else begins)
    plan = make_plan(config, FACTS)
    expected = num_steps * (100 - percent) // 100 if from_step is None else begins
    assert find_step_before_decay(config, plan) == expected
    rates = [make_schedule(config, plan).at(step / num_steps) for step in range(1, num_steps + 1)]
    assert rates[:expected] == pytest.approx([1.0] * expected)
    assert all(rate < 1.0 - 1e-9 for rate in rates[expected:])


def test_no_step_before_the_decay() -> None:
    """Where the rate never stays at its peak, or steps are not what a run is long of."""
    for options in ({"schedule": "cosine"}, {"schedule": "constant"}, {"schedule": "warmup_stable_decay", "minutes": 5.0}):
        config = TrainConfig(**options)
        assert find_step_before_decay(config, make_plan(config, FACTS)) is None
