"""A small run to plan: what is known of it, and its plan."""

import dataclasses
from typing import Any

from whelp.train import TrainConfig, TrainPlan, make_plan
from whelp.train.plan import Facts

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


def plan_small(facts: dict[str, Any] | None = None, **config: Any) -> TrainPlan:
    """Its plan, with other facts and settings; a batch is ten rows."""
    return make_plan(TrainConfig(**{"batch_tokens": 320} | config), dataclasses.replace(FACTS, **facts or {}))
