"""Checkpoints that are damaged, cannot be read, or were copied: a run goes on from one that is whole."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

import whelp
from whelp.artifacts.checkpoint import BEST, LAST, step_name
from whelp.artifacts.run_folder import RunFolder

from ..helpers import Project
from .helpers import assert_goes_on, flip, names, stop_after


def test_a_damaged_checkpoint_pushes_out_no_whole_one(
    ready: Project, run: RunFolder, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It has the higher number, and one is to be kept: the one that training went back to stays, and goes on again."""
    assert names(run) == [LAST, step_name(2), step_name(4)]
    flip(run.checkpoints / step_name(4) / "model.safetensors")
    stop_after(3, ready, run.folder, "train.keep_checkpoints=1")
    assert names(run) == [f"damaged-{step_name(4)}", LAST, step_name(2)]
    assert (run.checkpoints / LAST).resolve().name == step_name(2)
    assert "is damaged (model.safetensors); going back to the checkpoint before it" in caplog.text
    assert f"is called damaged-{step_name(4)} now, and goes once training has come as far again" in caplog.text
    assert_goes_on(ready, run, whole)
    assert names(run) == [LAST, step_name(6), step_name(8)]


def test_no_checkpoint_is_whole(ready: Project, run: RunFolder, whole: Path) -> None:
    """Training begins anew, to the same end, and what is damaged lies aside."""
    (run.checkpoints / step_name(2) / "trainer" / "state.json").unlink()
    flip(run.checkpoints / step_name(4) / "trainer" / "optimizer.safetensors")
    stop_after(1, ready, run.folder)
    assert names(run) == [
        f"damaged-{step_name(2)}",
        f"damaged-{step_name(4)}",
        LAST,
    ]  # a link to nothing, until the next is saved
    stop_after(3, ready, run.folder)
    assert names(run) == [f"damaged-{step_name(4)}", LAST, step_name(2)]
    assert_goes_on(ready, run, whole)


@pytest.mark.parametrize(
    ("old", "new"), [('"bytes"', '"bytez"'), ('"files"', '"fiels"'), ('"checksum": "', '"checksum": 7, "": "')]
)
def test_a_manifest_that_is_json_but_damaged(ready: Project, run: RunFolder, whole: Path, old: str, new: str) -> None:
    """It counts as damage, whatever is wrong with it."""
    path = run.checkpoints / step_name(4) / "manifest.json"
    path.write_text(path.read_text().replace(old, new))
    assert_goes_on(ready, run, whole)


def test_a_disk_that_cannot_read_any_more(
    ready: Project, run: RunFolder, whole: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that cannot be read is a damaged one; one that may not be read is left alone."""
    import whelp.artifacts.manifest as manifest

    original, error = manifest.hash_file, OSError(errno.EACCES, "Permission denied", "weights")

    def hash_or_fail(path: Path) -> str:
        if step_name(4) in str(path):
            raise error
        return original(path)

    monkeypatch.setattr(manifest, "hash_file", hash_or_fail)
    with pytest.raises(PermissionError):
        whelp.train(ready.recipe, store=ready.store, out=run.folder)
    assert names(run) == [LAST, step_name(2), step_name(4)]
    error = OSError(errno.EIO, "Input/output error", "weights")
    stop_after(3, ready, run.folder)
    assert "is damaged (weights: Input/output error)" in caplog.text


def test_a_copy_that_followed_links(ready: Project, run: RunFolder, whole: Path, tmp_path: Path) -> None:
    """`scp -r` and `cp -L` make a folder of `last`: it goes on all the same, also when it is all that was copied."""
    copy = RunFolder(Path(shutil.copytree(run.folder, tmp_path / "copy")))
    assert not (copy.checkpoints / LAST).is_symlink()
    partial = RunFolder(Path(shutil.copytree(copy.folder, tmp_path / "partial")))
    shutil.rmtree(partial.checkpoints / step_name(4))
    shutil.copytree(partial.checkpoints / LAST, partial.checkpoints / BEST)
    stop_after(5, ready, partial.folder)
    assert (partial.checkpoints / LAST).resolve().name == step_name(4), "what was in `last` is found"
    for moved in (copy, partial):
        assert_goes_on(ready, moved, whole)
        assert (moved.checkpoints / LAST).is_symlink()
    assert f"copied-{LAST}" in names(copy)


def test_copies_that_people_make_are_theirs(ready: Project, run: RunFolder, whole: Path) -> None:
    """A copy beside a checkpoint is neither taken for one nor deleted."""
    for number, name in ((2, f"{step_name(2)}.bak"), (4, f"{step_name(4)}-good")):
        shutil.copytree(run.checkpoints / step_name(number), run.checkpoints / name)
    assert_goes_on(ready, run, whole, "train.keep_every_steps=6", "train.keep_best=true")
    assert {f"{step_name(2)}.bak", f"{step_name(4)}-good"} < set(names(run))
