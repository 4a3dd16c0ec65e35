"""How long an evaluation and the samples of a run take: what the plan of a time budget holds besides steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whelp.cli.training.session import Session
    from whelp.model import LanguageModel
    from whelp.train import TrainPlan

_LONG_SECONDS = 10.0  # of an evaluation: where more rows would take longer on a CPU, fewer are timed
_SAMPLED_TOKENS = 8  # of one prompt; the others, and longer texts, take as much time a token


def time_looking(session: Session, model: LanguageModel, plan: TrainPlan, *, threads: int) -> float:
    """Seconds of an evaluation with its samples, from a small part of both; of many processes, the first one's.

    Each part is done twice, and the second time counts: the first compiles, allocates and warms up.
    """
    import torch

    before = torch.get_num_threads()
    if session.device.type == "cpu":
        torch.set_num_threads(threads)
    try:
        seconds = _time_evaluation(session, model, plan) + _time_samples(session, model)
    finally:
        torch.set_num_threads(before)
    return session.processes.add([seconds if session.processes.is_first else 0.0])[0]


def _time_evaluation(session: Session, model: LanguageModel, plan: TrainPlan) -> float:
    if not session.test_parts:
        return 0.0
    wanted = min(plan.evaluate_rows, plan.rows_evaluated_at_once * session.processes.size)
    least = min(wanted, session.processes.size) if session.device.type == "cpu" else wanted
    num_rows = least
    for _ in range(2):
        start = time.perf_counter()
        result = session.evaluate(model, plan, num_rows=num_rows)
        seconds = time.perf_counter() - start
        agreed = session.processes.largest([seconds])[0]
        num_rows = max(least, min(wanted, int(_LONG_SECONDS / max(agreed / num_rows, 1e-9))))
    return seconds * max(1.0, plan.evaluate_rows / result.num_rows)


def _time_samples(session: Session, model: LanguageModel) -> float:
    config = session.recipe.train
    if not config.sample_prompts or session.is_sharded or not session.processes.is_first:  # a divided one is gathered for it
        return 0.0
    num_tokens = min(_SAMPLED_TOKENS, config.sample_tokens)
    for _ in range(2):
        start = time.perf_counter()
        session.continue_prompt(model, config.sample_prompts[0], num_tokens)
        seconds = time.perf_counter() - start
    return seconds * len(config.sample_prompts) * config.sample_tokens / num_tokens
