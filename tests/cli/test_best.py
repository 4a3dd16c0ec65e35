"""A text learned by heart: the best checkpoint is kept and taken, the run stops in time, and says what it came to; and its pace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import whelp
from whelp.artifacts.checkpoint import find_finished_step, find_model_folder
from whelp.artifacts.run_folder import iter_records
from whelp.cli.recipe import load_recipe
from whelp.cli.screens import show_result
from whelp.cli.screens.show_result import describe_rise
from whelp.cli.train import iter_train
from whelp.cli.training import pace, times
from whelp.cli.training.events import TrainResult
from whelp.cli.training.pace import Pace
from whelp.cli.training.session import Session
from whelp.evaluate.loss import LossResult
from whelp.train import StepReport
from whelp.train.process_group import ProcessGroup

from .helpers import Project, Whelp, make_project

EVERY_STEP = ("train.num_steps=8", "train.evaluate_every_steps=1", "train.save_every_steps=1", "train.keep_best=true")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with its store."""
    project = make_project(tmp_path_factory.mktemp("best"))
    whelp.prepare(project.recipe, out=project.store)
    return project


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What evaluations give, one after the other: fill it; the last one comes again and again."""
    given: list[float] = []

    def evaluate(session: Session, model: object, plan: object, *, num_rows: int | None = None) -> LossResult:
        loss = given.pop(0) if len(given) > 1 else given[0]
        return LossResult(nats=10 * loss, num_tokens=10, num_bytes=30, num_rows=2)

    monkeypatch.setattr(Session, "evaluate", evaluate)
    return given


def train(whelp_: Whelp, ready: Project, out: Path, *overrides: str) -> Any:
    """Train, looking and saving after every step."""
    outcome = whelp_("train", ready.recipe, *EVERY_STEP, *overrides, "--store", ready.store, "--out", out)
    assert outcome.code == 0, outcome.stderr
    return outcome


def test_a_rise_is_said_and_the_best_checkpoint_taken(
    whelp: Whelp, ready: Project, losses: list[float], tmp_path: Path
) -> None:
    """By every command that is given the run, each saying so once; the last one can be had by name."""
    losses += [9.0, 5.0, 3.0, 4.0, 6.0]
    run = tmp_path / "run"
    said = train(whelp, ready, run).said
    assert "the test loss was lowest at step 2 (3.000 nats/token), and has risen since, to 6.000" in said
    assert f"That checkpoint is kept: `whelp generate {run}` takes it." in said
    assert find_model_folder(run) == (run / "checkpoints/step-00000002").resolve()
    choice = f"{run}: step 2, whose test loss is the lowest (checkpoints/best); the last, step 8, is {run}/checkpoints/last"
    commands: Sequence[tuple[object, ...]] = [
        ("generate", run, "--prompt", "The", "--max-tokens", "1"),
        ("evaluate", run, "--store", ready.store),
        ("export", run, "--format", "hf", "--out", "model"),
        ("compare", run, "--prompt", "The", "--max-tokens", "1"),
        ("train", ready.recipe, f"train.start_from={run}", "--store", ready.store, "--out", "next"),
    ]
    for command in commands:
        outcome = whelp(*command)
        assert outcome.code == 0, outcome.stderr
        assert outcome.said.count(choice) == 1, command
    assert json.loads(Path("model/origin.json").read_text())["step"] == 2
    for place in (run / "checkpoints/last", run / "checkpoints/best"):
        assert "whose test loss" not in whelp("generate", place, "--prompt", "The", "--max-tokens", "1").said


def test_a_run_that_still_gets_better_says_nothing(whelp: Whelp, ready: Project, losses: list[float], tmp_path: Path) -> None:
    """The best is the last."""
    losses += [9.0, 5.0, 3.0]
    losses += [3.0 - step / 10 for step in range(1, 7)]
    said = train(whelp, ready, tmp_path / "run").said
    assert "lowest" not in said
    outcome = whelp("generate", tmp_path / "run", "--prompt", "The", "--max-tokens", "1")
    assert "lowest" not in outcome.said


def test_the_best_is_not_taken_once_it_is_not_kept(whelp: Whelp, ready: Project, losses: list[float], tmp_path: Path) -> None:
    """A link of former times would lead to a checkpoint that may be passed by now."""
    losses += [9.0, 3.0, 4.0]
    run = tmp_path / "run"
    train(whelp, ready, run)
    assert find_model_folder(run).name == "step-00000001"
    said = train(whelp, ready, run, "train.num_steps=9", "train.keep_best=false").said
    assert "That checkpoint is not kept: in another run, train.keep_best=true keeps it." in said
    assert find_model_folder(run).name == "step-00000009"


@pytest.mark.parametrize("stop", [None, 1, 3, 4])
def test_patience(whelp: Whelp, ready: Project, losses: list[float], tmp_path: Path, stop: int | None) -> None:
    """The run ends after so many evaluations without a gain, at the same step however often it was interrupted."""
    by_step = [9.0, 5.0, 3.0, 3.5, 2.9, 3.1, 3.0, 2.95, 2.8]
    run, patience = tmp_path / "run", "train.early_stopping_patience=2"
    if stop is not None:
        losses += by_step
        for event in iter_train(load_recipe(ready.recipe, [*EVERY_STEP, patience]), ready.store, run):
            if isinstance(event, StepReport) and event.step == stop + 1:
                break
    losses[:] = by_step if stop is None else by_step[stop + 1 :]
    outcome = train(whelp, ready, run, patience)
    assert "finished step 6 after" in outcome.said
    assert "early: no lower test loss any more" in outcome.said
    steps = [record["step"] for record in iter_records(run / "metrics.jsonl") if "loss" in record]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert find_model_folder(run).name == "step-00000004"
    assert find_finished_step(run / "checkpoints") == 6
    again = train(whelp, ready, run, patience)
    assert "from step 6, which was the last: nothing is left to do (train.early_stopping_patience=null" in again.said
    losses[:] = [2.8]
    result = train(whelp, ready, run, "--json").json
    assert (result["step"], result["best_step"], result["is_stopped_early"]) == (8, 7, False)
    assert result["best_checkpoint"] == str(run / "checkpoints/step-00000007")
    assert find_finished_step(run / "checkpoints") == 8
    (run / "checkpoints/step-00000008/manifest.json").unlink()
    assert find_finished_step(run / "checkpoints") is None


def test_what_trains_on_when_the_text_is_used_up(whelp: Whelp, ready: Project, tmp_path: Path) -> None:
    """The option that ended the run is the one to change; it may be changed."""
    run, short = tmp_path / "run", ("train.num_steps=100", "train.max_epochs=0.2")
    said = train(whelp, ready, run, *short).said
    steps = json.loads((run / "plan.json").read_text())["plan"]["num_steps"]
    assert 1 < steps < 50
    assert "after 0.2 passes over it (train.max_epochs) the run ends, not after 100 steps" in said
    assert "nothing is left to do (train.max_epochs=0.4, for example" in train(whelp, ready, run, *short).said
    said = train(whelp, ready, run, short[0], "train.max_epochs=0.4").said
    assert f"steps long, not {steps} steps" in said


def make_result(**changes: Any) -> TrainResult:
    """A run that rose from 3 to 6 nats a token over four passes."""
    values: dict[str, Any] = {
        "folder": "run",
        "step": 40,
        "checkpoint": "run/checkpoints/last",
        "nats_per_token": 6.0,
        "perplexity": 403.4,
        "bits_per_byte": None,
        "elapsed_seconds": 1.0,
        "is_finished": True,
        "num_epochs": 4.0,
        "best_step": 30,
        "best_test_nats_per_token": 3.0,
        "best_checkpoint": None,
    }
    return TrainResult(**values | changes)


def test_advice_on_a_rise() -> None:
    """By what the run was: a text seen often is learned by heart, one seen once is not; chance is no rise."""
    assert "learns its text by heart" in str(describe_rise(make_result()))
    assert "(train.max_epochs=3), or more text, or a smaller model." in str(describe_rise(make_result()))
    once = str(describe_rise(make_result(num_epochs=0.5)))
    assert "by heart" not in once
    assert once.endswith("A lower train.learning_rate may help.")
    assert "max_epochs" not in str(describe_rise(make_result(best_step=0)))
    assert describe_rise(make_result(nats_per_token=3.02)) is None
    assert describe_rise(make_result(best_step=None, best_test_nats_per_token=None)) is None
    assert describe_rise(make_result(nats_per_token=None)) is None
    assert show_result._round(3.14159) == "3.1"


# --- time ---


def test_a_look_is_timed_by_parts_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of forty rows, and eight of sixteen tokens of one of two prompts, by a clock of its own; what warms up does not count."""
    now, calls = [0.0], [0]
    monkeypatch.setattr(times.time, "perf_counter", lambda: now[0])

    def pass_time(seconds: float) -> None:
        calls[0] += 1
        now[0] += seconds if calls[0] % 2 == 0 else 100.0  # the first of each takes long

    def evaluate(model: object, plan: object, *, num_rows: int) -> SimpleNamespace:
        pass_time(0.5 * num_rows)
        return SimpleNamespace(num_rows=num_rows)

    train = SimpleNamespace(sample_prompts=["a", "b"], sample_tokens=16)
    session: Any = SimpleNamespace(
        processes=ProcessGroup(),
        device=torch.device("cpu"),
        test_parts={None: []},
        is_sharded=False,
        recipe=SimpleNamespace(train=train),
        evaluate=evaluate,
        continue_prompt=lambda model, prompt, num_tokens: pass_time(0.1 * num_tokens),
    )
    plan: Any = SimpleNamespace(evaluate_rows=40, rows_evaluated_at_once=4)
    model: Any = None
    assert times.time_looking(session, model, plan, threads=1) == pytest.approx(40 * 0.5 + 2 * 16 * 0.1)
    session.test_parts, train.sample_prompts = {}, []
    assert times.time_looking(session, model, plan, threads=1) == 0.0


@pytest.mark.parametrize(
    ("device", "seconds", "rows"), [("cpu", 0.5, [1, 4]), ("cpu", 4.0, [1, 2]), ("cpu", 60.0, [1, 1]), ("cuda", 60.0, [4, 4])]
)
def test_few_rows_are_evaluated_where_they_take_long(
    monkeypatch: pytest.MonkeyPatch, device: str, seconds: float, rows: list[int]
) -> None:
    """On a CPU as many as ten seconds hold, by the time of the first; a GPU is asked twice for the same."""
    now, asked = [0.0], []
    monkeypatch.setattr(times.time, "perf_counter", lambda: now[0])

    def evaluate(model: object, plan: object, *, num_rows: int) -> SimpleNamespace:
        asked.append(num_rows)
        now[0] += seconds * num_rows
        return SimpleNamespace(num_rows=num_rows)

    session: Any = SimpleNamespace(
        processes=ProcessGroup(), device=torch.device(device), test_parts={None: []}, evaluate=evaluate
    )
    plan: Any = SimpleNamespace(evaluate_rows=40, rows_evaluated_at_once=4)
    model: Any = None
    assert times._time_evaluation(session, model, plan) == pytest.approx(40 * seconds)
    assert asked == rows


def test_the_plan_of_minutes_counts_looks(whelp: Whelp, ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look of a minute leaves half of two minutes for steps, and comes once."""
    monkeypatch.setattr(times, "time_looking", lambda *arguments, **options: 60.0)
    given = ("train", ready.recipe, "train.num_steps=null", "train.minutes=2", "--store", ready.store, "--dry-run", "--json")
    plan = whelp(*given).json
    assert plan["evaluate_every_steps"] == plan["num_steps"] > 1


def run_at(pace: Pace, *speeds: float, seconds: float = 4.0) -> None:
    """Steps of some seconds each, at these tokens a second."""
    for step, speed in enumerate(speeds, 1):
        report: Any = SimpleNamespace(step=step, num_tokens=speed * seconds, seconds=seconds)
        pace.watch(report)


@pytest.mark.parametrize(
    ("load", "explanation"),
    [
        (9.5, "other programs keep the machine busy (a load of 9.5 on 2 cores)"),
        (2.1, "the machine is not crowded (a load of 2.1"),
    ],
)
def test_a_slow_machine_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, load: float, explanation: str
) -> None:
    """With what the system says."""
    monkeypatch.setattr(pace.os, "getloadavg", lambda: (load, 1.0, 1.0))
    monkeypatch.setattr(pace, "count_cores", lambda: 2)
    run_pace = Pace(SimpleNamespace(device="cpu", budget_seconds=60.0))  # type: ignore[arg-type]
    run_at(run_pace, *[14_000] * 12)
    assert caplog.text == ""
    run_at(run_pace, *[1_000] * 60)
    assert caplog.text.count("training has slowed down, to 1,000 tokens/s from 14,000") == 1
    assert explanation in caplog.text
    assert "fewer steps fit into its minutes" in caplog.text


@pytest.mark.parametrize(
    "speeds", [[14_000] * 30 + [1_000] * 3 + [14_000] * 9, [8_000, 14_000] * 20, [1_000] * 9 + [9_000] * 9]
)
def test_no_false_alarm(caplog: pytest.LogCaptureFixture, speeds: list[int]) -> None:
    """A hiccup, steps of changing size, and a run that becomes faster are no slow machine."""
    run_at(Pace(SimpleNamespace(device="cpu", budget_seconds=None)), *speeds)  # type: ignore[arg-type]
    assert caplog.text == ""
