"""`train.track`: the tools get what metrics.jsonl has, once, also when a run goes on."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from waiting import wait_until
from whelp.artifacts.run_folder import RunFolder, append_record
from whelp.cli import track
from whelp.cli.recipe import load_recipe
from whelp.cli.training.events import Rewound

from .helpers import Project, Whelp


def recorded(run: Path, name: str) -> list[tuple[int, float]]:
    """A value of metrics.jsonl at each step that has one."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(record["step"], record[name]) for record in records if record.get(name) is not None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tools that keep files of their own keep them here, and reach for no network."""
    for name, value in (
        ("HOME", "home"),
        ("TRACKIO_DIR", "trackio"),
        ("WANDB_CONFIG_DIR", "home"),
        ("WANDB_CACHE_DIR", "home"),
    ):
        (tmp_path / value).mkdir(exist_ok=True)
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path / "home"


def train(whelp: Whelp, made: Project, tool: str, *overrides: str) -> None:
    """A run of four steps that is tracked; its standard output is one JSON object whatever the tool says."""
    tracked = (f"train.track=[{tool}]", "train.sample_prompts=[The]", "train.save_every_steps=2", *overrides)
    result = whelp("train", made.recipe, *tracked, "--store", made.store, "--out", "run", "--json").json
    assert result["is_finished"] is True


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the reader
def test_tensorboard(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Each value once, the samples as text; a run that goes on from a checkpoint adds what comes after it."""
    pytest.importorskip("tensorboard", reason='pip install "whelp[tracking]"')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(name: str) -> list[tuple[int, float]]:
        events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
        events.Reload()
        return [(event.step, event.value) for event in events.Scalars(name)]

    train(whelp, made, "tensorboard")
    run = tmp_path / "run"
    expected = recorded(run, "loss")
    assert [step for step, _ in expected] == [1, 2, 3, 4]
    assert read("train/loss") == [(step, pytest.approx(value)) for step, value in expected]
    assert read("test/nats_per_token") == [(s, pytest.approx(v)) for s, v in recorded(run, "test_nats_per_token")]
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert any("sample: The" in tag for tag in events.Tags()["tensors"])
    shutil.rmtree(run / "checkpoints" / "step-00000004")
    train(whelp, made, "tensorboard")
    assert read("train/loss") == [(step, pytest.approx(value)) for step, value in expected]


def test_wandb(whelp: Whelp, made: Project, tmp_path: Path, home: Path) -> None:
    """Offline, in the run folder, under one id however often it goes on."""
    pytest.importorskip("wandb", reason='pip install "whelp[tracking]"')
    train(whelp, made, "wandb")
    identity = (tmp_path / "run" / "wandb-id.txt").read_text()
    (log,) = (tmp_path / "run" / "wandb").glob(f"offline-run-*/run-{identity}.wandb")
    wait_until(lambda: b"train/gradient_norm" in log.read_bytes())  # another process writes it, a moment after the end
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000004")
    train(whelp, made, "wandb")
    assert (tmp_path / "run" / "wandb-id.txt").read_text() == identity


def test_trackio(whelp: Whelp, made: Project, tmp_path: Path, home: Path) -> None:
    """Its own file has every step."""
    pytest.importorskip("trackio", reason='pip install "whelp[tracking]"')
    train(whelp, made, "trackio")
    (file,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("select step, metrics from metrics").fetchall()
    records = [(step, json.loads(metrics)) for step, metrics in rows]
    losses = {step: metrics["train/loss"] for step, metrics in records if "train/loss" in metrics}
    assert losses == {step: pytest.approx(value) for step, value in recorded(tmp_path / "run", "loss")}


def test_a_tool_that_is_not_installed(whelp: Whelp, made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before anything is trained."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    outcome = whelp("train", made.recipe, "train.track=[wandb]", "--store", made.store, "--out", "run")
    assert outcome.code == 1
    assert outcome.said == 'error: train.track: wandb: the package wandb is not installed. Run `pip install "whelp[tracking]"`.'
    assert not (tmp_path / "run").exists()


def test_an_unknown_tool(whelp: Whelp, made: Project) -> None:
    """The known ones are named."""
    outcome = whelp("train", made.recipe, "train.track=[tensorbord]", "--store", made.store, "--out", "run")
    assert (
        "train.track[0] is 'tensorbord', but expected one of tensorboard, wandb, trackio. Did you mean tensorboard?"
        in outcome.said
    )


def test_steps_of_a_rewound_spike(made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that were taken back from the file: what was handed over is not handed over again, what is new is."""
    steps: list[int] = []

    class Tool:
        def write_values(self, step: int, values: Mapping[str, float]) -> None:
            assert values == {"train/loss": float(step)}
            steps.append(step)

        def write_text(self, step: int, name: str, text: str) -> None: ...
        def close(self) -> None: ...

    monkeypatch.setattr(track, "_find", lambda name: None)
    monkeypatch.setitem(track._TRACKERS, "tensorboard", lambda *arguments: Tool())
    run = RunFolder(tmp_path / "run")
    run.start("", {})

    def step_on(step: int) -> int:
        append_record(run.metrics, {"step": step, "loss": float(step), "first_row": 8 * step, "rows_checksum": 5})
        return step

    def train_on() -> Iterator[object]:
        yield from map(step_on, (1, 2, 3))
        run.truncate_after(1)
        append_record(run.metrics, {"step": 1, "rewound_from": 3, "spike_loss": 9.0, "skipped_rows": [8, 24]})
        yield Rewound(step=1, from_step=3, loss=9.0, skipped_rows=(8, 24))
        yield from map(step_on, (2, 3))

    recipe = load_recipe(made.recipe, ["train.track=[tensorboard]"])
    assert len(list(track.iter_tracked(train_on(), recipe, run.folder))) == 6
    assert steps == [1, 2, 3, 2, 3]


class Broken:
    """A tool that can do nothing from some step on."""

    def __init__(self, last_step: int) -> None:
        self.last_step = last_step
        self.steps: list[int] = []
        self.is_closed = False

    def write_values(self, step: int, values: Mapping[str, float]) -> None:
        if step > self.last_step:
            raise ConnectionError("the server is gone.\nmore of it")
        self.steps.append(step)

    def write_text(self, step: int, name: str, text: str) -> None: ...
    def close(self) -> None:
        self.is_closed = True
        raise OSError("nothing can be closed")


def test_a_tool_that_cannot_begin(whelp: Whelp, made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One nobody has logged in to, for example: said in a line, before anything is trained; without it the run goes on."""

    def begin(*arguments: object) -> track.Tracker:
        raise ValueError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(track, "_find", lambda name: None)
    monkeypatch.setitem(track._TRACKERS, "wandb", begin)
    options = (made.recipe, "--store", made.store, "--out", "run")
    outcome = whelp("train", *options, "train.track=[wandb]")
    assert outcome.code == 1
    assert "train.track: wandb: it cannot begin (No API key configured. Use `wandb login` to log in). Mend that" in outcome.said
    assert "set WANDB_MODE=offline, or take it out of train.track" in outcome.said
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert whelp("train", *options).code == 0


def test_a_tool_that_has_failed_does_not_begin_again(whelp: Whelp, made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it was the only one."""
    begun: list[Broken] = []

    def begin(*arguments: object) -> Broken:
        begun.append(Broken(last_step=1))
        return begun[-1]

    monkeypatch.setattr(track, "_find", lambda name: None)
    monkeypatch.setitem(track._TRACKERS, "wandb", begin)
    assert whelp("train", made.recipe, "train.track=[wandb]", "--store", made.store, "--out", "run", "--json").code == 0
    assert len(begun) == 1


def test_a_tool_that_fails_costs_no_run(whelp: Whelp, made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets no more, which is said once; the others get all; what fails while it is closed is said, too."""
    broken, lasting = Broken(last_step=2), Broken(last_step=100)
    monkeypatch.setattr(track, "_find", lambda name: None)
    monkeypatch.setitem(track._TRACKERS, "wandb", lambda *arguments: broken)
    monkeypatch.setitem(track._TRACKERS, "trackio", lambda *arguments: lasting)
    outcome = whelp("train", made.recipe, "train.track=[wandb,trackio]", "--store", made.store, "--out", "run", "--json")
    assert outcome.json["is_finished"] is True
    assert outcome.said.count("train.track: wandb failed (the server is gone), and gets no more of this run") == 1
    assert (set(broken.steps), set(lasting.steps), lasting.is_closed) == ({0, 1, 2}, {0, 1, 2, 3, 4}, True)
    assert "train.track: trackio failed (nothing can be closed)" in outcome.said
