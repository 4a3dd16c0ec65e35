"""What a plan doubts, and what is refused before there is one."""

import json
import math

import pytest

from whelp.base.errors import ConfigError
from whelp.train import TrainConfig

from .plans import plan_small

QUIET = {"num_parameters": 10}


@pytest.mark.parametrize(
    ("facts", "config", "warning"),
    [
        ({"num_parameters": 161}, {}, "3,200 tokens will be seen, fewer than 20 x 161 parameters = 3,220"),
        (QUIET, {"num_epochs": 9}, "every row will be seen 9 times: watch the test loss"),
        (QUIET | {"num_rows": 9}, {}, r"one batch \(10 rows\) is more than all training rows \(9\): lower train\.batch_tokens"),
        (QUIET | {"has_fixed_width": False}, {"compile": True}, r"many widths, .* set pack\.pad_to=context, or train"),
        (QUIET | {"num_test_rows": 0}, {}, "nothing is held out"),
    ],
)
def test_doubts(facts, config, warning):
    """What a careful friend would say, one thing at a time."""
    (only,) = plan_small(facts, **config).warnings
    with pytest.raises(AssertionError, match=warning):
        raise AssertionError(only)


def test_no_doubts():
    """Right at the borders nothing is said."""
    assert plan_small({"num_parameters": 160}).warnings == []
    assert plan_small(QUIET, num_epochs=8).warnings == []
    assert plan_small(QUIET | {"num_rows": 10}).warnings == []
    assert plan_small(QUIET | {"has_fixed_width": False}).warnings == []
    assert plan_small(QUIET, compile=True).warnings == []


def test_many_tokens_left_out():
    """Cutting documents off is a choice, and said where it costs much."""
    known = {"num_train_tokens": 1000, "context_tokens": 32}
    assert not any("left out" in doubt for doubt in plan_small({**known, "num_cut_tokens": 40}).warnings)
    (doubt,) = [doubt for doubt in plan_small({**known, "num_cut_tokens": 710}).warnings if "left out" in doubt]
    assert doubt.startswith("71% of the tokens are left out, as the rest of documents longer than a row (32 tokens")
    assert doubt.endswith("pack.long=split trains them, in more rows")


def test_a_small_text_is_said_to_be_small():
    """What ends the run, and what it ends instead of; and more text is what is wanted, not more time."""
    facts = {"seconds_per_step": 0.5}
    doubts = plan_small(facts, minutes=2, max_epochs=3).warnings
    assert doubts[0].endswith("= 20,000: more text, or a smaller model, does better")
    assert doubts[1].startswith(
        "the text is small: after 3 passes over it (train.max_epochs) the run ends, not after 2 min 00 s"
    )
    assert "not after 50 steps" in plan_small(facts, num_steps=50, max_epochs=3).warnings[1]
    assert plan_small(QUIET | facts, minutes=2, max_epochs=30).warnings != []
    assert "train.keep_best=true" in plan_small(QUIET, num_epochs=9).warnings[0]
    assert "train.keep_best=true" not in plan_small(QUIET, num_epochs=9, keep_best=True).warnings[0]


@pytest.mark.parametrize(
    ("options", "without", "reason"),
    [
        (
            {"decay_share": 0.5},
            {"schedule": "warmup_stable_decay"},
            "train.schedule is cosine",
        ),
        (
            {"decay_share": 0.5, "decay_from_step": 4, "num_steps": 9, "schedule": "warmup_stable_decay"},
            {"decay_from_step": None},
            "train.decay_from_step says where the decay begins",
        ),
        (
            {"final_learning_rate_share": 0.5, "schedule": "constant"},
            {"decay_from_step": 1, "num_steps": 2},
            "nothing decays",
        ),
        ({"warmup_share": 0.5, "warmup_steps": 1}, {"warmup_steps": None}, "train.warmup_steps says it in steps"),
        ({"momentum": 0.5, "optimizer": "adamw"}, {"optimizer": "muon"}, "train.optimizer is adamw"),
        ({"batch_ramp_share": 0.5}, {"first_batch_tokens": 64}, "train.first_batch_tokens is not set"),
        ({"sample_tokens": 9}, {"sample_prompts": ["A"]}, "train.sample_prompts is empty"),
    ],
)
def test_settings_without_effect_are_said(options: dict[str, object], without: dict[str, object], reason: str):
    """What is set and changes nothing in this run is a doubt of the plan; where it has its effect there is none."""
    name, value = next(iter(options.items()))
    assert f"train.{name}={value} has no effect: {reason}" in plan_small({}, **options).warnings
    assert not any("has no effect" in doubt for doubt in plan_small({}, **{**options, **without}).warnings)


def test_the_best_checkpoint_of_nothing():
    """Where nothing is held out there is no best checkpoint, and no stopping early: both are said."""
    best = {"keep_best": True, "early_stopping_patience": 2}
    doubts = [doubt for doubt in plan_small({"num_test_rows": 0}, **best).warnings if "has no effect" in doubt]
    assert doubts == [
        "train.keep_best=true has no effect: nothing is held out",
        "train.early_stopping_patience=2 has no effect: nothing is held out",
    ]
    assert not any("has no effect" in doubt for doubt in plan_small({"num_test_rows": 5}, **best).warnings)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_steps": 5, "minutes": 1}, r"train\.num_steps and train\.minutes are both set\. Keep one of them"),
        ({"num_steps": 5, "num_epochs": 1}, r"train\.num_steps and train\.num_epochs are both set"),
        ({"num_steps": 5, "warmup_steps": 6}, r"train\.warmup_steps is 6, but train\.num_steps only 5"),
        (
            {"num_epochs": 1, "schedule": "constant", "warmup_steps": 6, "decay_from_step": 5},
            r"train\.warmup_steps is 6, more than train\.decay_from_step \(5\)",
        ),
        ({"minutes": 5, "warmup_steps": 6}, r"train\.warmup_steps needs a known number of steps"),
        ({"schedule": "warmup_stable_decay", "warmup_share": 0.5, "decay_share": 0.6}, "add up to more than 1"),
        ({"num_epochs": 0.0}, r"train\.num_epochs is 0, but expected a number above 0"),
        ({"minutes": 0.0}, r"train\.minutes is 0, but expected a number above 0"),
        ({"minutes": math.inf}, r"train\.minutes is inf, but expected a number above 0"),
        ({"max_epochs": 0.0}, r"train\.max_epochs is 0, but expected a number above 0"),
    ],
)
def test_settings_that_contradict(config, message):
    """Contradictions are told, before any plan."""
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**config)


@pytest.mark.parametrize("option", [{"shard": True}, {"add_gradients_in": "bf16"}])
def test_what_one_process_does_not_need(option: dict[str, object]):
    """Nothing is divided, or sent."""
    name, value = next(iter(option.items()))
    assert f"train.{name}={json.dumps(value)} has no effect: there is one process" in plan_small({}, **option).warnings
    assert not any("has no effect" in doubt for doubt in plan_small({"num_processes": 2}, **option).warnings)


def test_the_best_of_few():
    """A checkpoint that was not evaluated is never the best: said where saving and evaluating seldom meet."""
    steps = {"keep_best": True, "num_steps": 100, "evaluate_every_steps": 5}
    (doubt,) = [doubt for doubt in plan_small({}, **steps, save_every_steps=7).warnings if "keep_best keeps" in doubt]
    assert doubt.startswith(
        "train.keep_best keeps checkpoints of steps that are evaluated, too: every 35 steps and the last. Let"
    )
    for often in (10, 1):
        assert not any("keep_best keeps" in doubt for doubt in plan_small({}, **steps, save_every_steps=often).warnings)
    assert not any("keep_best keeps" in doubt for doubt in plan_small({}, **steps).warnings)
    seldom = {**steps, "keep_best": False}
    assert not any("keep_best keeps" in doubt for doubt in plan_small({}, **seldom, save_every_steps=7).warnings)


@pytest.mark.parametrize("name", ["beta1", "beta2", "momentum", "ema_decay"])
def test_averages_that_never_move(name: str):
    """An average that keeps all of the old is refused; AdamW would make a loss that is no number of it."""
    with pytest.raises(ConfigError, match=rf"train\.{name} is 1, but expected less than 1"):
        TrainConfig(**{name: 1.0})


def test_fp8_and_divided_models():
    """Refused before anything is read."""
    with pytest.raises(ConfigError, match=r"train\.shard and train\.precision=fp8 cannot be combined\. Leave one of them out"):
        TrainConfig(shard=True, precision="fp8")
