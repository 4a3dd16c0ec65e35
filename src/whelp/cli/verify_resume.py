"""`whelp verify-resume`: the proof, for a recipe of your own, that a run that is stopped goes on as if it had not been."""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whelp.artifacts.checkpoint import LAST, find_checkpoints
from whelp.artifacts.manifest import read_manifest
from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.base.as_list import as_list
from whelp.base.errors import ConfigError, TrainingError, WhelpError
from whelp.base.last_event import run_to_end
from whelp.base.links import follow_link
from whelp.base.machine import count_cores
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.recipe import Recipe, load_recipe
from whelp.cli.screens.draw_events import draw_verifying, watch
from whelp.cli.training.launch import launch

_CODE = "from whelp.cli.verify_resume import run_part; run_part()"


@dataclass(frozen=True, kw_only=True)
class ResumeCheck:
    """One way to interrupt a run, compared step by step with a run that was not.

    `losses` says what was asked of them: the same `bits`, to be `close`, or nothing (`free`).
    """

    name: str
    num_processes: list[int]
    same_rows: bool
    losses: str
    largest_difference: float
    same_bits: bool
    holds: bool


@dataclass(frozen=True, kw_only=True)
class VerifyResult(ResultRepr):
    """All checks; `tolerance` is in nats per token."""

    num_steps: int
    tolerance: float
    device: str
    checks: list[ResumeCheck]
    holds: bool


@dataclass(frozen=True)
class _Trace:
    """What a run read and computed in each step, and what it ended in."""

    rows: dict[int, tuple[int, int, int]]  # step: first row, number of rows, checksum
    losses: dict[int, float]
    checksums: dict[str, str]


def verify_resume(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    store: str | Path,
    overrides: Sequence[str] = (),
    scale: str | None = None,
    num_steps: int = 20,
    nproc: int | Sequence[int] = (1, 2),
    tolerance: float = 1e-3,
) -> VerifyResult:
    """Prove that a recipe's runs go on exactly: train, kill, go on, and compare with a run that was left alone.

    One run is stopped once and taken up by each number of processes; another one goes from each number to the next, and back
    to the first. All are short ones of `num_steps` steps in a folder that is removed. Rows must always be the same. Losses,
    weights and optimizer state of one process on a CPU must have the same bits; other losses must be within `tolerance`.

    Args:
        scale: Another size of the recipe: `tiny`, or one that it names.
        nproc: Numbers of processes; the first one for the run that is left alone, and for the first half of all others.
        tolerance: Largest difference of a step's loss, in nats per token.
    """
    loaded = load_recipe(recipe, overrides, scale)
    checks = iter_verify(loaded, store=store, num_steps=num_steps, nproc=as_list(nproc), tolerance=tolerance)
    return run_to_end(watch(checks, draw_verifying), VerifyResult)


def iter_verify(
    recipe: Recipe,
    *,
    store: str | Path,
    num_steps: int = 20,
    nproc: Sequence[int] = (1, 2),
    tolerance: float = 1e-3,
) -> Iterator[ResumeCheck | VerifyResult]:
    """The checks as they are done; the last one is the result."""
    from whelp.train.device import choose_device

    problems = [f"--nproc: {count} is no number of processes" for count in nproc if count < 1]
    counts = list(dict.fromkeys(nproc))
    least = max(4, len(counts) + 1)
    if num_steps < least:
        problems.append(f"--steps is {num_steps}, but expected {least} at least: runs are stopped on their way")
    if problems or not nproc:
        raise ConfigError("verify-resume", problems or ["--nproc is empty"])
    store = as_path(store)
    read_manifest(store, "token_store")  # said once and at once, not by a process of each run
    device = choose_device(recipe.train.device).type
    prepared = _prepare(recipe, num_steps, max(nproc))
    first, checks = counts[0], []
    with tempfile.TemporaryDirectory(prefix="whelp-verify-") as name:
        folder = Path(name)
        path = _write(prepared, folder / "recipe.yaml", save_every_steps=num_steps // 2)
        _run(path, store, folder / "whole", first, is_heard=True)
        whole = _read(folder / "whole")
        _run(path, store, folder / "half", first, die_after=num_steps // 2 + 1)
        for number, second in enumerate(counts):
            run = folder / f"run-{number}"
            shutil.copytree(folder / "half", run, symlinks=True)
            _run(path, store, run, second)
            with_others = f" with {second} process{'es' if second > 1 else ''}" if second != first else ""
            name = f"killed after step {num_steps // 2 + 1}, then on from {num_steps // 2}{with_others}"
            losses = _choose_demand(recipe, device, [first, second])
            checks.append(_compare(name, whole, _read(run), [first, second], losses, tolerance))
            yield checks[-1]
        if len(counts) > 1:
            legs, length = [*counts, first], num_steps // (len(counts) + 1)
            path = _write(prepared, folder / "chain.yaml", save_every_steps=length)
            for number, count in enumerate(legs[:-1], 1):
                _run(path, store, folder / "chain", count, die_after=number * length + 1)
            _run(path, store, folder / "chain", first)
            stops = ", ".join(str(number * length + 1) for number in range(1, len(legs)))
            losses = _choose_demand(recipe, device, legs)
            checks.append(_compare(f"killed after steps {stops}", whole, _read(folder / "chain"), legs, losses, tolerance))
            yield checks[-1]
    yield VerifyResult(
        num_steps=num_steps,
        tolerance=tolerance,
        device=device,
        checks=checks,
        holds=all(check.holds for check in checks),
    )


def _prepare(recipe: Recipe, num_steps: int, most_processes: int) -> Recipe:
    """The recipe as a short run that records everything; the threads are settled, because they change the bits."""
    train = recipe.train
    decay_from = None if train.decay_from_step is None else min(train.decay_from_step, num_steps - 1)
    most_warmup = num_steps if decay_from is None else decay_from
    changes: dict[str, Any] = {
        "num_steps": num_steps,
        "num_epochs": None,
        "minutes": None,
        "warmup_steps": None if train.warmup_steps is None else min(train.warmup_steps, most_warmup),
        "decay_from_step": decay_from,
        "keep_checkpoints": 1,
        "keep_every_steps": None,
        "keep_best": False,
        "max_epochs": None,
        "early_stopping_patience": None,
        "save_in_background": False,  # or the last checkpoint before a kill might not be whole yet
        "evaluate_every_steps": num_steps,
        "evaluate_rows": 1,
        "log_every_steps": 1,
        "sample_prompts": [],
        "track": [],
        "record_rows": True,
        "threads": train.threads or max(1, count_cores() // most_processes),
    }
    return dataclasses.replace(recipe, train=dataclasses.replace(train, **changes))


def _write(recipe: Recipe, path: Path, *, save_every_steps: int) -> Path:
    train = dataclasses.replace(recipe.train, save_every_steps=save_every_steps)
    path.write_text(dataclasses.replace(recipe, train=train).to_yaml(), encoding="utf-8")
    return path


def _choose_demand(recipe: Recipe, device: str, processes: Sequence[int]) -> str:
    """What is asked of the losses. On a GPU bits are not promised; with dropout each process draws its own."""
    if device == "cpu" and set(processes) == {1}:
        return "bits"
    return "free" if recipe.model.dropout and len(set(processes)) > 1 else "close"


def _run(recipe: Path, store: Path, out: Path, num_processes: int, *, die_after: int = 0, is_heard: bool = False) -> None:
    """One run, or a part of it; one of them is heard: the others would say the same again."""
    try:
        launch([str(recipe), str(store), str(out), str(die_after)], num_processes, code=_CODE, is_heard=is_heard)
    except TrainingError:
        if not die_after or not find_checkpoints(RunFolder(out).checkpoints):
            raise


def run_part() -> None:
    """In a process of its own: train, and die at once after a step, if asked to (0: live)."""
    from whelp.cli.train import iter_train
    from whelp.cli.training.launched_process import end_at_once, fail, follow_launcher, leave
    from whelp.cli.training.signals import ignore_early_requests
    from whelp.train import StepReport

    recipe, store, out, die_after = sys.argv[1:]
    ignore_early_requests()
    follow_launcher()
    try:
        for event in iter_train(load_recipe(recipe), store, out):
            if isinstance(event, StepReport) and event.step == int(die_after):
                end_at_once()
    except WhelpError as error:
        try:
            fail(error)
        except SystemExit as ending:
            leave(ending.code)
            raise
    leave(0)


def _read(run: Path) -> _Trace:
    records = [record for record in iter_records(RunFolder(run).metrics) if "rows_checksum" in record]
    files = read_manifest(follow_link(RunFolder(run).checkpoints / LAST), "checkpoint").files
    return _Trace(
        rows={record["step"]: (record["first_row"], record["rows"], record["rows_checksum"]) for record in records},
        losses={record["step"]: math.nan if record["loss"] is None else record["loss"] for record in records},
        checksums={name: entry["checksum"] for name, entry in files.items() if name.endswith(".safetensors")},
    )


def _compare(name: str, whole: _Trace, parts: _Trace, processes: list[int], losses: str, tolerance: float) -> ResumeCheck:
    same_rows = whole.rows == parts.rows
    pairs = [(whole.losses[step], parts.losses.get(step, math.nan)) for step in whole.losses]
    differences = [0.0 if ours == theirs else abs(ours - theirs) for ours, theirs in pairs]
    largest = math.nan if any(map(math.isnan, differences)) else max(differences)
    same_bits = largest == 0.0 and whole.checksums == parts.checksums
    is_close = {"bits": same_bits, "close": largest <= tolerance, "free": True}[losses]
    return ResumeCheck(
        name=name,
        num_processes=processes,
        same_rows=same_rows,
        losses=losses,
        largest_difference=largest,
        same_bits=same_bits,
        holds=same_rows and is_close,
    )
