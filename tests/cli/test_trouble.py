"""When a run meets trouble: batches that are no numbers, spikes, too little memory; and which checkpoints stay."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import whelp
from whelp.artifacts.run_folder import iter_records
from whelp.base.errors import TrainingError
from whelp.cli.recipe import load_recipe
from whelp.cli.train import iter_train
from whelp.cli.training.events import Planned, Rewound
from whelp.cli.training.wiring import RunWiring
from whelp.model import LanguageModel
from whelp.train import StepReport, awake_clock
from whelp.train.optimizer import Optimizer
from whelp.train.process_group import ProcessGroup
from whelp.train.process_rank import ProcessRank

from .helpers import Project, make_project


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with its store."""
    train = {"num_steps": 20, "save_every_steps": 4, "evaluate_every_steps": 4, "record_rows": True, "keep_checkpoints": 9}
    project = make_project(tmp_path_factory.mktemp("trouble"), train=train, data={"test_split": 0.3})
    whelp.prepare(project.recipe, out=project.store)
    return project


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Factors of the losses of some training batches, by their number: 1 is the first."""
    factors: dict[int, float] = {}
    original, number = LanguageModel.loss, 0

    def loss(self: LanguageModel, *arguments: Any) -> torch.Tensor:
        nonlocal number
        nats = original(self, *arguments)
        if not torch.is_grad_enabled():
            return nats
        number += 1
        return nats * factors.get(number, 1.0)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    return factors


def train(ready: Project, run: Path, *overrides: str) -> list[dict[str, Any]]:
    """Train; return the records of steps."""
    whelp.train(ready.recipe, store=ready.store, out=run, overrides=overrides)
    return [record for record in iter_records(run / "metrics.jsonl") if "loss" in record]


def saved_steps(run: Path) -> list[int]:
    """The steps of all checkpoints."""
    return sorted(int(path.name.partition("-")[2]) for path in (run / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_batch_stops_the_run(ready: Project, losses: dict[int, float], tmp_path: Path, bad: float) -> None:
    """By default a loss that is no number is an error; the checkpoint before stands, and is not of bad weights."""
    losses[7] = bad
    with pytest.raises(TrainingError, match=r"step 7: the loss is (nan|inf), but expected a finite number"):
        train(ready, tmp_path / "run")
    assert saved_steps(tmp_path / "run") == [4]


def test_a_bad_batch_is_skipped(ready: Project, losses: dict[int, float], tmp_path: Path) -> None:
    """Passed over and recorded: no update, and the run goes on with the next rows."""
    losses |= {7: math.nan, 8: math.inf}
    records = train(ready, tmp_path / "run", "train.on_bad_loss=skip")
    assert [record["step"] for record in records] == list(range(1, 21))
    assert [record["step"] for record in records if record.get("is_skipped")] == [7, 8]
    assert [record["loss"] for record in records[6:8]] == [None, None]
    assert records[8]["tokens"] - records[5]["tokens"] == 64  # of step 9 alone
    assert [record["first_row"] for record in records] == list(range(0, 80, 4))
    assert all(math.isfinite(record["loss"]) for record in records[8:])
    state = json.loads((tmp_path / "run" / "checkpoints" / "last" / "trainer" / "state.json").read_text())
    assert (state["skipped_steps"], state["skipped_in_a_row"]) == (2, 0)
    assert "2 batches were skipped" in (tmp_path / "run" / "report.html").read_text()


def test_too_many_bad_batches(ready: Project, losses: dict[int, float], tmp_path: Path) -> None:
    """Ten in a row are passed over; the eleventh is an error."""
    losses |= dict.fromkeys(range(3, 30), math.nan)
    with pytest.raises(TrainingError, match="step 13: the loss is nan, and 10 batches before were passed over"):
        train(ready, tmp_path / "run", "train.on_bad_loss=skip")


def test_a_spike_is_rewound(ready: Project, losses: dict[int, float], tmp_path: Path) -> None:
    """Back to the checkpoint before, on with the rows after the spike; all of it is in the records and the report."""
    plain = train(ready, tmp_path / "plain", "train.spike_factor=3")
    losses[20 + 15] = 50.0
    run = tmp_path / "run"
    records = train(ready, run, "train.spike_factor=3")
    assert [record["step"] for record in records] == list(range(1, 21))
    assert [record["loss"] for record in records[:12]] == [record["loss"] for record in plain[:12]]
    assert [record["first_row"] for record in records] == [*range(0, 48, 4), *range(60, 92, 4)]
    (event,) = [record for record in iter_records(run / "metrics.jsonl") if "rewound_from" in record]
    assert (event["step"], event["rewound_from"], event["skipped_rows"]) == (12, 15, [48, 60])
    assert event["spike_loss"] > 100
    assert max(record["loss"] for record in records) < 10
    state = json.loads((run / "checkpoints" / "last" / "trainer" / "state.json").read_text())
    assert (state["rewinds"], state["rows_read"], state["step"]) == (1, 92, 20)
    assert "step 15: a loss of" in (run / "report.html").read_text()


def test_a_run_that_is_killed_after_it_was_rewound(ready: Project, losses: dict[int, float], tmp_path: Path) -> None:
    """It goes on from the same checkpoint, meets the spike again, and is rewound once more: that is one event, not two."""
    run, recipe = tmp_path / "run", load_recipe(ready.recipe, ["train.spike_factor=3"])
    losses |= {14: 50.0, 16: 50.0}  # step 14 both times: the second time it begins after step 12
    for event in iter_train(recipe, ready.store, run):
        if isinstance(event, Rewound):
            break
    rewound = [record for record in iter_records(run / "metrics.jsonl") if "rewound_from" in record]
    assert len(rewound) == 1
    train(ready, run, "train.spike_factor=3")
    assert [record for record in iter_records(run / "metrics.jsonl") if "rewound_from" in record] == rewound


def test_a_spike_before_the_first_checkpoint(ready: Project, losses: dict[int, float], tmp_path: Path) -> None:
    """Nothing is saved yet: begin again, with the rows after the spike."""
    losses[12] = 50.0
    records = train(ready, tmp_path / "run", "train.spike_factor=3", "train.save_every_steps=20")
    assert [record["step"] for record in records] == list(range(1, 21))
    assert records[0]["first_row"] == 48


def test_spikes_without_end(ready: Project, losses: dict[int, float], tmp_path: Path) -> None:
    """A run that is rewound again and again ends with an error."""
    losses |= dict.fromkeys(range(14, 1000), 50.0)
    with pytest.raises(TrainingError, match="the run was rewound 10 times before"):
        train(ready, tmp_path / "run", "train.spike_factor=3")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A device with room for so many rows while it trains, and while it evaluates."""
    room = {"rows": 2, "evaluated_rows": 100}
    original = LanguageModel.loss

    def loss(self: LanguageModel, ids: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if len(ids) > room["rows" if torch.is_grad_enabled() else "evaluated_rows"]:
            raise torch.OutOfMemoryError("no room")
        return original(self, ids, *arguments)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    return room


@pytest.fixture
def undisturbed(ready: Project, tmp_path: Path) -> list[dict[str, Any]]:
    """The records of a run with room enough."""
    return train(ready, tmp_path / "undisturbed")


def read_plan(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "plan.json").read_text())["plan"])


def assert_alike(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """The same rows, and losses but for rounding."""
    assert [record["loss"] for record in ours] == pytest.approx([record["loss"] for record in theirs], abs=1e-4)
    assert [record["rows_checksum"] for record in ours] == [record["rows_checksum"] for record in theirs]


@pytest.mark.parametrize(("rows", "pieces"), [(2, 2), (1, 4)])
def test_out_of_memory_halves_the_micro_batch(
    ready: Project, undisturbed: list[dict[str, Any]], memory: dict[str, int], tmp_path: Path, rows: int, pieces: int
) -> None:
    """As few rows at a time as fit give the same losses; the run folder remembers it."""
    memory["rows"] = rows
    run = tmp_path / "run"
    assert_alike(train(ready, run), undisturbed)
    plan = read_plan(run)
    assert (plan["micro_batch_rows"], plan["accumulation"], plan["is_halved"]) == (rows, pieces, True)
    assert whelp.train(ready.recipe, store=ready.store, out=run).is_finished


def test_not_even_a_row_fits(ready: Project, memory: dict[str, int], tmp_path: Path) -> None:
    """The error says what to lower, each time."""
    memory["rows"] = 0
    advice = r"the device: it is out of memory with 1 row at a time, but expected room\. Lower pack\.context_tokens or the model's size"
    for _ in range(2):
        with pytest.raises(TrainingError, match=advice):
            train(ready, tmp_path / "run")


def test_a_run_that_goes_on_with_more_rows_at_a_time(ready: Project, memory: dict[str, int], tmp_path: Path) -> None:
    """The option was too much for memory: the same command does not try it again, and another number is taken."""
    memory["rows"] = 4
    run, options = tmp_path / "run", ["train.micro_batch_rows=4", "train.save_every_steps=1"]
    for event in iter_train(load_recipe(ready.recipe, ["train.micro_batch_rows=1"]), ready.store, run):
        if isinstance(event, StepReport) and event.step == 4:
            break
    memory["rows"] = 2
    for event in iter_train(load_recipe(ready.recipe, options), ready.store, run):
        if isinstance(event, StepReport) and event.step == 8:
            break
    planned = next(iter(iter_train(load_recipe(ready.recipe, options), ready.store, run)))
    assert isinstance(planned, Planned)
    assert planned.plan.micro_batch_rows == 2
    planned = next(iter(iter_train(load_recipe(ready.recipe, ["train.micro_batch_rows=null"]), ready.store, run)))
    assert isinstance(planned, Planned)
    assert planned.plan.micro_batch_rows == 4


def test_out_of_memory_in_one_of_two_processes(
    ready: Project, undisturbed: list[dict[str, Any]], memory: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other waits in the middle of the step: all end with a message, and the same command goes on with fewer rows."""
    run, halve, second = tmp_path / "run", RunWiring._halve_micro_batch, ProcessGroup(ProcessRank(rank=1, num_processes=2))

    def halve_as_second(self: RunWiring, rows_tried: int) -> None:
        self.processes = second
        halve(self, rows_tried)

    with monkeypatch.context() as patched:
        patched.setattr(RunWiring, "_halve_micro_batch", halve_as_second)
        message = r"process 2: out of memory with 4 rows at a time; from now on 2\. The same command goes on so\."
        with pytest.raises(TrainingError, match=message):
            train(ready, run)
    assert sorted(path.name for path in run.glob(".plan*")) == []
    memory["evaluated_rows"] = 2
    assert_alike(train(ready, run), undisturbed)


def test_out_of_memory_while_evaluating(
    ready: Project, undisturbed: list[dict[str, Any]], memory: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fewer test rows at a time, and as many training rows as before; no step is lost or done twice, and the run folder remembers it."""
    memory["rows"] = 100
    run = tmp_path / "run"
    steps = []
    for event in iter_train(load_recipe(ready.recipe), ready.store, run):
        if isinstance(event, StepReport):
            steps.append(event.step)
            memory["evaluated_rows"] = 1 if event.step >= 7 else 100
    assert steps == list(range(1, 21))
    assert "out of memory in an evaluation with 4 rows at a time; from now on 2" in caplog.text
    assert "out of memory in an evaluation with 2 rows at a time; from now on 1" in caplog.text
    plan = read_plan(run)
    assert (plan["micro_batch_rows"], plan["evaluate_micro_batch_rows"], plan["is_halved"]) == (4, 1, False)
    records = [record for record in iter_records(run / "metrics.jsonl") if "loss" in record]
    assert [record["loss"] for record in records] == [record["loss"] for record in undisturbed], "to the bit"


def test_not_even_a_row_can_be_evaluated(ready: Project, memory: dict[str, int], tmp_path: Path) -> None:
    memory |= {"rows": 100, "evaluated_rows": 0}
    with pytest.raises(
        TrainingError, match=r"out of memory in an evaluation with 1 row at a time, but expected room\. Lower pack"
    ):
        train(ready, tmp_path / "run")


def test_a_run_that_goes_on_evaluates_as_few_rows_as_fit(
    ready: Project, memory: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of several processes none can go on at once; the same command does. Another micro-batch is tried with as many test rows."""
    run, take_fewer = tmp_path / "run", RunWiring._take_fewer_rows
    memory |= {"rows": 100, "evaluated_rows": 2}

    def as_second(self: RunWiring, found: str, rows_now: int) -> None:
        self.processes = ProcessGroup(ProcessRank(rank=1, num_processes=2))
        take_fewer(self, found, rows_now)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RunWiring, "_take_fewer_rows", as_second)
        message = (
            r"process 2: out of memory in an evaluation with 4 rows at a time; from now on 2\. The same command goes on so\."
        )
        with pytest.raises(TrainingError, match=message):
            train(ready, run)
    train(ready, run)
    assert "out of memory" not in caplog.text
    assert (read_plan(run)["micro_batch_rows"], read_plan(run)["evaluate_micro_batch_rows"]) == (4, 2)
    planned = next(iter(iter_train(load_recipe(ready.recipe, ["train.micro_batch_rows=4"]), ready.store, run)))
    assert isinstance(planned, Planned)
    assert (planned.plan.micro_batch_rows, planned.plan.rows_evaluated_at_once) == (4, 4)


def test_out_of_memory_while_weights_change(
    ready: Project, undisturbed: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the weights have changed, which no smaller piece takes back: the run ends, and goes on from its checkpoint."""
    run, original, number = tmp_path / "run", Optimizer.step, 0

    def step(self: Optimizer, learning_rate: float) -> None:
        nonlocal number
        number += 1
        if number == 7:
            self.groups[0].data.mul_(2)
            raise torch.OutOfMemoryError("no room")
        original(self, learning_rate)

    monkeypatch.setattr(Optimizer, "step", step)
    message = r"step 7: out of memory while the weights were changed: .* The same command goes on from the last checkpoint\."
    with pytest.raises(TrainingError, match=message):
        train(ready, run)
    assert read_plan(run)["micro_batch_rows"] == 2
    assert_alike(train(ready, run), undisturbed)


def test_out_of_memory_while_steps_are_timed(
    ready: Project, memory: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run by the clock is timed first: that, too, goes on with fewer rows."""
    memory["rows"] = 1
    whelp.train(
        ready.recipe, store=ready.store, out=tmp_path / "run", overrides=["train.num_steps=null", "train.minutes=0.001"]
    )
    assert "out of memory with 4 rows at a time; from now on 2" in caplog.text
    plan = read_plan(tmp_path / "run")
    assert (plan["micro_batch_rows"], plan["is_halved"], plan["evaluate_micro_batch_rows"]) == (1, True, None)


def test_out_of_memory_while_an_evaluation_is_timed(
    ready: Project, memory: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps are as large as they were."""
    memory |= {"rows": 100, "evaluated_rows": 1}
    whelp.train(
        ready.recipe,
        store=ready.store,
        out=tmp_path / "run",
        overrides=["train.num_steps=null", "train.minutes=0.001", "train.device=cpu"],
    )
    assert "out of memory with" not in caplog.text
    plan = read_plan(tmp_path / "run")
    assert (plan["micro_batch_rows"], plan["is_halved"], plan["evaluate_micro_batch_rows"]) == (4, False, 1)


def test_out_of_memory_while_weights_change_in_steps_that_are_timed(
    ready: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is timed is thrown away, so nothing is torn."""
    original, is_first = Optimizer.step, True

    def step(self: Optimizer, learning_rate: float) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            raise torch.OutOfMemoryError("no room")
        original(self, learning_rate)

    monkeypatch.setattr(Optimizer, "step", step)
    options = ["train.num_steps=null", "train.minutes=0.001"]
    assert whelp.train(ready.recipe, store=ready.store, out=tmp_path / "run", overrides=options).is_finished
    assert "out of memory with 4 rows at a time; from now on 2" in caplog.text


def test_out_of_memory_while_batches_are_small(
    ready: Project, memory: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows that did not fit are those that were tried, fewer than a later step's: halves of those are not tried in vain."""
    memory["rows"] = 1
    train(ready, tmp_path / "run", "train.first_batch_tokens=32", "train.batch_ramp_share=0.5")
    assert "out of memory with 2 rows at a time; from now on 1" in caplog.text
    assert "out of memory with 4 rows" not in caplog.text


class _Clock:
    """Hardly goes on, but for what a test adds."""

    seconds = 0.0

    def __enter__(self) -> _Clock:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self) -> float:
        _Clock.seconds += 1e-6
        return _Clock.seconds


@pytest.mark.parametrize("kind", ["rows", "evaluated_rows"])
def test_the_time_of_what_is_done_twice(
    ready: Project, memory: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It is of the run's minutes: an evaluation, or a step, that memory does not suffice for at first. No step is left out for it."""
    memory["rows"] = 100
    take_fewer = RunWiring._take_fewer_rows

    def take_fewer_slowly(self: RunWiring, found: str, rows_now: int) -> None:
        take_fewer(self, found, rows_now)
        _Clock.seconds += 100

    monkeypatch.setattr(RunWiring, "_take_fewer_rows", take_fewer_slowly)
    monkeypatch.setattr(_Clock, "seconds", 0.0)
    monkeypatch.setattr(awake_clock, "AwakeClock", _Clock)
    recipe = load_recipe(ready.recipe, ["train.num_steps=null", "train.minutes=2.5", "train.evaluate_every_steps=4"])
    steps = []
    for event in iter_train(recipe, ready.store, tmp_path / "run"):
        if isinstance(event, StepReport):
            steps.append((event.step, round(event.share_done * 150), event.is_last))
            memory[kind] = 1 if event.step >= 4 else 100
            _Clock.seconds += 10
    assert steps == [(1, 0, False), (2, 10, False), (3, 20, False), (4, 30, False), (5, 150, True)]
    assert saved_steps(tmp_path / "run")[-1] == 5


def test_which_checkpoints_stay(ready: Project, tmp_path: Path) -> None:
    """The newest, every so many steps, and the best of the test split, which has a link."""
    run = tmp_path / "run"
    train(ready, run, "train.keep_checkpoints=1", "train.save_every_steps=2", "train.evaluate_every_steps=2")
    assert saved_steps(run) == [20]
    options = ["train.keep_checkpoints=1", "train.save_every_steps=2", "train.evaluate_every_steps=2"]
    run = tmp_path / "more"
    train(
        ready,
        run,
        *options,
        "train.keep_every_steps=6",
        "train.keep_best=true",
        "train.learning_rate=3",
        "train.schedule=constant",
    )
    tests = {
        record["step"]: record["test_nats_per_token"]
        for record in iter_records(run / "metrics.jsonl")
        if record["step"] and "test_nats_per_token" in record
    }
    best = min(tests, key=lambda step: tests[step])
    assert best < 20, "the learning rate is far too high, so that the last is not the best"
    assert saved_steps(run) == sorted({6, 12, 18, 20, best})
    assert (run / "checkpoints" / "best").resolve().name == f"step-{best:08}"
    assert whelp.generate(run / "checkpoints" / "best", "The", max_tokens=1, device="cpu")


def test_saving_on_request(ready: Project, tmp_path: Path) -> None:
    """SIGUSR1 saves after the step that is running, and the run goes on."""
    run = tmp_path / "run"
    events = iter_train(load_recipe(ready.recipe, ["train.save_every_steps=20"]), ready.store, run)
    for event in events:
        if isinstance(event, StepReport) and event.step in (3, 5):
            os.kill(os.getpid(), signal.SIGUSR1)
    assert saved_steps(run) == [3, 5, 20]


def test_averaged_weights_are_saved_beside(ready: Project, tmp_path: Path) -> None:
    """`ema/` of a checkpoint is a model folder of its own, with the loss that was measured; the run itself is unchanged."""
    plain = train(ready, tmp_path / "plain")
    run = tmp_path / "run"
    assert [r["loss"] for r in train(ready, run, "train.ema_decay=0.9")] == [record["loss"] for record in plain]
    last = run / "checkpoints" / "last"
    measured = [record for record in iter_records(run / "metrics.jsonl") if "ema_test_nats_per_token" in record][-1]
    for folder, name in ((last, "test_nats_per_token"), (last / "ema", "ema_test_nats_per_token")):
        found = whelp.evaluate(folder, store=ready.store, device="cpu")
        assert found.nats_per_token == pytest.approx(measured[name], rel=1e-5)
    assert measured["ema_test_nats_per_token"] != measured["test_nats_per_token"]
    assert json.loads((last / "manifest.json").read_text())["files"]["ema/model.safetensors"]["bytes"] > 0
