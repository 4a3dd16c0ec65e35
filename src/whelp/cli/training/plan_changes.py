"""A run whose plan becomes another one, while it goes on or before: what is said of it, and what its folder remembers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from whelp.artifacts.run_folder import RunFolder
from whelp.base.log import log
from whelp.cli.training.checks import ADAPTED
from whelp.cli.training.session import Session

if TYPE_CHECKING:
    from whelp.train import Progress, TrainPlan


def remember_plan(session: Session, run: RunFolder, plan: TrainPlan) -> None:
    """Write a plan that does less at a time, with the options that it was adapted to: the next command begins with it."""
    started = _read_started(run)
    options = {name: getattr(session.recipe.train, name) for name in ADAPTED}
    recipe = {**started["recipe"], "train": {**started["recipe"]["train"], **options}}
    run.change_plan({**started, "recipe": recipe, "plan": plan.to_dict()}, session.processes.rank)


def change_length(
    session: Session, run: RunFolder, plan: TrainPlan, progress: Progress, *, former: TrainPlan, former_decay: int | None
) -> None:
    """Say what another length, or decay, than the run had so far does to the learning rate, and write it into the run folder.

    Raises:
        PlanError: When the run has come further than that.
    """
    from whelp.train.length_change import describe_change

    recipe, step = session.recipe, progress.step
    change = describe_change(former, plan, recipe.train, progress, former_decay=former_decay)
    if change is None or not session.processes.is_first:
        return
    note = "the run is to be %s long, not %s: from step %d on the learning rate is that of a run so long (%s): %.3g, where it was %.3g"
    rates = recipe.train.schedule, change.rate_now, change.rate_before
    log.warning(note, change.now, change.before, step + 1, *rates)
    lengths = [*_read_started(run).get("lengths", []), {"until_step": step, "length": change.before}]
    _write_changed(session, run, plan, {"lengths": lengths})


def change_precision(session: Session, run: RunFolder, plan: TrainPlan, progress: Progress) -> None:
    """Say that a run goes on in another precision than it had so far, and write that into the run folder."""
    started = _read_started(run) if session.processes.is_first else None
    if started is None or started["plan"]["precision"] == plan.precision:
        return
    before, step = started["plan"]["precision"], progress.step
    log.warning(
        "from step %d on products are in %s, no longer in %s: losses are nearly the same", step + 1, plan.precision, before
    )
    former = started.get("precisions", [])
    kept = [one for one in former if one["until_step"] < step]
    latest = former[len(kept)]["precision"] if len(kept) < len(former) else before  # of the last step that stands
    if step and latest != plan.precision:
        kept.append({"until_step": step, "precision": latest})
    _write_changed(session, run, plan, {"precisions": kept}, precision=plan.precision)


def _write_changed(
    session: Session, run: RunFolder, plan: TrainPlan, values: dict[str, Any], *, precision: str | None = None
) -> None:
    """Write the recipe that there is now; a precision that was left to us stays so, unless another one was asked for."""
    started = _read_started(run)
    asked: Any = precision or started["recipe"]["train"]["precision"]
    recipe = dataclasses.replace(session.recipe, train=dataclasses.replace(session.recipe.train, precision=asked))
    run.start(recipe.to_yaml(), {**started, "recipe": recipe.to_values(), "plan": plan.to_dict(), **values})


def _read_started(run: RunFolder) -> dict[str, Any]:
    started = run.read_plan()
    assert started is not None, "a run that trains, or goes on, has a plan"
    return started
