"""A run that nobody disturbed, and one that was stopped, shared by all that is done to such."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import whelp
from whelp.artifacts.run_folder import RunFolder

from ..helpers import Project, make_project
from .helpers import stop_after


@pytest.fixture(scope="package")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with its store."""
    train = {"num_steps": 8, "save_every_steps": 2, "evaluate_every_steps": 4, "sample_prompts": ["The"], "sample_tokens": 2}
    project = make_project(tmp_path_factory.mktemp("chaos"), train=train, data={"test_split": 0.3})
    whelp.prepare(project.recipe, out=project.store)
    return project


@pytest.fixture(scope="package")
def whole(ready: Project) -> Path:
    """A run that nobody disturbed: do not write into it."""
    whelp.train(ready.recipe, store=ready.store, out=ready.run)
    return ready.run


@pytest.fixture(scope="package")
def stopped(ready: Project) -> Path:
    """A run that was killed after step 5: do not write into it."""
    run = ready.folder / "stopped"
    stop_after(5, ready, run)
    return run


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> RunFolder:
    """A copy of the stopped run."""
    return RunFolder(Path(shutil.copytree(stopped, tmp_path / "run", symlinks=True)))
