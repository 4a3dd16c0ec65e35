"""A run that is refused to go on: with other settings, on another store, without its plan. It stays as it is."""

from __future__ import annotations

import shutil

from .helpers import Project, Whelp, prepare_project, said_once, snapshot, train_project


def test_a_run_started_with_other_settings(whelp: Whelp, project: Project) -> None:
    """It is not mixed: what differs is named, and the run stays as it is; what changes nothing may change."""
    assert prepare_project(whelp, project).code == 0
    assert train_project(whelp, project).code == 0
    before = snapshot(project.run)
    message = said_once(train_project(whelp, project, "train.learning_rate=0.5", "model.n_layer=2", "train.batch_tokens=32"))
    for change in (
        "train.learning_rate: 0.01 -> 0.5",
        "model.n_layer: 1 -> 2",
        "train.batch_tokens: 64 -> 32",
        "or begin a new run with another --out.",
    ):
        assert change in message
    weights = f"or begin a new run with another --out, from these weights with train.start_from={project.run}."
    assert weights in " ".join(said_once(train_project(whelp, project, "train.learning_rate=0.5")).split())
    assert snapshot(project.run) == before
    harmless = ["train.log_every_steps=2", "train.on_bad_loss=skip", "train.spike_factor=3", "train.sample_prompts=[The]"]
    assert train_project(whelp, project, *harmless).code == 0


def test_a_run_that_has_saved_nothing_may_begin_anew(whelp: Whelp, project: Project) -> None:
    """A rate that was far too high ended it before its first checkpoint: there are no weights to start from, and nothing to lose."""
    assert prepare_project(whelp, project).code == 0
    unsaved = ["train.save_every_steps=4", "train.evaluate_every_steps=4"]
    said_once(train_project(whelp, project, *unsaved, "train.learning_rate=1e30"), "expected a finite number")
    message = " ".join(said_once(train_project(whelp, project), "train.learning_rate: 1e+30 -> 0.01").split())
    assert "Nothing of it is saved yet: remove that folder and begin anew, choose another --out, or go on with those" in message
    assert "train.start_from" not in message
    shutil.rmtree(project.run)
    assert train_project(whelp, project).code == 0


def test_a_run_that_has_lost_its_plan(whelp: Whelp, project: Project) -> None:
    """Copied without it, for example: what is missing is named, and nothing is written over."""
    assert prepare_project(whelp, project).code == 0
    assert train_project(whelp, project).code == 0
    (project.run / "plan.json").unlink()
    before = snapshot(project.run)
    lost = said_once(
        train_project(whelp, project), "plan.json: is missing, and there are checkpoints of a run", "Put back a copy"
    )
    assert f"train.start_from={project.run}" in " ".join(lost.split())
    assert snapshot(project.run) == before


def test_a_run_of_another_store(whelp: Whelp, project: Project) -> None:
    """The store under a run is part of it."""
    assert prepare_project(whelp, project).code == 0
    assert train_project(whelp, project).code == 0
    (project.corpus / "00.txt").write_text("Another text. " * 9)
    assert prepare_project(whelp, project).code == 0
    said_once(train_project(whelp, project), "this run was started with other settings (the token store is another one)")
