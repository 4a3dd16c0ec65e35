"""Another length for a run that has begun: the plan for it, and what becomes of the learning rate."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

from whelp.base.counts import say_count
from whelp.base.errors import PlanError
from whelp.train.config import TrainConfig
from whelp.train.fit import Progress, find_share_done
from whelp.train.plan import TrainPlan
from whelp.train.schedule import make_schedule


@dataclass(frozen=True, kw_only=True)
class LengthChange:
    """A run of one length, or of one decay, goes on as one of another.

    Attributes:
        before, now: The lengths in words: "4,000 steps", "10 minutes".
        rate_before: The learning rate of the last step, or of the one that would have been next, were nothing done.
        rate_now: That of the next step.
    """

    before: str
    now: str
    rate_before: float
    rate_now: float


def lengthen_plan(plan: TrainPlan, now: TrainPlan, config: TrainConfig) -> TrainPlan:
    """The plan a run was started with, as long as `now`. Batches, rows and how often things are done stay.

    Batches that grow do so over the steps, or the minutes, over which they did; where one becomes the other, over the same share.
    So a length in epochs is in other steps than those of `now`, whose batches grow over a share of the new length.
    """

    def at_length(num_steps: int) -> TrainPlan:
        ramp_share = plan.batch_ramp_share
        if plan.budget_seconds is not None and now.budget_seconds is not None:
            ramp_share *= plan.budget_seconds / now.budget_seconds
        elif plan.budget_seconds is None and now.budget_seconds is None:
            ramp_share *= plan.num_steps / num_steps
        longer = replace(plan, num_steps=num_steps, budget_seconds=now.budget_seconds, batch_ramp_share=ramp_share)
        return replace(longer, most_rows=now.most_rows)

    num_steps, rows_then = now.num_steps, now.count_rows(now.num_steps)
    rows_in_epoch = round(rows_then / now.num_epochs)
    if config.num_steps is config.minutes is None and plan.smaller_batch_rows:
        wanted = min(config.num_epochs or 1.0, config.max_epochs or math.inf) * rows_in_epoch
        most = math.ceil(wanted / min((plan.batch_rows, *plan.smaller_batch_rows))) + 1
        lengths = range(1, most + 1)
        num_steps = lengths[bisect_left(lengths, wanted, key=lambda steps: at_length(steps).count_rows(steps))]
    longer = at_length(num_steps)
    total_rows = longer.count_rows(num_steps)
    estimated = now.estimated_seconds
    return replace(
        longer,
        num_epochs=total_rows / rows_in_epoch,
        warmup_share=now.warmup_share if config.warmup_steps is None else min(config.warmup_steps / num_steps, 1.0),
        estimated_seconds=estimated * total_rows / rows_then if estimated and not now.budget_seconds else estimated,
        warnings=now.warnings,
        total_tokens=round(plan.total_tokens / plan.count_rows(plan.num_steps) * total_rows),
    )


def describe_change(
    plan: TrainPlan, now: TrainPlan, config: TrainConfig, progress: Progress, *, former_decay: int | None = None
) -> LengthChange | None:
    """What another length, or a decay from another step on, changes for a run that stands at `progress`; None when it is the same.

    The learning rate follows the schedule of the new length from the next step on, as if the run had been planned so. A rate
    that had come down goes up again at once: over how many steps it is raised hardly matters (Gupta et al. 2023,
    arXiv:2308.04014), and `warmup_stable_decay` may jump from its end to the peak (Wen et al. 2024, arXiv:2410.05192).

    Args:
        former_decay: The `decay_from_step` that the run had so far.

    Raises:
        PlanError: When the run has come further than that.
    """
    former = replace(config, num_steps=None, num_epochs=None, minutes=None, decay_from_step=former_decay)
    before, after = ((one.num_steps, one.budget_seconds, one.most_rows) for one in (plan, now))
    if before == after and former_decay == config.decay_from_step:
        return None
    begins = config.decay_from_step
    if begins is not None and begins != former_decay and begins < progress.step:
        advice = f"From now on: train.decay_from_step={progress.step}."
        found = f"it has done {say_count(progress.step, 'step')}"
        raise PlanError("the run", found, f"no more than train.decay_from_step, {begins:,}", advice)
    if find_share_done(progress, now) >= 1.0:
        done = (
            f"{round(progress.elapsed_seconds / 60, 3):g} minutes" if now.budget_seconds else say_count(progress.step, "step")
        )
        own = f"train.minutes={plan.budget_seconds / 60:g}" if plan.budget_seconds else f"train.num_steps={plan.num_steps}"
        next_step = f"Give it more, or leave it the length it has: {own}."
        raise PlanError("the run", f"it has done {done}", f"a length above that, not {_say_length(now)}", next_step)
    rate_before, rate_now = _find_rate(plan, former, progress, 0), _find_rate(now, config, progress, 1)
    rates = [config.peak_learning_rate * rate for rate in (rate_before, rate_now)]
    says = [_say_length(one, decay) for one, decay in ((plan, former_decay), (now, begins))]
    return LengthChange(before=says[0], now=says[1], rate_before=rates[0], rate_now=rates[1])


def _find_rate(plan: TrainPlan, config: TrainConfig, progress: Progress, is_next: int) -> float:
    share = find_share_done(progress, plan) + (is_next or not progress.step) / plan.num_steps
    return make_schedule(config, plan).at(min(share, 1.0))


def _say_length(plan: TrainPlan, decay_from_step: int | None = None) -> str:
    length = f"{plan.budget_seconds / 60:g} minutes" if plan.budget_seconds is not None else say_count(plan.num_steps, "step")
    if plan.most_rows is not None:
        length += f" ({say_count(plan.most_rows, 'row')} at most)"
    return length if decay_from_step is None else f"{length} (decaying after step {decay_from_step:,})"
