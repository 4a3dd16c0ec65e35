"""How many rows are computed at a time: what memory holds by estimate, and what it was found to hold."""

import dataclasses

import pytest
import torch

from whelp.base.errors import PlanError, TrainingError
from whelp.train.plan import estimate_row_bytes, halve_evaluation, halve_micro_batch

from .plans import FACTS, plan_small


def test_micro_batches_fit_a_third_of_the_memory():
    """With little memory a batch is computed in even pieces; the estimate counts one piece."""
    row_bytes = estimate_row_bytes(FACTS)
    plan = plan_small({"free_bytes": 3 * 4 * row_bytes})
    assert (plan.batch_rows, plan.micro_batch_rows, plan.accumulation) == (10, 4, 3)
    assert plan.estimated_bytes == 16 * 1000 + 4 * row_bytes
    assert plan_small({"free_bytes": 10**12}).accumulation == 1


def test_too_little_memory():
    """When not even one row fits, there is no plan, and the numbers say why."""
    with pytest.raises(
        PlanError,
        match=r"weights, optimizer and one row need about 16\.0 GB, but expected at most the 2\.0 GB that are free\. Lower",
    ):
        plan_small({"num_parameters": 10**9, "free_bytes": 2 * 10**9})


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
    plan = plan_small(facts, batch_tokens=64 * 1024)
    row_bytes = estimate_row_bytes(dataclasses.replace(FACTS, **facts))
    assert 2 <= plan.micro_batch_rows == (0.8 * (7 << 30) - 16 * 124_000_000 - (7 << 27)) // row_bytes


def test_fp8_keeps_what_bf16_keeps_and_the_gradient_of_logits():
    """Rows take the same memory, beside 5 GiB more for the head; a narrow model is told that it gains nothing."""
    facts = {"is_gpu": True, "width": 768, "free_bytes": 96 << 30, "slices_logits": True}
    narrow, eight, wide = (dataclasses.replace(FACTS, **facts, precision=name) for name in ("bf16", "fp8", "fp32"))
    assert estimate_row_bytes(eight) == estimate_row_bytes(narrow) == estimate_row_bytes(wide) // 2
    row_bytes = estimate_row_bytes(narrow)
    rows = [plan_small({**facts, "precision": name}, batch_tokens=32 << 20).micro_batch_rows for name in ("bf16", "fp8")]
    assert rows[0] - rows[1] == pytest.approx((5 << 30) / row_bytes, rel=0.5)
    assert not any("fp8" in doubt for doubt in plan_small({**facts, "precision": "fp8"}).warnings)
    doubts = plan_small({**facts, "precision": "fp8", "width": 256}).warnings
    assert "a model of n_embd 256 is hardly faster with train.precision=fp8 than with bf16" in doubts


def test_half_the_micro_batch():
    """Half as many rows at a time, twice as often; down to one."""
    halved = halve_micro_batch(plan_small(micro_batch_rows=5))
    assert (halved.micro_batch_rows, halved.accumulation, halved.batch_rows, halved.is_halved) == (2, 5, 10, True)
    again = halve_micro_batch(halved)
    assert (again.micro_batch_rows, again.accumulation, again.batch_rows, again.is_halved) == (1, 10, 10, True)
    with pytest.raises(
        TrainingError, match=r"out of memory with 1 row at a time, but expected room\. Lower pack\.context_tokens"
    ):
        halve_micro_batch(again)


def test_half_as_many_rows_evaluated():
    """Training has as many as before; where that has fewer, so has an evaluation."""
    plan = plan_small(micro_batch_rows=5)
    halved = halve_evaluation(plan)
    assert (plan.rows_evaluated_at_once, halved.rows_evaluated_at_once) == (5, 2)
    assert dataclasses.replace(halved, evaluate_micro_batch_rows=None) == plan
    again = halve_evaluation(halved)
    assert halve_micro_batch(plan).rows_evaluated_at_once == 2
    assert halve_micro_batch(again).rows_evaluated_at_once == 1
    with pytest.raises(
        TrainingError, match=r"out of memory in an evaluation with 1 row at a time, but expected room\. Lower pack"
    ):
        halve_evaluation(again)


def test_memory_that_a_probe_found():
    """What steps, and evaluations, needed when they were timed is more than any estimate."""
    plan = plan_small({"most_rows_evaluated_at_once": 3}, micro_batch_rows=5)
    assert (plan.micro_batch_rows, plan.rows_evaluated_at_once, plan.is_halved) == (5, 3, False)
    plan = plan_small({"most_rows_at_once": 3}, micro_batch_rows=5)
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


def test_apples_gpu_takes_no_more_than_4_gib_at_a_time():
    """Single tensors above that go wrong there, however much memory there is."""
    sizes = {"vocab_size": 50_000, "context_tokens": 1024, "free_bytes": 96 << 30}
    rows = {
        device: plan_small({**sizes, "device": device}, batch_tokens=64 * 1024).micro_batch_rows for device in ("mps", "cpu")
    }
    row_bytes = estimate_row_bytes(dataclasses.replace(FACTS, **sizes))
    assert rows["mps"] * row_bytes <= 4 << 30 < rows["cpu"] * row_bytes
