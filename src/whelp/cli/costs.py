"""What a run will cost besides time: room on the disk for its checkpoints, and money, where an hour has a price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whelp.model import ModelSpec
    from whelp.train import TrainConfig, TrainPlan

_BYTES = 4  # of a number in a checkpoint
_SAVED_BYTES_A_SECOND = 300e6  # copied, written, synced and summed up, one after the other
_COPIED_BYTES_A_SECOND = 5e9  # from a GPU, while the rest is done in the background


@dataclass(frozen=True, kw_only=True)
class Costs:
    """`num_checkpoints` are at most on the disk at once, the one that is being written with them; `price` is None without one of an hour."""

    checkpoint_bytes: int
    num_checkpoints: int
    disk_bytes: int
    price: float | None


def estimate_costs(plan: TrainPlan, config: TrainConfig, spec: ModelSpec, price_per_hour: float | None = None) -> Costs:
    """Estimate what a plan costs; the price is that of its time."""
    from whelp.train.schedule import find_step_before_decay

    checkpoint = count_checkpoint_bytes(config, spec)
    is_before_decay = find_step_before_decay(config, plan) is not None
    written = -(-plan.num_steps // plan.save_every_steps) + is_before_decay
    kept = config.keep_checkpoints + config.keep_best + is_before_decay
    if config.keep_every_steps is not None:
        kept += plan.num_steps // config.keep_every_steps
    most = min(written, kept + 1)
    hours = None if plan.estimated_seconds is None else plan.estimated_seconds / 3600
    return Costs(
        checkpoint_bytes=checkpoint,
        num_checkpoints=most,
        disk_bytes=most * checkpoint,
        price=None if price_per_hour is None or hours is None else hours * price_per_hour,
    )


def estimate_saving_seconds(config: TrainConfig, spec: ModelSpec, *, is_gpu: bool) -> float:
    """For how long a checkpoint holds up training: a guess, as disks differ."""
    in_background = is_gpu if config.save_in_background == "auto" else config.save_in_background
    return count_checkpoint_bytes(config, spec) / (_COPIED_BYTES_A_SECOND if in_background else _SAVED_BYTES_A_SECOND)


def count_checkpoint_bytes(config: TrainConfig, spec: ModelSpec) -> int:
    """Weights, the optimizer's state, averaged weights (a copy to use, and one to go on with); vocabulary and counters are small."""
    from whelp.model.build import build_skeleton

    model, numbers = build_skeleton(spec), 0
    for name, parameter in model.named_parameters():
        is_muon = config.optimizer == "muon" and parameter.ndim == 2 and model.is_block_matrix(name)
        copies = 1 + (1 if is_muon else 2) + (0 if config.ema_decay is None else 2)
        numbers += copies * parameter.numel()
    return _BYTES * numbers
