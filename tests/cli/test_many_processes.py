"""Training in several processes: the same rows and losses as one, and all of them end when one does."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import whelp
from whelp.artifacts.checkpoint import find_checkpoints
from whelp.artifacts.token_store import open_store
from whelp.base.errors import PlanError, TrainingError
from whelp.cli import verify_resume
from whelp.cli.recipe import load_recipe
from whelp.cli.train import iter_train
from whelp.cli.training.launch import FirstProcessError, _explain, launch
from whelp.cli.training.session import Session
from whelp.cli.verify_resume import _compare, _read, _run, _Trace
from whelp.model import ModelConfig
from whelp.train import StepReport
from whelp.train.process_group import ProcessGroup
from whelp.train.process_rank import ProcessRank

from .helpers import Project, Whelp, make_project
from .processes import PROGRAM, SECONDS, find_children, is_running, wait_for

TRAIN: dict[str, Any] = {
    "num_steps": 12,
    "batch_tokens": 160,  # ten rows: not the same number for each of four processes
    "micro_batch_rows": 2,
    "save_every_steps": 3,
    "record_rows": True,
    "sample_prompts": ["The"],
    "sample_tokens": 2,
}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals are of POSIX: run the tests on Linux or macOS")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with its store."""
    project = make_project(
        tmp_path_factory.mktemp("many"), model={"n_layer": 2}, train=TRAIN, data={"test_split": 0.3}, pack={"plan": "best_fit"}
    )
    whelp.prepare(project.recipe, out=project.store)
    return project


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """For processes of our own: this checkout, and one thread each."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(whelp.__file__).parents[1]))
    return dict(os.environ)


def start(ready: Project, run: Path, environment: dict[str, str], *overrides: str) -> subprocess.Popen[str]:
    """Train in two processes, longer than anybody waits."""
    arguments = ["train", ready.recipe, "train.num_steps=100000", "train.evaluate_every_steps=100000", *overrides]
    arguments += ["--store", ready.store, "--out", run, "--nproc", 2]
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_divided_model(ready: Project, environment: dict[str, str], tmp_path: Path) -> None:
    """Weights and state in two parts (FSDP2, Muon), rows that do not divide evenly; one process goes on, and all is as of one."""
    whole, parts, written = tmp_path / "whole", tmp_path / "parts", tmp_path / "recipe.yaml"
    overrides = ["train.optimizer=muon", "train.batch_tokens=144", "train.shard=true", "train.epsilon=1e-4"]
    recipe = load_recipe(ready.recipe, overrides)
    written.write_text(recipe.to_yaml(), encoding="utf-8")
    whelp.train(recipe, store=ready.store, out=whole)
    _run(written, ready.store, parts, 2, die_after=7)
    assert whelp.train(recipe, store=ready.store, out=parts).step == 12
    ours, theirs = _read(parts), _read(whole)
    assert ours.rows == theirs.rows
    assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)
    for file in ("model.safetensors", "trainer/optimizer.safetensors"):
        found, expected = (load_file(run / "checkpoints" / "last" / file) for run in (parts, whole))
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("shard", ["false", "true"])
def test_a_killed_process_ends_the_others(ready: Project, environment: dict[str, str], tmp_path: Path, shard: str) -> None:
    """One is gone: the command ends soon, says which and how, and the last checkpoint stands."""
    run = tmp_path / "run"
    process = start(ready, run, environment, f"train.shard={shard}")
    wait_for(lambda: find_checkpoints(run / "checkpoints"), process)
    children = find_children(process)
    assert len(children) == 2
    os.kill(children[1], signal.SIGKILL)
    _, stderr = process.communicate(timeout=SECONDS)
    said = " ".join(stderr.split())
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "process 2 of 2: it was killed by SIGKILL" in said
    assert "The last checkpoint stands; the same command goes on from there." in said
    assert not any(map(is_running, children))
    assert (run / "checkpoints" / "last" / "model.safetensors").is_file()


def test_signals_reach_all(ready: Project, environment: dict[str, str], tmp_path: Path) -> None:
    """SIGUSR1: all save and go on. SIGTERM: all save and stop; one process goes on from there."""
    run = tmp_path / "run"
    process = start(ready, run, environment, "train.save_every_steps=100000", "train.keep_checkpoints=9")
    wait_for(lambda: (run / "metrics.jsonl").exists() and '"step": 2,' in (run / "metrics.jsonl").read_text(), process)
    process.send_signal(signal.SIGUSR1)
    wait_for(lambda: (run / "checkpoints" / "last").exists(), process)
    (saved,) = find_checkpoints(run / "checkpoints")
    step = int(saved.name.partition("-")[2])
    wait_for(lambda: f'"step": {step + 2},' in (run / "metrics.jsonl").read_text(), process)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=SECONDS)
    assert (process.returncode, stdout) == (130, ""), stderr
    last = find_checkpoints(run / "checkpoints")[-1]
    stopped = json.loads((last / "trainer" / "state.json").read_text())
    assert stopped["step"] > step
    assert f"step {stopped['step']} is saved" in " ".join(stderr.split())
    assert stderr.count("interrupted; what was finished is kept") == 1, "the launcher says it for all"
    assert stopped["rows_read"] == 10 * stopped["step"]


def test_a_disk_that_fills_up(ready: Project, environment: dict[str, str], small_disk: Path) -> None:
    """The one that writes says so, once; nothing half is left, and with room the same command goes on."""
    run = small_disk / "run"
    arguments = ["train", ready.recipe, "model.n_embd=64", "--store", ready.store, "--out", run, "--nproc", 2]
    command = [*PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    said = " ".join(done.stderr.split())
    assert (done.returncode, said.count("the disk is full")) == (1, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert list((run / "checkpoints").iterdir()) == []


# the second process is on a machine of its own, where something is another one
_ELSEWHERE = """
import os, sys
from whelp.cli.main import main
from whelp.train import process_checks
process_checks._PATIENCE_SECONDS = 0.5
if os.environ["RANK"] == "1":
    sys.argv = [argument.replace("train.seed=1", "train.seed=2").replace("of-one", "of-the-other") for argument in sys.argv]
main()
"""


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["train.seed=1", "--out", "run"], "train.seed is 2, not 1"),
        (["--out", "of-one"], "it does not see of-one/plan.json as process 1 has written it"),
    ],
)
def test_machines_that_see_other_things(
    ready: Project,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    found: str,
) -> None:
    """Another recipe, or a run folder that is not shared: refused before the first step, by name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FirstProcessError):
        launch(["train", str(ready.recipe), *arguments, "--store", str(ready.store)], 2, code=_ELSEWHERE)
    said = " ".join(capfd.readouterr().err.split())
    assert re.search(rf"error: process 2 of 2, on \S+: {re.escape(found)}", said), said
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_a_batch_script_that_forgets_srun(whelp: Whelp, ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process alone where Slurm was asked for eight: it says so, and plans for itself."""
    for name, value in {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}.items():
        monkeypatch.setenv(name, value)
    outcome = whelp("train", ready.recipe, "--store", ready.store, "--dry-run")
    assert outcome.code == 0
    assert "Slurm was asked for 8 tasks, and this is one process alone: `srun whelp train` starts them all" in outcome.said


@pytest.mark.parametrize(
    ("codes", "texts", "message"),
    [
        ([3, -9], ["", ""], r"process 2 of 2: it was killed by SIGKILL, as the system does when memory runs out\. The others"),
        (
            [-getattr(signal, "SIGBUS", 7), 3],
            ["", ""],
            r"process 1 of 2: it was killed by SIGBUS, as it happens when a file of the token store is cut short",
        ),
        ([3, 1, 3], ["", "error: no room.\n", ""], r"process 2 of 3: it ended with exit code 1, and said: no room\. The"),
        ([1, 1], ["", "error: the same\n"], r"process 1 of 2: it ended with exit code 1; its message stands above"),
        ([3, 3], ["", ""], r"2 processes: they lost each other: one did not answer in time"),
    ],
)
def test_who_is_to_blame(tmp_path: Path, codes: list[int], texts: list[str], message: str) -> None:
    """Of processes that failed together, the one that failed by itself is named."""
    said = [tmp_path / str(rank) for rank in range(len(codes))]
    for path, text in zip(said, texts, strict=True):
        path.write_text(text)
    with pytest.raises(TrainingError, match=message):
        _explain(list(range(len(codes))), codes, said)


def test_a_stop_is_what_they_lost_each_other_by(tmp_path: Path) -> None:
    """Nobody is to blame, and what to raise is said; one that failed by itself is named all the same."""
    said = [tmp_path / "0", tmp_path / "1"]
    message = (
        r"2 processes: they were stopped for 12 min 05 s .*longer than train\.timeout_minutes\. .*the same command goes on"
    )
    with pytest.raises(TrainingError, match=message):
        _explain([0, 1], [3, 3], said, stopped_seconds=725)
    said[1].write_text("error: no room.\n")
    with pytest.raises(TrainingError, match=r"process 2 of 2: it ended with exit code 1, and said: no room"):
        _explain([0, 1], [3, 1], said, stopped_seconds=725)


def test_one_that_hangs_is_named(tmp_path: Path) -> None:
    """The others gave up waiting for it, and ended by themselves; it did not."""
    said = [tmp_path / "0", tmp_path / "1"]
    with pytest.raises(TrainingError, match=r"process 2 of 2: it did not answer for as long as train\.timeout_minutes says"):
        _explain([0], [3, -9], said)


def test_verify_resume(whelp: Whelp, ready: Project, environment: dict[str, str]) -> None:
    """On a recipe as it should be, a run that was killed goes on to the bit; and the exit code says so."""
    found = whelp("verify-resume", ready.recipe, "--store", ready.store, "--steps", 6, "--nproc", "1", "--json").json
    assert (found["holds"], found["device"], found["num_steps"]) == (True, "cpu", 6)
    (check,) = found["checks"]
    assert (check["name"], check["num_processes"]) == ("killed after step 4, then on from 3", [1, 1])
    assert (check["same_rows"], check["same_bits"], check["largest_difference"]) == (True, True, 0.0)


def test_the_ways_of_verify_resume(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which runs it makes of three numbers of processes (here all are one), and where it stops them."""
    legs: list[tuple[str, int, int]] = []
    heard: list[str] = []

    def run(recipe: Path, store: Path, out: Path, num_processes: int, *, die_after: int = 0, is_heard: bool = False) -> None:
        legs.append((out.name, num_processes, die_after))
        heard.extend([out.name] * is_heard)
        for event in iter_train(load_recipe(recipe), store, out):
            if isinstance(event, StepReport) and event.step == die_after:
                return

    monkeypatch.setattr(verify_resume, "_run", run)
    result = whelp.verify_resume(ready.recipe, store=ready.store, num_steps=8, nproc=[1, 2, 4])
    assert legs == [
        *[("whole", 1, 0), ("half", 1, 5), ("run-0", 1, 0), ("run-1", 2, 0), ("run-2", 4, 0)],
        *[("chain", 1, 3), ("chain", 2, 5), ("chain", 4, 7), ("chain", 1, 0)],
    ]
    assert heard == ["whole"], "the others would say the same again"
    assert [check.num_processes for check in result.checks] == [[1, 1], [1, 2], [1, 4], [1, 2, 4, 1]]
    assert [check.losses for check in result.checks] == ["bits", "close", "close", "close"]
    assert all(check.same_bits and check.same_rows and check.holds for check in result.checks)
    assert result.checks[-1].name == "killed after steps 3, 5, 7"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rows": {1: (0, 10, 7), 2: (10, 10, 9)}}, "rows"),
        ({"losses": {1: 3.0, 2: 2.5000001}}, "bits"),
        ({"checksums": {"model.safetensors": "other"}}, "bits"),
        ({"losses": {1: 3.0}}, "bits"),
        ({"losses": {1: 3.0, 2: float("nan")}}, "bits"),
    ],
)
def test_what_does_not_hold(change: dict[str, Any], problem: str) -> None:
    """Another row, another bit of a loss or of the weights, a missing step: each is found."""
    values: dict[str, Any] = {
        "rows": {1: (0, 10, 7), 2: (10, 10, 8)},
        "losses": {1: 3.0, 2: 2.5},
        "checksums": {"model.safetensors": "one"},
    }
    whole = _Trace(**values)
    assert _compare("it", whole, _Trace(**values), [1, 1], "bits", 1e-3).holds
    check = _compare("it", whole, _Trace(**values | change), [1, 1], "bits", 1e-3)
    assert not check.holds
    assert check.same_rows == (problem != "rows")


def test_verify_resume_says_what_is_wrong(whelp: Whelp, ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that reads other rows after its stop: a table that says so, and exit code 1."""
    from whelp.cli.train import train

    def run(recipe: Path, store: Path, out: Path, num_processes: int, *, die_after: int = 0, is_heard: bool = False) -> None:
        train(recipe, store=store, out=out, overrides=[f"train.batch_tokens={96 if out.name != 'whole' else 160}"])

    monkeypatch.setattr(verify_resume, "_run", run)
    outcome = whelp("verify-resume", ready.recipe, "--store", ready.store, "--steps", 4, "--nproc", "1")
    assert outcome.code == 1
    assert "NOT THE SAME" in outcome.text, outcome.stderr
    assert "runs of this recipe do NOT go on exactly" in outcome.text


def test_wrong_numbers_of_processes(whelp: Whelp, ready: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More processes than rows in a batch, none at all, or two launchers at once: said before anything is written."""
    outcome = whelp("verify-resume", ready.recipe, "--store", ready.store, "--nproc", "0")
    assert outcome.code == 1
    assert "0 is no number of processes" in outcome.said
    assert whelp("train", ready.recipe, "--store", ready.store, "--out", tmp_path / "run", "--nproc", 0).code == 2
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    outcome = whelp("train", ready.recipe, "--store", ready.store, "--out", tmp_path / "run", "--nproc", 2)
    assert outcome.code == 1
    assert "--nproc: a launcher has started several processes already" in outcome.said
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_divided(ready: Project) -> None:
    """An architecture of transformers, whose blocks are not known: said before anything is built."""
    recipe = load_recipe(ready.recipe, ["train.shard=true", "train.optimizer=adamw"])
    recipe = dataclasses.replace(recipe, model=ModelConfig(family="hf", hf_config="gpt2"))
    processes = ProcessGroup(ProcessRank(rank=0, num_processes=2, local_rank=0, num_local_processes=2))
    with pytest.raises(PlanError, match=r"train\.shard: the blocks of model\.family: hf are not known"):
        Session(recipe, open_store(ready.store), processes)
