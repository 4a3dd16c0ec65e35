"""A disk that is full: said in one message, and what stood there stays."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from whelp.artifacts.checkpoint import find_best

from .helpers import Project, Whelp, prepare_project, said_once

ENGLISH = "It was the best of times, it was the worst of times. "


def test_a_full_disk_while_preparing(whelp: Whelp, project: Project, small_disk: Path) -> None:
    """Half-written files go, so that their room is free again; with room, the same command goes on."""
    for number in range(40):
        (project.corpus / f"more{number}.txt").write_text(f"{ENGLISH}{number} " * 500)
    outcome = whelp("prepare", project.recipe, "--out", small_disk / "store")
    said_once(outcome, str(small_disk / "store"), "the disk is full", "run the same command again")
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == []
    said_once(whelp("inspect", small_disk / "store"), "not a finished token store")
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert whelp("prepare", project.recipe, "--out", small_disk / "store").code == 0


def test_a_full_disk_while_exporting_and_importing(whelp: Whelp, made: Project, tmp_path: Path, small_disk: Path) -> None:
    """Nothing half is left, and the room is free again."""
    (tmp_path / "a.bin").write_bytes(b"\x05\x00" * 200_000)
    given = ("import", "a.bin", "--format", "nanogpt", "--tokenizer", made.store, "--out")
    said_once(whelp(*given, small_disk / "store"), "the disk is full", "run the same command again")
    assert whelp(*given, "store").code == 0
    for format in ("megatron", "nanogpt", "llmc"):
        outcome = whelp("export", "store", "--format", format, "--out", small_disk / "out")
        said_once(outcome, str(small_disk / "out"), "the disk is full")
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_while_laying_out_the_splits(whelp: Whelp, project: Project, small_disk: Path) -> None:
    """The parts that are finished stay, to go on from; the half split goes."""
    for number in range(40):
        (project.corpus / f"more{number}.txt").write_text(f"{ENGLISH}{number} " * 150)
    outcome = whelp("prepare", project.recipe, "--out", small_disk / "store")
    said_once(outcome, "the disk is full")
    left = [path for path in small_disk.rglob("*") if path.is_file()]
    assert {path.parent.name for path in left} == {".parts"}
    assert {path.suffix for path in left} == {".arrow", ".json"}
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert whelp("prepare", project.recipe, "--out", small_disk / "store").code == 0
    assert not (small_disk / "store" / ".parts").exists()


@pytest.mark.parametrize("keep_best", [False, True])
def test_a_full_disk_while_saving(whelp: Whelp, project: Project, small_disk: Path, *, keep_best: bool) -> None:
    """A checkpoint that does not fit leaves nothing half; with room, the same command goes on from the last whole one."""
    assert prepare_project(whelp, project).code == 0
    run = small_disk / "run"
    options = ["model.n_embd=64", f"train.keep_best={str(keep_best).lower()}"]
    arguments = ["train", project.recipe, *options, "--store", project.store, "--out", run]
    said_once(whelp(*arguments), "model.safetensors: the disk is full", "run the same command again")
    assert list((run / "checkpoints").iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    assert whelp(*arguments).code == 0
    assert (run / "checkpoints" / "last").resolve().name == "step-00000004"
    assert (run / "checkpoints" / "best").exists() == keep_best


def test_a_full_disk_keeps_the_best_checkpoint(whelp: Whelp, project: Project, small_disk: Path) -> None:
    """The one that fitted stays, as the last and as the best; with room, the run goes on from there."""
    assert prepare_project(whelp, project).code == 0
    options = ["model.n_embd=64", "train.keep_best=true", "train.save_every_steps=2", "train.evaluate_every_steps=2"]
    arguments = ["train", project.recipe, *options, "--store", project.store, "--out"]
    assert whelp(*arguments, project.folder / "elsewhere").code == 0
    first = project.folder / "elsewhere/checkpoints/step-00000002"
    size = sum(path.stat().st_size for path in first.rglob("*") if path.is_file())
    subprocess.run(["mount", "-o", f"remount,size={3 * size // 2}", small_disk], check=True)
    checkpoints = small_disk / "run" / "checkpoints"
    said_once(whelp(*arguments, checkpoints.parent), "the disk is full", "run the same command again")
    found = {path.name: path.resolve().name for path in checkpoints.iterdir()}
    assert found == dict.fromkeys(["step-00000002", "last", "best"], "step-00000002")
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    outcome = whelp(*arguments, checkpoints.parent)
    assert "going on from step 2" in outcome.said
    assert (outcome.code, (checkpoints / "last").resolve().name) == (0, "step-00000004")
    assert find_best(checkpoints) == (checkpoints / "best").resolve()
