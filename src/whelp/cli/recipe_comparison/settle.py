"""How each side of `whelp compare-recipes` is trained, decided once for all of its runs: so long that all have as much."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.errors import ConfigError, PlanError, TrainingError, WhelpError
from whelp.base.files import read_json, write_json
from whelp.base.machine import count_cores
from whelp.cli.recipe import Recipe
from whelp.cli.recipe_comparison.sides import Equal, Side

if TYPE_CHECKING:
    from whelp.cli.training.session import Session
    from whelp.train import TrainPlan

_DECIDED = ("micro_batch_rows", "threads", "learning_rate", "precision")  # by the first plan of a side; its length by the last
NUM_POINTS = 10  # of a run's curve
_SAMPLE_TOKENS = 1 << 20
_MOST_PLANS = 3  # until a length stands; the second is mostly it
_ROUNDS, _ROUND_SECONDS = 4, 1.0  # of taking the time, one side after the other
_LEAST_STEPS, _MOST_STEPS = 8, 64  # of a round


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What a plan decided for all runs of a recipe: these change the numbers, so no run may choose for itself."""

    num_steps: int
    micro_batch_rows: int
    threads: int
    device: str
    learning_rate: float
    precision: str
    seen_tokens: int
    seen_bytes: int
    compute_flops: float  # of training, forward and backward, on places without a token, too
    num_parameters: int
    estimated_seconds: float | None


def settle(
    sides: Sequence[Side], stores: Mapping[str, Path], equal: Equal, path: Path, num_jobs: int = 1
) -> dict[str, Settled]:
    """Decide once how each side is trained; kept in a file, as another day's plan might decide otherwise.

    The first recipe's length is its own; the others' lengths follow from it, to the nearest step. Equal minutes are steps, too:
    the time of a step is taken before the first run, one side after the other, so that the runs are what they are whatever
    else the machine does meanwhile.

    Args:
        num_jobs: Runs at once: each has its part of the processor's threads.

    Raises:
        ConfigError: When a recipe cannot be so long, naming it.
    """
    if path.is_file():
        return {name: Settled(**values) for name, values in read_json(path).items()}
    sides = [_divide_threads(side, num_jobs) for side in sides]
    timed: Sequence[tuple[Side, float | None]] = [(side, None) for side in sides]
    if equal == "minutes":
        timed = _take_time(sides, stores)
    settled: dict[str, Settled] = {}
    amount: float | None = None
    for side, step_seconds in timed:
        minutes, store = side.recipe.train.minutes, stores[side.name]
        if minutes is not None:
            assert step_seconds is not None, "minutes are for equal minutes, where the time was taken"
            side = _with_length(side, max(1, round(minutes * 60 / step_seconds)))
        one = _settle_one(side, store, step_seconds)
        if amount is None:
            amount = _get_amount(one, equal) if minutes is None else minutes * 60
        side = _with_options(side, **{name: getattr(one, name) for name in _DECIDED})
        for _ in range(_MOST_PLANS):  # each step has its share of places without a token, and batches may grow
            num_steps = max(1, round(one.num_steps * amount / _get_amount(one, equal)))
            if num_steps == one.num_steps:
                break
            one = _settle_one(_with_length(side, num_steps), store, step_seconds)
        settled[side.name] = one
    write_json(path, {name: dataclasses.asdict(one) for name, one in settled.items()})
    return settled


def _divide_threads(side: Side, num_jobs: int) -> Side:
    if num_jobs == 1 or side.recipe.train.threads is not None:
        return side
    return _with_options(side, threads=max(1, count_cores() // num_jobs))


def _with_length(side: Side, num_steps: int) -> Side:
    return _with_options(side, num_steps=num_steps, num_epochs=None, minutes=None, max_epochs=None)


def _with_options(side: Side, **options: Any) -> Side:
    try:
        train = dataclasses.replace(side.recipe.train, **options)
    except ConfigError as error:  # its own steps do not fit into the length that it gets here
        advice = (
            "It gets as many steps as --equal gives it: use shares (train.warmup_share, train.decay_share) in place of steps."
        )
        raise ConfigError(f"compare-recipes: {side.name}", error.problems, advice) from None
    return dataclasses.replace(side, recipe=dataclasses.replace(side.recipe, train=train))


def _plan(side: Side, store: Path) -> tuple[TrainPlan, Session]:
    """The plan of a run, timed by a short probe; what is wrong with it names the side."""
    from whelp.cli.train import plan_training

    try:
        return plan_training(side.recipe, store)
    except (TrainingError, PlanError) as error:
        raise name_side(error, side.name) from None


def name_side(error: WhelpError, name: str) -> WhelpError:
    """An error of a plan or a run, naming which of several it is of.   step 2: ... -> wild, step 2: ..."""
    return type(error)(f"{name}, {error.where}", error.found, error.expected, error.next_step)


def _take_time(sides: Sequence[Side], stores: Mapping[str, Path]) -> list[tuple[Side, float]]:
    """Each side with its threads settled, and the seconds of a step of its full batch.

    Several rounds, every second one in the opposite order: what the machine does meanwhile meets all sides alike. The median of
    the rounds, each the median of its steps.
    """
    from whelp.train.speed_probe import probe_speed

    def take(number: int) -> float:
        plan, session = planned[number]
        guess = (plan.estimated_seconds or 0.0) / plan.num_steps
        return probe_speed(
            session.make_trainable,
            session.choose_rows(plan),
            plan,
            dataclasses.replace(session.recipe.train, threads=plan.threads),
            num_steps=int(min(_MOST_STEPS, max(_LEAST_STEPS, _ROUND_SECONDS / max(guess, 1e-6)))),
            compiles=True,
        ).seconds_per_step

    planned = [_plan(side, stores[side.name]) for side in sides]
    taken: list[list[float]] = [[] for _ in sides]
    for number in range(_ROUNDS):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for place in order:
            taken[place].append(take(place))
    return [
        (
            _with_options(side, threads=plan.threads, learning_rate=session.recipe.train.learning_rate),
            statistics.median(seconds),
        )
        for side, (plan, session), seconds in zip(sides, planned, taken, strict=True)
    ]


def _get_amount(settled: Settled, equal: Equal) -> float:
    """How much a run has of what is equal."""
    if equal == "minutes":
        assert settled.estimated_seconds is not None, "the time of a step was taken"
        return settled.estimated_seconds
    return {"tokens": settled.seen_tokens, "bytes": settled.seen_bytes, "compute": settled.compute_flops}[equal]


def measure_bytes_per_token(store: TokenStore) -> float:
    """Of the training split, measured on its beginning."""
    from whelp.tokenizer import load_tokenizer

    split = store.split("train")
    ids = np.empty(min(split.num_tokens, _SAMPLE_TOKENS), split.dtype)
    split.read_into(0, ids)
    return float(load_tokenizer(store.tokenizer_folder).token_bytes[ids].mean())


def _settle_one(side: Side, store: Path, step_seconds: float | None) -> Settled:
    from whelp.model.build import count_token_flops

    plan, session = _plan(side, store)
    num_rows = plan.count_rows(plan.num_steps)
    return Settled(
        num_steps=plan.num_steps,
        micro_batch_rows=plan.micro_batch_rows,
        threads=plan.threads,
        device=plan.device,
        learning_rate=session.recipe.train.peak_learning_rate,
        precision=plan.precision,
        seen_tokens=plan.total_tokens,
        seen_bytes=round(plan.total_tokens * measure_bytes_per_token(open_store(store))),
        compute_flops=float(num_rows * plan.context_tokens * count_token_flops(session.spec)),
        num_parameters=plan.num_parameters,
        estimated_seconds=plan.estimated_seconds if step_seconds is None else num_rows / plan.batch_rows * step_seconds,
    )


def make_run_recipe(side: Side, settled: Settled, seed: int) -> Recipe:
    """The recipe of one run: settled, measured at some points, and without what is not asked of it here."""
    train = side.recipe.train
    changes: dict[str, Any] = {
        "num_steps": settled.num_steps,
        "num_epochs": None,
        "minutes": None,
        "max_epochs": None,
        "early_stopping_patience": None,
        "keep_best": False,
        **{name: getattr(settled, name) for name in _DECIDED},
        "seed": seed,
        "keep_checkpoints": 1,
        "save_every_steps": max(1, math.ceil(settled.num_steps / NUM_POINTS)),  # each is measured, then goes
        "save_in_background": False,
        "evaluate_rows": train.evaluate_rows or 64,  # its own test split: only to see how the run goes
        "sample_prompts": [],
    }
    return dataclasses.replace(side.recipe, train=dataclasses.replace(train, **changes))
