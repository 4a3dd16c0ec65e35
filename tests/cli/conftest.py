"""What the tests of the terminal share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from .helpers import Project, Whelp, make_project, run_whelp
from .stores import LARGE, SMALL, SMALL_SPLITS, make_store, random_documents, random_masks


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only lose by a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def whelp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Whelp:
    """Run commands, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return run_whelp


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project of one's own: corpus and recipe, nothing made yet."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a finished store and a finished run, shared: do not write into it."""
    project = make_project(tmp_path_factory.mktemp("made") / "project")
    for arguments in (
        ("prepare", project.recipe, "--out", project.store),
        ("train", project.recipe, "--store", project.store, "--out", project.run),
    ):
        outcome = run_whelp(*arguments)
        assert outcome.code == 0, outcome.stderr
    return project


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux: run the tests in a container")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: allow it (CAP_SYS_ADMIN). {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 16-bit ids with two splits; do not write into it."""
    return make_store(tmp_path_factory.mktemp("small") / "store", SMALL, SMALL_SPLITS)


@pytest.fixture(scope="session")
def large_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of ids that do not fit into 16 bits, with a loss mask; do not write into it."""
    splits = {"train": random_documents(40, LARGE), "test": random_documents(7, LARGE, seed=1)}
    masks = {name: random_masks(documents) for name, documents in splits.items()}
    return make_store(tmp_path_factory.mktemp("large") / "store", LARGE, splits, masks)
