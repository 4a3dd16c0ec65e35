"""What `whelp train` tells while it works: the plan, evaluations, samples, checkpoints, rewound spikes, the result.

Besides these there is a `StepReport` after every step, which the training room yields.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.result_repr import ResultRepr

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult
    from whelp.model import ModelSpec
    from whelp.train import TrainPlan


@dataclass(frozen=True, kw_only=True)
class TrainResult(ResultRepr):
    """What a run came to. Losses are of the test split, at the end but for `best_...`; None when nothing is held out."""

    folder: str
    step: int
    checkpoint: str | None
    nats_per_token: float | None
    perplexity: float | None
    bits_per_byte: float | None
    elapsed_seconds: float
    is_finished: bool
    is_stopped_early: bool = False  # by train.early_stopping_patience
    num_epochs: float | None = None  # passes over the training rows
    best_step: int | None = None  # of the lowest test loss
    best_test_nats_per_token: float | None = None
    best_checkpoint: str | None = None  # that of `best_step`, where it is kept


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What is going to happen; `resumed_step` is where a run goes on from, `more` the option that makes one that is done longer."""

    plan: TrainPlan
    ledger: dict[str, Any]
    spec: ModelSpec
    resumed_step: int
    more: str | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The test loss at a step; `average` is that of the averaged weights, where they are kept."""

    step: int
    result: LossResult
    average: LossResult | None = None


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A prompt and its continuation at a step."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint was written."""

    step: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class Rewound:
    """The loss jumped: the run stands at `step` again. `skipped_rows`: first and stop of the rows that are left out."""

    step: int
    from_step: int
    loss: float
    skipped_rows: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The run is over, or was asked to stop."""

    result: TrainResult
