"""A run that goes on on a machine of another kind: one that computes slowly in the precision it had, or has fewer cores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whelp.artifacts.run_folder import iter_records
from whelp.base import machine
from whelp.cli.export import export
from whelp.train import device, process_checks

from .helpers import Outcome, Project, Whelp

SAME = ("train.num_steps=6", "train.save_every_steps=1", "train.evaluate_every_steps=3")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many times as long as in fp32 products take on this processor."""
    times = [28.4]
    monkeypatch.setattr(device, "measure_slowdown", lambda place, precision: times[0])
    return times


def train(whelp: Whelp, made: Project, run: Path, *options: str) -> Outcome:
    outcome = whelp("train", made.recipe, *SAME, *options, "--store", made.store, "--out", run)
    assert outcome.code == 0, outcome.stderr
    return outcome


def read_plan(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "plan.json").read_text()))


def go_back(run: Path, step: int) -> None:
    """Leave the run as if it had been killed after that step."""
    for path in (run / "checkpoints").glob("step-*"):
        if int(path.name[5:]) > step:
            (path / "manifest.json").unlink()


def test_bf16_on_a_processor_without_it_is_said_with_the_way_out(
    whelp: Whelp, made: Project, slow: list[float], tmp_path: Path
) -> None:
    """Once, with what was measured; where it costs little, or nobody asked for it, nothing is said."""
    said = train(whelp, made, tmp_path / "bf16", "train.precision=bf16").said
    assert said.count("take 28 times as long as in fp32 on this processor") == 1
    assert "train.precision=fp32 is far faster, also for a run that goes on" in said
    again = train(whelp, made, tmp_path / "bf16", "train.precision=auto").said
    assert "take 28 times as long" in again, "it keeps the precision that it began with"
    assert "times as long" not in train(whelp, made, tmp_path / "fp32", "train.precision=fp32").said
    slow[0] = 1.3
    assert "times as long" not in train(whelp, made, tmp_path / "quick", "train.precision=bf16").said


def test_the_way_out_goes_on_with_all_that_the_run_has(whelp: Whelp, made: Project, slow: list[float], tmp_path: Path) -> None:
    """Steps, rows, optimizer and learning rate go on; what was computed in which precision is written down, and kept."""
    run, plain = tmp_path / "run", tmp_path / "plain"
    train(whelp, made, plain, "train.precision=bf16", "train.record_rows=true")
    train(whelp, made, run, "train.precision=bf16", "train.record_rows=true", "train.keep_checkpoints=9")
    go_back(run, 4)
    said = train(whelp, made, run, "train.precision=fp32", "train.record_rows=true").said
    assert "from step 5 on products are in fp32, no longer in bf16: losses are nearly the same" in said
    assert "going on from step 4" in said
    ours, theirs = ([one for one in iter_records(path / "metrics.jsonl") if "loss" in one] for path in (run, plain))
    for name in ("step", "learning_rate", "rows_checksum"):
        assert [one[name] for one in ours] == [one[name] for one in theirs]
    assert [one["loss"] for one in ours[:4]] == [one["loss"] for one in theirs[:4]]
    assert [one["loss"] for one in ours[4:]] == pytest.approx([one["loss"] for one in theirs[4:]], rel=0.02)
    assert [one["loss"] for one in ours[4:]] != [one["loss"] for one in theirs[4:]]
    started = read_plan(run)
    assert (started["plan"]["precision"], started["recipe"]["train"]["precision"]) == ("fp32", "fp32")
    assert started["precisions"] == [{"until_step": 4, "precision": "bf16"}]
    assert "no longer" not in train(whelp, made, run, "train.precision=auto", "train.record_rows=true").said
    assert read_plan(run) == started
    export(run, out="out")
    assert "| arithmetic | bf16 until step 4, then fp32, on cpu |" in Path("out/README.md").read_text()


def test_what_is_trained_again_is_of_the_new_precision(whelp: Whelp, made: Project, slow: list[float], tmp_path: Path) -> None:
    """Changed twice, and gone back: what is written down is what the steps that stand were computed in."""
    run = tmp_path / "run"
    train(whelp, made, run, "train.precision=bf16", "train.keep_checkpoints=9")
    go_back(run, 4)
    train(whelp, made, run, "train.precision=fp32", "train.keep_checkpoints=9")
    go_back(run, 5)
    train(whelp, made, run, "train.precision=bf16", "train.keep_checkpoints=9")
    bf16, fp32 = ({"until_step": step, "precision": name} for step, name in ((4, "bf16"), (5, "fp32")))
    assert read_plan(run)["precisions"] == [bf16, fp32]
    go_back(run, 3)
    train(whelp, made, run, "train.precision=fp32", "train.keep_checkpoints=9")
    assert read_plan(run)["precisions"] == [bf16 | {"until_step": 3}]
    go_back(run, 3)
    train(whelp, made, run, "train.precision=bf16", "train.keep_checkpoints=9")
    assert (read_plan(run)["precisions"], read_plan(run)["plan"]["precision"]) == ([], "bf16")


def test_a_precision_that_only_a_gpu_has_is_left_behind(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """A run of a GPU that goes on here is told how, and goes on so."""
    run = tmp_path / "run"
    train(whelp, made, run, "train.precision=fp32")
    go_back(run, 5)
    started = read_plan(run)
    (run / "plan.json").write_text(json.dumps(started | {"plan": started["plan"] | {"precision": "tf32"}}))
    outcome = whelp("train", made.recipe, *SAME, "--store", made.store, "--out", run)
    assert outcome.code == 1
    assert "tf32 on cpu" in outcome.said
    assert "Use train.precision=fp32, also for a run that goes on." in outcome.said
    train(whelp, made, run, "train.precision=fp32")
    assert read_plan(run)["precisions"] == [{"until_step": 5, "precision": "tf32"}]


def test_a_run_of_more_cores_than_there_are(
    whelp: Whelp, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has as many threads as there are cores, which is said; with as many cores again, those it had."""
    project.recipe.write_text(project.recipe.read_text().replace("threads: 1", "threads: null"))
    assert whelp("prepare", project.recipe, "--out", project.store).code == 0
    run = tmp_path / "run"
    train(whelp, project, run)
    started = read_plan(run)
    (run / "plan.json").write_text(json.dumps(started | {"plan": started["plan"] | {"threads": 64}}))
    monkeypatch.setattr(process_checks, "find_cores", lambda: [0])
    go_back(run, 5)
    said = train(whelp, project, run).said
    assert "this run had 64 threads so far, and has 1 here, as many as there are cores for it" in said
    monkeypatch.setattr(process_checks, "find_cores", lambda: list(range(64)))
    assert "threads so far" not in train(whelp, project, run).said


def test_more_threads_than_cores_are_said(whelp: Whelp, made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of a large machine, on a small one; what it asks for is done all the same."""
    monkeypatch.setattr(machine, "count_cores", lambda: 2)
    found = train(whelp, made, tmp_path / "run", "train.threads=3")
    assert "train.threads is 3, and there are 2 cores here" in found.said
    assert read_plan(tmp_path / "run")["plan"]["threads"] == 3
    assert "cores here" not in train(whelp, made, tmp_path / "other", "train.threads=2").said
