"""Checkpoints written while training goes on: the weights of their own step, and nothing said to be whole before it is."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from whelp.artifacts.checkpoint import find_checkpoints, save_checkpoint
from whelp.cli.recipe import load_recipe
from whelp.cli.train import iter_train
from whelp.cli.training import wiring
from whelp.cli.training.events import Saved
from whelp.train import StepReport

from .helpers import Project

OVERRIDES = ["train.num_steps=6", "train.save_every_steps=2", "train.keep_checkpoints=9", "train.evaluate_every_steps=6"]


def test_training_goes_on_meanwhile(made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are made while a checkpoint is written, which gets the weights it was begun with; the next one waits for it."""
    recipe = load_recipe(made.recipe, OVERRIDES)
    for _ in iter_train(recipe, made.store, tmp_path / "at-once"):
        pass
    may_write, run, seen = threading.Event(), tmp_path / "meanwhile", []

    def save_slowly(*arguments: Any, **contents: Any) -> None:
        assert may_write.wait(60)
        save_checkpoint(*arguments, **contents)

    monkeypatch.setattr(wiring, "save_checkpoint", save_slowly)
    for event in iter_train(load_recipe(made.recipe, [*OVERRIDES, "train.save_in_background=true"]), made.store, run):
        if isinstance(event, StepReport):
            seen.append(event.step)
            if event.step == 3:
                assert not find_checkpoints(run / "checkpoints")
                assert not (run / "checkpoints" / "last").exists()
                may_write.set()
        if isinstance(event, Saved):
            seen.append(event.path.name)
            assert (run / "checkpoints" / "last").resolve() == event.path.resolve()
    assert seen.index("step-00000002") > seen.index(3)
    assert [name for name in seen if isinstance(name, str)] == ["step-00000002", "step-00000004", "step-00000006"]
    for name in ("step-00000002", "step-00000004", "step-00000006"):
        for file in ("model.safetensors", "trainer/optimizer.safetensors"):
            ours, theirs = (folder / "checkpoints" / name / file for folder in (run, tmp_path / "at-once"))
            assert ours.read_bytes() == theirs.read_bytes(), f"{name}/{file}"


def test_what_goes_wrong_meanwhile(made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while training goes on ends the run as it would otherwise, and what was whole stays."""

    def save_or_fail(path: Path, **contents: Any) -> None:
        if path.name != "step-00000002":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save_checkpoint(path, **contents)

    monkeypatch.setattr(wiring, "save_checkpoint", save_or_fail)
    recipe = load_recipe(made.recipe, [*OVERRIDES, "train.save_in_background=true"])
    with pytest.raises(OSError, match="No space left on device"):
        for _ in iter_train(recipe, made.store, tmp_path / "run"):
            pass
    assert [path.name for path in find_checkpoints(tmp_path / "run" / "checkpoints")] == ["step-00000002"]
    monkeypatch.undo()
    events = list(iter_train(recipe, made.store, tmp_path / "run"))
    assert [event.step for event in events if isinstance(event, StepReport)] == [3, 4, 5, 6], "with room it goes on"


def test_a_disk_without_room_for_the_report(
    made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and the run goes on to its end: what it would draw is in the records."""

    def find_no_room(path: Path, content: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(wiring, "write_atomic", find_no_room)
    run = tmp_path / "run"
    events = list(iter_train(load_recipe(made.recipe, OVERRIDES), made.store, run))
    assert events[-1].result.is_finished
    assert [path.name for path in find_checkpoints(run / "checkpoints")] == [f"step-0000000{step}" for step in (2, 4, 6)]
    assert not (run / "report.html").exists()
    assert f"{run / 'report.html'} is not drawn (no space left on device): `whelp report {run}` draws it later" in caplog.text
