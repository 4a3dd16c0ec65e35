"""What is done to runs, and how it is seen that they go on."""

from __future__ import annotations

from pathlib import Path

import whelp
from whelp.artifacts.checkpoint import LAST
from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.cli.recipe import load_recipe
from whelp.cli.train import iter_train
from whelp.train import StepReport

from ..helpers import Project


def stop_after(step: int, ready: Project, run: Path, *overrides: str) -> None:
    """Train to a step, and no further."""
    for event in iter_train(load_recipe(ready.recipe, overrides), ready.store, run):
        if isinstance(event, StepReport) and event.step == step:
            return


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def names(run: RunFolder) -> list[str]:
    """What lies where checkpoints do."""
    return sorted(path.name for path in run.checkpoints.iterdir())


def assert_goes_on(ready: Project, run: RunFolder, whole: Path, *overrides: str) -> None:
    """Train to the end: weights, optimizer and losses are those of the run that nobody disturbed."""
    assert whelp.train(ready.recipe, store=ready.store, out=run.folder, overrides=overrides).step == 8
    for file in ("model.safetensors", "trainer/optimizer.safetensors"):
        ours, theirs = (folder / "checkpoints" / LAST / file for folder in (run.folder, whole))
        assert ours.read_bytes() == theirs.read_bytes(), file
    assert read_losses(run.folder) == read_losses(whole)


def read_losses(run: Path) -> list[tuple[int, float]]:
    """The losses of all steps, in the order of the records."""
    return [(record["step"], record["loss"]) for record in iter_records(run / "metrics.jsonl") if "loss" in record]
