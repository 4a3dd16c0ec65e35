"""The learning rate over a run, as a share of its peak. Pure functions of progress (0 at the start, 1 at the end)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from whelp.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Warm up linearly, then follow a curve down to `final_share`, and stay there."""

    kind: str = "cosine"
    warmup_share: float = 0.0
    decay_share: float = 0.3
    final_share: float = 0.1

    def at(self, progress: float) -> float:
        """The learning rate's share of its peak.

        >>> [round(Schedule(warmup_share=0.5, final_share=0.0).at(p), 2) for p in (0.25, 0.5, 0.75, 1.0, 2.0)]
        [0.5, 1.0, 0.5, 0.0, 0.0]
        """
        if progress < self.warmup_share:
            return progress / self.warmup_share
        if self.kind == "constant":
            return 1.0
        start = 1.0 - self.decay_share if self.kind == "warmup_stable_decay" else self.warmup_share
        if progress < start:
            return 1.0
        passed = 1.0 if start >= 1.0 else min((progress - start) / (1.0 - start), 1.0)
        shape = (1.0 + math.cos(math.pi * passed)) / 2.0 if self.kind == "cosine" else 1.0 - passed
        return self.final_share + (1.0 - self.final_share) * shape


def make_schedule(config: TrainConfig, warmup_share: float) -> Schedule:
    """The schedule of a recipe; `warmup_share` is the plan's, which also knows a warm-up given in steps."""
    return Schedule(
        kind=config.schedule,
        warmup_share=warmup_share,
        decay_share=config.decay_share,
        final_share=config.final_learning_rate_share,
    )
