"""The learning rate over a run, as a share of its peak. Pure functions of progress (0 at the start, 1 at the end)."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

from whelp.train.batch_ramp import ROUNDING
from whelp.train.config import TrainConfig
from whelp.train.plan import TrainPlan


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Warm up linearly, then follow a curve down to `final_share`, and stay there."""

    kind: str = "cosine"
    warmup_share: float = 0.0
    decay_share: float = 0.3
    decay_from: float | None = None  # where it begins, instead of a share
    final_share: float = 0.1

    @property
    def decay_begin(self) -> float:
        """The progress up to which `warmup_stable_decay` stays at its peak."""
        return 1.0 - self.decay_share if self.decay_from is None else self.decay_from

    def at(self, progress: float) -> float:
        """The learning rate's share of its peak.

        >>> [round(Schedule(warmup_share=0.5, final_share=0.0).at(p), 2) for p in (0.25, 0.5, 0.75, 1.0, 2.0)]
        [0.5, 1.0, 0.5, 0.0, 0.0]
        """
        if progress < self.warmup_share:
            return progress / self.warmup_share
        if self.kind == "constant":
            return 1.0
        start = self.decay_begin if self.kind == "warmup_stable_decay" else self.warmup_share
        if progress <= start:  # the last step of a run that never decays is at its end, too
            return 1.0
        passed = 1.0 if start >= 1.0 else min((progress - start) / (1.0 - start), 1.0)
        shape = (1.0 + math.cos(math.pi * passed)) / 2.0 if self.kind == "cosine" else 1.0 - passed
        return self.final_share + (1.0 - self.final_share) * shape


def make_schedule(config: TrainConfig, plan: TrainPlan) -> Schedule:
    """The schedule of a recipe; the plan knows which share of the run a warm-up or a decay is that was given in steps."""
    begins = config.decay_from_step
    return Schedule(
        kind=config.schedule if begins is None else "warmup_stable_decay",
        warmup_share=plan.warmup_share,
        decay_share=config.decay_share,
        decay_from=None if begins is None else begins / plan.num_steps,
        final_share=config.final_learning_rate_share,
    )


def find_step_before_decay(config: TrainConfig, plan: TrainPlan) -> int | None:
    """The last step at the peak of a schedule that stays there and then decays; None with others, and by the clock."""
    schedule = make_schedule(config, plan)
    if plan.budget_seconds is not None or schedule.kind != "warmup_stable_decay":
        return None
    return bisect_right(range(plan.num_steps + 1), schedule.decay_begin + ROUNDING, key=lambda step: step / plan.num_steps) - 1
