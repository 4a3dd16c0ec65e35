"""How long a run is, by its plan: in steps, epochs or minutes; and where its learning rate is by then."""

import itertools

import pytest

from whelp.base.errors import PlanError
from whelp.train import TrainConfig, make_plan
from whelp.train.schedule import make_schedule

from .plans import FACTS, plan_small


@pytest.mark.parametrize(
    ("config", "num_steps", "num_epochs"),
    [
        ({}, 10, 1.0),
        ({"num_steps": 7}, 7, 0.7),
        ({"num_epochs": 2.55}, 26, 2.6),
        ({"num_epochs": 0.001}, 1, 0.1),
        ({"batch_tokens": 96}, 34, 1.02),
        ({"minutes": 2}, 240, 24.0),
    ],
)
def test_the_length_of_a_run(config, num_steps, num_epochs):
    """Steps as asked; epochs rounded up to whole steps; minutes divided by the time of a step; else one epoch."""
    plan = plan_small({"seconds_per_step": 0.5}, **config)
    assert plan.num_steps == num_steps
    assert plan.num_epochs == pytest.approx(num_epochs)
    assert plan.total_tokens == num_steps * plan.batch_tokens
    is_timed = "minutes" in config
    assert plan.budget_seconds == (120 if is_timed else None)
    assert plan.estimated_seconds == (120 if is_timed else num_steps * 0.5)


@pytest.mark.parametrize(
    ("config", "num_steps"),
    [
        ({}, 228),  # 120 s but nine evaluations of 0.5 s and checkpoints of 0.2 s, in steps of 0.5 s: one more comes at the end
        ({"evaluate_every_steps": 10}, 210),  # 0.07 s more a step
        ({"evaluate_every_steps": 10, "save_every_steps": 2}, 184),
        ({"save_every_steps": 2}, 192),
    ],
)
def test_a_time_budget_holds_more_than_steps(config, num_steps):
    """What evaluations and checkpoints take is not there for steps."""
    plan = plan_small({"seconds_per_step": 0.5, "seconds_per_look": 0.5, "seconds_per_save": 0.2}, minutes=2, **config)
    assert plan.num_steps == pytest.approx(num_steps, abs=1)
    assert plan.estimated_seconds == 120


def test_evaluations_that_take_long_come_less_often():
    """They get a quarter of a time budget: of 120 s, three times 10 s; one there is in any case."""
    assert plan_small({"seconds_per_step": 0.5, "seconds_per_look": 10.0}, minutes=2).evaluate_every_steps == 67
    plan = plan_small({"seconds_per_step": 0.5, "seconds_per_look": 100.0}, minutes=2)
    assert (plan.num_steps, plan.evaluate_every_steps) == (240, 240)


def test_the_time_of_steps_is_not_all():
    """A run of steps takes as long as these, its evaluations and its checkpoints."""
    plan = plan_small({"seconds_per_step": 0.5, "seconds_per_look": 2.0, "seconds_per_save": 1.0}, num_steps=100)
    assert plan.estimated_seconds == 100 * 0.5 + 10 * (2.0 + 1.0)


@pytest.mark.parametrize(
    ("config", "num_steps", "most_rows"),
    [
        ({"num_steps": 100, "max_epochs": 3}, 30, None),
        ({"num_steps": 100, "max_epochs": 30}, 100, None),
        ({"num_epochs": 9, "max_epochs": 3.5}, 35, None),
        ({"minutes": 2, "max_epochs": 3}, 30, 300),
        ({"minutes": 2, "max_epochs": 100}, 240, 10_000),
        ({"max_epochs": 0.5}, 5, None),
        ({"num_steps": 1000, "max_epochs": 1, "first_batch_tokens": 160, "batch_ramp_share": 0.5}, 14, None),
    ],
)
def test_no_more_passes_than_asked(config, num_steps, most_rows):
    """Whichever comes first; by the clock, the rows stop the run however fast it is."""
    plan = plan_small({"seconds_per_step": 0.5}, **config)
    assert (plan.num_steps, plan.most_rows) == (num_steps, most_rows)
    if most_rows == 300:
        assert plan.estimated_seconds == 15.0


def test_empty_places_are_no_tokens():
    """Rows of less than their width: 100 of them with 1,200 tokens, seen one and a half times."""
    plan = plan_small({"num_rows": 100, "num_train_tokens": 1200}, num_epochs=1.5)
    assert plan.total_tokens == 1800 < plan.num_steps * plan.batch_tokens
    assert any(doubt.startswith("1,800 tokens will be seen") for doubt in plan.warnings)


def test_warm_up_in_steps():
    """Warm-up steps become a share of the run."""
    assert plan_small(num_steps=40, warmup_steps=10).warmup_share == 0.25
    assert plan_small(num_epochs=1, warmup_steps=99).warmup_share == 1.0
    assert plan_small(num_steps=40).warmup_share == TrainConfig().warmup_share


@pytest.mark.parametrize("warmup", [{"warmup_share": 0.5}, {"warmup_steps": 10}])
def test_a_warm_up_that_ends_where_the_decay_begins(warmup):
    """Up to there it may last; the rate never jumps."""
    config = TrainConfig(batch_tokens=320, num_steps=20, schedule="constant", decay_from_step=10, **warmup)
    schedule = make_schedule(config, make_plan(config, FACTS))
    rates = [schedule.at(step / 20) for step in range(1, 21)]
    assert max(abs(later - earlier) for earlier, later in itertools.pairwise(rates)) == pytest.approx(0.1)


def test_a_share_that_warms_up_beyond_the_decay():
    """Refused once the plan knows how many steps it is, also in a run of epochs."""
    message = (
        r"train\.decay_from_step: train\.warmup_share of 20 steps warms up for 10 steps, but expected no more than 9\. "
        r"Let the rate decay later, or lower train\.warmup_share\."
    )
    with pytest.raises(PlanError, match=message):
        plan_small(num_epochs=2, schedule="constant", warmup_share=0.5, decay_from_step=9)
    assert plan_small(num_steps=20, schedule="constant", decay_from_step=0).num_steps == 20
