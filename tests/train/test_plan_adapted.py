"""A plan that a run was started with, and goes on with elsewhere, or with other options."""

import dataclasses

import pytest

from whelp.train.plan import adapt_plan, halve_evaluation, halve_micro_batch

from .plans import plan_small


def test_another_number_of_processes_goes_on():
    """Only how the batch is divided changes; with the old number the old plan is back."""
    alone = plan_small(num_steps=7)
    four = plan_small({"num_processes": 4, "threads": 3}, num_steps=99)
    adapted = adapt_plan(alone, four)
    assert (adapted.num_processes, adapted.micro_batch_rows, adapted.threads, adapted.num_steps) == (4, 3, 3, 7)
    assert adapt_plan(alone, plan_small({"threads": 9}, num_steps=99)) is alone


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
    former = halve_micro_batch(plan_small({"threads": 4}, num_steps=70))
    now = plan_small({"threads": options.get("threads", 9)}, num_steps=99, **options)
    adapted = adapt_plan(former, now, frozenset(options))
    assert {name: getattr(adapted, name) for name in taken} == taken
    assert dataclasses.replace(adapted, **{name: getattr(former, name) for name in (*taken, "estimated_bytes")}) == former
    assert adapt_plan(former, now) is former


def test_a_halved_micro_batch_stays_so_for_other_processes():
    """What the device did not hold it does not hold either when there are more processes, or fewer; another device may."""
    halved = halve_micro_batch(plan_small(micro_batch_rows=5))
    two = plan_small({"num_processes": 2}, micro_batch_rows=5)
    adapted = adapt_plan(halved, two)
    assert (adapted.micro_batch_rows, adapted.accumulation, adapted.is_halved) == (2, 3, True)
    elsewhere = adapt_plan(halved, dataclasses.replace(two, device="cuda"))
    assert (elsewhere.micro_batch_rows, elsewhere.accumulation, elsewhere.is_halved) == (5, 1, False)


def test_fewer_rows_evaluated_stay_so_on_the_device():
    """Until another micro-batch is asked for; another device may hold more."""
    halved, four = halve_evaluation(plan_small(micro_batch_rows=5)), plan_small({"num_processes": 2}, micro_batch_rows=4)
    assert adapt_plan(halved, four).rows_evaluated_at_once == 2
    assert adapt_plan(halved, plan_small(micro_batch_rows=4), frozenset({"micro_batch_rows"})).evaluate_micro_batch_rows is None
    assert adapt_plan(halved, dataclasses.replace(four, device="cuda")).evaluate_micro_batch_rows is None


def test_another_precision_goes_on():
    """Its rows may be larger, so as many as fit are computed at a time; those that were too many do not fit now, either."""
    facts = {
        "is_gpu": True,
        "free_bytes": 4 << 30,
        "width": 4096,
        "ffn_width": 16384,
        "context_tokens": 2048,
        "slices_logits": True,
    }
    bf16, fp32 = (
        plan_small({**facts, "precision": name}, batch_tokens=64 * 2048, num_steps=steps)
        for name, steps in (("bf16", 7), ("fp32", 99))
    )
    adapted = adapt_plan(bf16, fp32, frozenset({"precision"}))
    assert (adapted.precision, adapted.num_steps) == ("fp32", 7)
    assert adapted.micro_batch_rows == fp32.micro_batch_rows < bf16.micro_batch_rows
    halved = halve_micro_batch(dataclasses.replace(fp32, micro_batch_rows=2))
    back = adapt_plan(halved, bf16, frozenset({"precision"}))
    assert (back.precision, back.micro_batch_rows, back.is_halved) == ("bf16", 1, True)
