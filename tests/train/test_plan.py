"""The plan: every number of a run, before it starts."""

import dataclasses
import itertools
import json

import pytest
import torch

from whelp.base.errors import ConfigError, PlanError, TrainingError
from whelp.train import TrainConfig, make_plan
from whelp.train.plan import Facts, TrainPlan, adapt_plan, estimate_row_bytes, halve_micro_batch
from whelp.train.schedule import make_schedule

FACTS = Facts(
    num_parameters=1000,
    num_layers=2,
    width=16,
    ffn_width=64,
    vocab_size=64,
    context_tokens=32,
    num_rows=100,
    num_train_tokens=3200,
    num_test_rows=5,
    device="cpu",
    precision="fp32",
    is_gpu=False,
    free_bytes=0,
    threads=1,
)


def _plan(facts: dict | None = None, **config) -> TrainPlan:
    return make_plan(TrainConfig(**{"batch_tokens": 320} | config), dataclasses.replace(FACTS, **facts or {}))


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 5, 7, 12, 97])
@pytest.mark.parametrize("micro_batch_rows", [1, 2, 3, 4, 8, 100])
def test_the_pieces_cover_the_batch(batch_rows, micro_batch_rows):
    """The micro-batches hold every row of the batch once, none is empty, and none is larger than asked."""
    plan = _plan(batch_tokens=batch_rows * 32, micro_batch_rows=micro_batch_rows)
    pieces = [range(batch_rows)[first : first + plan.micro_batch_rows] for first in range(0, batch_rows, plan.micro_batch_rows)]
    assert [row for piece in pieces for row in piece] == list(range(plan.batch_rows))
    assert len(pieces) == plan.accumulation
    assert plan.micro_batch_rows <= micro_batch_rows


def test_batches_are_whole_rows():
    """A batch is rounded to whole rows, one at least."""
    assert [_plan(batch_tokens=tokens).batch_rows for tokens in (1, 32, 47, 49, 320)] == [1, 1, 1, 2, 10]
    assert _plan(batch_tokens=300).batch_tokens == 9 * 32


def test_micro_batches_fit_a_third_of_the_memory():
    """With little memory a batch is computed in even pieces; the estimate counts one piece."""
    row_bytes = estimate_row_bytes(FACTS)
    plan = _plan({"free_bytes": 3 * 4 * row_bytes})
    assert (plan.batch_rows, plan.micro_batch_rows, plan.accumulation) == (10, 4, 3)
    assert plan.estimated_bytes == 16 * 1000 + 4 * row_bytes
    assert _plan({"free_bytes": 10**12}).accumulation == 1


def test_too_little_memory():
    """When not even one row fits, there is no plan, and the numbers say why."""
    with pytest.raises(
        PlanError,
        match=r"weights, optimizer and one row need about 16\.0 GB, but expected at most the 2\.0 GB that are free\. Lower",
    ):
        _plan({"num_parameters": 10**9, "free_bytes": 2 * 10**9})


def test_many_tokens_left_out():
    """Cutting documents off is a choice, and said where it costs much."""
    known = {"num_train_tokens": 1000, "context_tokens": 32}
    assert not any("left out" in doubt for doubt in _plan({**known, "num_cut_tokens": 40}).warnings)
    (doubt,) = [doubt for doubt in _plan({**known, "num_cut_tokens": 710}).warnings if "left out" in doubt]
    assert doubt.startswith("71% of the tokens are left out, as the rest of documents longer than a row (32 tokens")
    assert doubt.endswith("pack.long=split trains them, in more rows")


def test_a_small_gpu_keeps_less_for_the_head():
    """GPT-2 on a card of 8 GB: an eighth of its memory is kept for the head, whose slices are shorter there, and several rows fit."""
    facts = {
        "is_gpu": True,
        "slices_logits": True,
        "num_parameters": 124_000_000,
        "num_layers": 12,
        "width": 768,
        "ffn_width": 3072,
    }
    facts |= {"vocab_size": 50_304, "context_tokens": 1024, "precision": "bf16", "free_bytes": 7 << 30}
    plan = _plan(facts, batch_tokens=64 * 1024)
    row_bytes = estimate_row_bytes(dataclasses.replace(FACTS, **facts))
    assert 2 <= plan.micro_batch_rows == (0.8 * (7 << 30) - 16 * 124_000_000 - (7 << 27)) // row_bytes


def test_fp8_keeps_what_bf16_keeps_and_the_gradient_of_logits():
    """Rows take the same memory, beside 5 GiB more for the head; a narrow model is told that it gains nothing."""
    facts = {"is_gpu": True, "width": 768, "free_bytes": 96 << 30, "slices_logits": True}
    narrow, eight, wide = (dataclasses.replace(FACTS, **facts, precision=name) for name in ("bf16", "fp8", "fp32"))
    assert estimate_row_bytes(eight) == estimate_row_bytes(narrow) == estimate_row_bytes(wide) // 2
    row_bytes = estimate_row_bytes(narrow)
    rows = [_plan({**facts, "precision": name}, batch_tokens=32 << 20).micro_batch_rows for name in ("bf16", "fp8")]
    assert rows[0] - rows[1] == pytest.approx((5 << 30) / row_bytes, rel=0.5)
    assert not any("fp8" in doubt for doubt in _plan({**facts, "precision": "fp8"}).warnings)
    doubts = _plan({**facts, "precision": "fp8", "width": 256}).warnings
    assert "a model of n_embd 256 is hardly faster with train.precision=fp8 than with bf16" in doubts


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
    assert f"train.{name}={value} has no effect: {reason}" in _plan({}, **options).warnings
    assert not any("has no effect" in doubt for doubt in _plan({}, **{**options, **without}).warnings)


def test_the_best_checkpoint_of_nothing():
    """Where nothing is held out there is no best checkpoint, and no stopping early: both are said."""
    best = {"keep_best": True, "early_stopping_patience": 2}
    doubts = [doubt for doubt in _plan({"num_test_rows": 0}, **best).warnings if "has no effect" in doubt]
    assert doubts == [
        "train.keep_best=true has no effect: nothing is held out",
        "train.early_stopping_patience=2 has no effect: nothing is held out",
    ]
    assert not any("has no effect" in doubt for doubt in _plan({"num_test_rows": 5}, **best).warnings)


@pytest.mark.parametrize("name", ["beta1", "beta2", "momentum", "ema_decay"])
def test_averages_that_never_move(name: str):
    """An average that keeps all of the old is refused; AdamW would make a loss that is no number of it."""
    with pytest.raises(ConfigError, match=rf"train\.{name} is 1, but expected less than 1"):
        TrainConfig(**{name: 1.0})


def test_fp8_and_divided_models():
    """Refused before anything is read."""
    with pytest.raises(ConfigError, match=r"train\.shard and train\.precision=fp8 cannot be combined\. Leave one of them out"):
        TrainConfig(shard=True, precision="fp8")


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
    plan = _plan({"seconds_per_step": 0.5}, **config)
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
    plan = _plan({"seconds_per_step": 0.5, "seconds_per_look": 0.5, "seconds_per_save": 0.2}, minutes=2, **config)
    assert plan.num_steps == pytest.approx(num_steps, abs=1)
    assert plan.estimated_seconds == 120


def test_evaluations_that_take_long_come_less_often():
    """They get a quarter of a time budget: of 120 s, three times 10 s; one there is in any case."""
    assert _plan({"seconds_per_step": 0.5, "seconds_per_look": 10.0}, minutes=2).evaluate_every_steps == 67
    plan = _plan({"seconds_per_step": 0.5, "seconds_per_look": 100.0}, minutes=2)
    assert (plan.num_steps, plan.evaluate_every_steps) == (240, 240)


def test_the_time_of_steps_is_not_all():
    """A run of steps takes as long as these, its evaluations and its checkpoints."""
    plan = _plan({"seconds_per_step": 0.5, "seconds_per_look": 2.0, "seconds_per_save": 1.0}, num_steps=100)
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
    plan = _plan({"seconds_per_step": 0.5}, **config)
    assert (plan.num_steps, plan.most_rows) == (num_steps, most_rows)
    if most_rows == 300:
        assert plan.estimated_seconds == 15.0


def test_a_small_text_is_said_to_be_small():
    """What ends the run, and what it ends instead of; and more text is what is wanted, not more time."""
    facts = {"seconds_per_step": 0.5}
    doubts = _plan(facts, minutes=2, max_epochs=3).warnings
    assert doubts[0].endswith("= 20,000: more text, or a smaller model, does better")
    assert doubts[1].startswith(
        "the text is small: after 3 passes over it (train.max_epochs) the run ends, not after 2 min 00 s"
    )
    assert "not after 50 steps" in _plan(facts, num_steps=50, max_epochs=3).warnings[1]
    assert _plan(QUIET | facts, minutes=2, max_epochs=30).warnings != []
    assert "train.keep_best=true" in _plan(QUIET, num_epochs=9).warnings[0]
    assert "train.keep_best=true" not in _plan(QUIET, num_epochs=9, keep_best=True).warnings[0]


def test_empty_places_are_no_tokens():
    """Rows of less than their width: 100 of them with 1,200 tokens, seen one and a half times."""
    plan = _plan({"num_rows": 100, "num_train_tokens": 1200}, num_epochs=1.5)
    assert plan.total_tokens == 1800 < plan.num_steps * plan.batch_tokens
    assert any(doubt.startswith("1,800 tokens will be seen") for doubt in plan.warnings)


def test_evaluation_and_checkpoints():
    """Ten times a run unless asked otherwise; saving follows evaluating; no more rows than there are."""
    plan = _plan(num_steps=95)
    assert (plan.evaluate_every_steps, plan.save_every_steps, plan.evaluate_rows) == (10, 10, 5)
    plan = _plan(num_steps=3, evaluate_every_steps=2, evaluate_rows=99)
    assert (plan.evaluate_every_steps, plan.save_every_steps, plan.evaluate_rows) == (2, 2, 5)
    assert _plan(num_steps=3).evaluate_every_steps == 1


def test_warm_up_in_steps():
    """Warm-up steps become a share of the run."""
    assert _plan(num_steps=40, warmup_steps=10).warmup_share == 0.25
    assert _plan(num_epochs=1, warmup_steps=99).warmup_share == 1.0
    assert _plan(num_steps=40).warmup_share == TrainConfig().warmup_share


@pytest.mark.parametrize(
    ("choice", "is_gpu", "num_steps", "is_compiled"),
    [
        ("auto", True, 1000, True),
        ("auto", True, 499, False),
        ("auto", False, 4999, False),
        (True, False, 1, True),
        (False, True, 499, False),
    ],
)
def test_compiling(choice, is_gpu, num_steps, is_compiled):
    """By itself only on a GPU, in a run that is long enough."""
    assert _plan({"is_gpu": is_gpu}, compile=choice, num_steps=num_steps).compile == is_compiled


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
    (only,) = _plan(facts, **config).warnings
    with pytest.raises(AssertionError, match=warning):
        raise AssertionError(only)


def test_no_doubts():
    """Right at the borders nothing is said."""
    assert _plan({"num_parameters": 160}).warnings == []
    assert _plan(QUIET, num_epochs=8).warnings == []
    assert _plan(QUIET | {"num_rows": 10}).warnings == []
    assert _plan(QUIET | {"has_fixed_width": False}).warnings == []
    assert _plan(QUIET, compile=True).warnings == []


def test_a_plan_is_json():
    """A plan can be written, and read back to the same plan."""
    plan = _plan({"num_test_rows": 0})
    assert TrainPlan(**json.loads(json.dumps(plan.to_dict()))) == plan


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
        ({"num_epochs": 0.0}, r"train\.num_epochs is 0, but expected more than 0"),
        ({"minutes": 0.0}, r"train\.minutes is 0, but expected more than 0"),
        ({"max_epochs": 0.0}, r"train\.max_epochs is 0, but expected more than 0"),
    ],
)
def test_settings_that_contradict(config, message):
    """Contradictions are told, before any plan."""
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**config)


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
        _plan(num_epochs=2, schedule="constant", warmup_share=0.5, decay_from_step=9)
    assert _plan(num_steps=20, schedule="constant", decay_from_step=0).num_steps == 20


@pytest.mark.parametrize("num_processes", [1, 2, 3, 4, 10])
def test_processes_divide_a_batch(num_processes):
    """Each computes its share in micro-batches; what a step is does not depend on how many there are."""
    plan, alone = _plan({"num_processes": num_processes}, micro_batch_rows=2), _plan(micro_batch_rows=2)
    share = -(-10 // num_processes)
    assert plan.num_processes == num_processes
    assert plan.accumulation == -(-share // 2)
    assert plan.accumulation * plan.micro_batch_rows >= share
    for name in ("num_steps", "batch_rows", "batch_tokens", "total_tokens", "warmup_share", "evaluate_every_steps"):
        assert getattr(plan, name) == getattr(alone, name)


def test_more_processes_than_rows():
    """A batch that cannot be divided is refused."""
    message = (
        r"a batch of 10 rows is to be divided among 11 processes, but expected a row for each at least\. "
        r"Raise train\.batch_tokens to 352 or more"
    )
    with pytest.raises(PlanError, match=message):
        _plan({"num_processes": 11})


def test_another_number_of_processes_goes_on():
    """Only how the batch is divided changes; with the old number the old plan is back."""
    alone = _plan(num_steps=7)
    four = _plan({"num_processes": 4, "threads": 3}, num_steps=99)
    adapted = adapt_plan(alone, four)
    assert (adapted.num_processes, adapted.micro_batch_rows, adapted.threads, adapted.num_steps) == (4, 3, 3, 7)
    assert adapt_plan(alone, _plan({"threads": 9}, num_steps=99)) is alone


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({"threads": 1}, {"threads": 1}),
        ({"compile": True}, {"compile": True}),
        ({"micro_batch_rows": 2}, {"micro_batch_rows": 2, "accumulation": 5, "is_halved": False}),
        ({"save_every_steps": 3}, {"save_every_steps": 3}),
        ({"evaluate_every_steps": 3}, {"evaluate_every_steps": 3, "save_every_steps": 3}),
    ],
)
def test_changed_options_go_on(options, taken):
    """Of a plan made now, what a changed option decides is taken over, and nothing else."""
    former = halve_micro_batch(_plan({"threads": 4}, num_steps=70))
    now = _plan({"threads": options.get("threads", 9)}, num_steps=99, **options)
    adapted = adapt_plan(former, now, frozenset(options))
    assert {name: getattr(adapted, name) for name in taken} == taken
    assert dataclasses.replace(adapted, **{name: getattr(former, name) for name in (*taken, "estimated_bytes")}) == former
    assert adapt_plan(former, now) is former


def test_half_the_micro_batch():
    """Half as many rows at a time, twice as often; down to one."""
    halved = halve_micro_batch(_plan(micro_batch_rows=5))
    assert (halved.micro_batch_rows, halved.accumulation, halved.batch_rows, halved.is_halved) == (2, 5, 10, True)
    again = halve_micro_batch(halved)
    assert (again.micro_batch_rows, again.accumulation, again.batch_rows, again.is_halved) == (1, 10, 10, True)
    with pytest.raises(
        TrainingError, match=r"out of memory with 1 row at a time, but expected room\. Lower pack\.context_tokens"
    ):
        halve_micro_batch(again)


def test_a_halved_micro_batch_stays_so_for_other_processes():
    """What the device did not hold it does not hold either when there are more processes, or fewer; another device may."""
    halved = halve_micro_batch(_plan(micro_batch_rows=5))
    two = _plan({"num_processes": 2}, micro_batch_rows=5)
    adapted = adapt_plan(halved, two)
    assert (adapted.micro_batch_rows, adapted.accumulation, adapted.is_halved) == (2, 3, True)
    elsewhere = adapt_plan(halved, dataclasses.replace(two, device="cuda"))
    assert (elsewhere.micro_batch_rows, elsewhere.accumulation, elsewhere.is_halved) == (5, 1, False)


def test_memory_that_a_probe_found():
    """What steps needed when they were timed is more than any estimate."""
    plan = _plan({"most_rows_at_once": 3}, micro_batch_rows=5)
    assert (plan.micro_batch_rows, plan.accumulation, plan.is_halved) == (3, 4, True)


def test_activations_computed_again_need_less_memory():
    """Of all blocks but one, only what goes in is kept."""
    deep = {"num_layers": 20}
    kept, again = (estimate_row_bytes(dataclasses.replace(FACTS, **deep, keeps_activations=keeps)) for keeps in (True, False))
    assert again < kept / 3


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "rwkv7", "rwkv6", "rwkv5", "rwkv4"])
def test_what_a_block_keeps_is_estimated(make_model, family):
    """At least what it keeps for its backward pass on a CPU, and at most four fifths more."""
    width, length, rows = 256, 128, 2
    kept, estimated = [], []
    for num_layers in (1, 2):
        model = make_model(family, n_layer=num_layers, n_head=4, n_embd=width, context_tokens=length)
        kept.append(_count_kept_bytes(model, torch.randint(0, 60, (rows, length))))
        sizes = {"num_layers": num_layers, "width": width, "ffn_width": model.spec.ffn_width, "context_tokens": length}
        estimated.append(rows * estimate_row_bytes(dataclasses.replace(FACTS, **sizes, family=family)))
    of_block = kept[1] - kept[0]
    assert of_block <= estimated[1] - estimated[0] <= 1.8 * of_block


def _count_kept_bytes(model, ids):
    """Bytes of what a loss keeps for its gradient, without the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.loss(ids, ids)
    return sum(storage.nbytes() for place, storage in kept.items() if place not in weights)


def test_kernels_on_a_gpu_keep_less():
    """Of generations 5 to 7; RWKV-4, which has none, is reckoned as on a CPU."""
    on_gpu, on_cpu = (
        {
            family: estimate_row_bytes(dataclasses.replace(FACTS, family=family, is_gpu=is_gpu, width=512))
            for family in ("rwkv4", "rwkv7")
        }
        for is_gpu in (True, False)
    )
    assert on_gpu["rwkv4"] == on_cpu["rwkv4"] < on_gpu["rwkv7"] < on_cpu["rwkv7"]


def test_a_gpu_without_a_compiler():
    """By itself nothing is compiled there; who asks for it is told what is missing."""
    facts = {"is_gpu": True, "can_compile": False}
    assert not _plan(facts, num_steps=10_000).compile
    with pytest.raises(
        PlanError, match=r"train\.compile: compiling for a GPU takes Triton, which is not installed.*triton-windows"
    ):
        _plan(facts, num_steps=10_000, compile=True)


def test_apples_gpu_takes_no_more_than_4_gib_at_a_time():
    """Single tensors above that go wrong there, however much memory there is."""
    sizes = {"vocab_size": 50_000, "context_tokens": 1024, "free_bytes": 96 << 30}
    rows = {device: _plan({**sizes, "device": device}, batch_tokens=64 * 1024).micro_batch_rows for device in ("mps", "cpu")}
    row_bytes = estimate_row_bytes(dataclasses.replace(FACTS, **sizes))
    assert rows["mps"] * row_bytes <= 4 << 30 < rows["cpu"] * row_bytes
