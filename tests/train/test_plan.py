"""The plan: every number of a run, before it starts."""

import json

import pytest

from whelp.base.errors import PlanError
from whelp.train import TrainPlan

from .plans import plan_small


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 5, 7, 12, 97])
@pytest.mark.parametrize("micro_batch_rows", [1, 2, 3, 4, 8, 100])
def test_the_pieces_cover_the_batch(batch_rows, micro_batch_rows):
    """The micro-batches hold every row of the batch once, none is empty, and none is larger than asked."""
    plan = plan_small(batch_tokens=batch_rows * 32, micro_batch_rows=micro_batch_rows)
    pieces = [range(batch_rows)[first : first + plan.micro_batch_rows] for first in range(0, batch_rows, plan.micro_batch_rows)]
    assert [row for piece in pieces for row in piece] == list(range(plan.batch_rows))
    assert len(pieces) == plan.accumulation
    assert plan.micro_batch_rows <= micro_batch_rows


def test_batches_are_whole_rows():
    """A batch is rounded to whole rows, one at least."""
    assert [plan_small(batch_tokens=tokens).batch_rows for tokens in (1, 32, 47, 49, 320)] == [1, 1, 1, 2, 10]
    assert plan_small(batch_tokens=300).batch_tokens == 9 * 32


@pytest.mark.parametrize("num_processes", [1, 2, 3, 4, 10])
def test_processes_divide_a_batch(num_processes):
    """Each computes its share in micro-batches; what a step is does not depend on how many there are."""
    plan, alone = plan_small({"num_processes": num_processes}, micro_batch_rows=2), plan_small(micro_batch_rows=2)
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
        plan_small({"num_processes": 11})


def test_evaluation_and_checkpoints():
    """Ten times a run unless asked otherwise; saving follows evaluating; no more rows than there are."""
    plan = plan_small(num_steps=95)
    assert (plan.evaluate_every_steps, plan.save_every_steps, plan.evaluate_rows) == (10, 10, 5)
    plan = plan_small(num_steps=3, evaluate_every_steps=2, evaluate_rows=99)
    assert (plan.evaluate_every_steps, plan.save_every_steps, plan.evaluate_rows) == (2, 2, 5)
    assert plan_small(num_steps=3).evaluate_every_steps == 1


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
    assert plan_small({"is_gpu": is_gpu}, compile=choice, num_steps=num_steps).compile == is_compiled


def test_a_gpu_without_a_compiler():
    """By itself nothing is compiled there; who asks for it is told what is missing."""
    facts = {"is_gpu": True, "can_compile": False}
    assert not plan_small(facts, num_steps=10_000).compile
    with pytest.raises(
        PlanError, match=r"train\.compile: compiling for a GPU takes Triton, which is not installed.*triton-windows"
    ):
        plan_small(facts, num_steps=10_000, compile=True)


def test_a_plan_is_json():
    """A plan can be written, and read back to the same plan."""
    plan = plan_small({"num_test_rows": 0})
    assert TrainPlan(**json.loads(json.dumps(plan.to_dict()))) == plan
