"""What the world does to a run: folders copied and damaged, terminals closed, launchers killed, weights that are no numbers."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import whelp
from whelp.artifacts.checkpoint import BEST, LAST, find_checkpoints, step_name
from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.base.errors import ArtifactError, TrainingError
from whelp.cli import launch, train_wiring
from whelp.cli.lasting_stream import LastingStream
from whelp.cli.recipe import load_recipe
from whelp.cli.show_training import TrainingView
from whelp.cli.train import iter_train
from whelp.cli.train_signals import Requests
from whelp.model import LanguageModel
from whelp.train import StepReport
from whelp.train.fit import has_only_numbers
from whelp.train.process_group import ProcessGroup

from .helpers import Project, Whelp, make_project

SECONDS = 60  # nothing here takes longer, on the slowest machine
needs_signals = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="signals are of POSIX: run the tests on Linux or macOS"
)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with its store."""
    train = {"num_steps": 8, "save_every_steps": 2, "evaluate_every_steps": 4, "sample_prompts": ["The"], "sample_tokens": 2}
    project = make_project(tmp_path_factory.mktemp("chaos"), train=train, data={"test_split": 0.3})
    whelp.prepare(project.recipe, out=project.store)
    return project


@pytest.fixture(scope="module")
def whole(ready: Project) -> Path:
    """A run that nobody disturbed: do not write into it."""
    whelp.train(ready.recipe, store=ready.store, out=ready.run)
    return ready.run


@pytest.fixture(scope="module")
def stopped(ready: Project) -> Path:
    """A run that was killed after step 5: do not write into it."""
    run = ready.folder / "stopped"
    stop_after(5, ready, run)
    return run


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> RunFolder:
    """A copy of the stopped run."""
    return RunFolder(Path(shutil.copytree(stopped, tmp_path / "run", symlinks=True)))


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


# --- checkpoints ---


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


# --- records and plan ---


def test_damaged_records(ready: Project, run: RunFolder, whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Half a line, half a character, zeros, other JSON: left out and counted; the records of a run that goes on are whole again."""
    with open(run.metrics, "ab") as file:
        file.write(b'12\nnull\n{"a": 1}\n' + bytes(300) + b'\n{"step": 6, "lo')
    with open(run.samples, "ab") as file:
        file.write('{"step": 6, "text": "日'.encode()[:-1])
    assert_goes_on(ready, run, whole)
    assert "metrics.jsonl: left out 5 lines that cannot be read" in caplog.text
    assert "samples.jsonl: left out 1 line that cannot be read" in caplog.text
    assert run.samples.read_text() == (whole / "samples.jsonl").read_text()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda plan: plan.clear(), r"an unknown one wrote it \(store is missing; plan is missing; recipe is missing\)"),
        (lambda plan: plan["plan"].update(tomorrow=1), r"wrote it \(plan\.tomorrow is unknown\)"),
        (lambda plan: plan["plan"].pop("threads"), r"wrote it \(plan\.threads is missing\)"),
    ],
)
def test_a_plan_of_another_version(ready: Project, run: RunFolder, change: Callable[[Any], object], found: str) -> None:
    """What is missing or unknown is named, and how the weights can be used all the same."""
    values = json.loads(run.plan.read_text())
    change(values)
    run.plan.write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=found + r".* begin a new run with its weights: train\.start_from="):
        whelp.train(ready.recipe, store=ready.store, out=run.folder)
    assert names(run) == [LAST, step_name(2), step_name(4)]


@pytest.mark.parametrize(
    "written",
    [{}, {"device": "cuda", "compile": True, "micro_batch_rows": 64, "save_every_steps": 3}],
    ids=["by itself", "its recipe named the GPU"],
)
def test_a_run_moves_to_a_machine_without_its_gpu(
    ready: Project, run: RunFolder, whole: Path, caplog: pytest.LogCaptureFixture, written: dict[str, object]
) -> None:
    """It goes on on what there is, in other pieces, and that is said."""
    values = json.loads(run.plan.read_text())
    values["plan"] |= {"device": "cuda", "compile": True}
    values["recipe"]["train"] |= written
    run.plan.write_text(json.dumps(values))
    assert_goes_on(ready, run, whole)
    assert "this run was on cuda so far, and goes on on cpu, in fp32 as before" in caplog.text


def test_a_full_disk_names_the_file(ready: Project, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system says only on closing that a record did not fit, and not of which file."""
    resource = pytest.importorskip("resource", reason="limits are of POSIX: run the tests on Linux or macOS")
    limit = run.metrics.stat().st_size + 1
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match=r"metrics\.jsonl") as caught:
            train_wiring.append_record(run.metrics, {"step": 6, "loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG


# --- numbers ---


def test_bad_weights_push_out_no_good_ones(ready: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is passed over once a weight is no number; what was saved before stays."""
    original, number = LanguageModel.loss, 0

    def loss(self: LanguageModel, *arguments: Any) -> torch.Tensor:
        nonlocal number
        number += torch.is_grad_enabled()
        if number == 5:
            with torch.no_grad():
                next(self.parameters())[0, 0] = torch.nan
        return original(self, *arguments)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    message = r"step 6: weights are no finite numbers, so nothing is saved; the last checkpoint \(step-00000004\) stands"
    with pytest.raises(TrainingError, match=message):
        whelp.train(ready.recipe, store=ready.store, out=tmp_path, overrides=["train.on_bad_loss=skip"])
    kept = find_checkpoints(tmp_path / "checkpoints")
    assert [path.name for path in kept] == [step_name(2), step_name(4)]
    for path in kept:
        assert all(torch.isfinite(tensor).all() for tensor in load_file(path / "model.safetensors").values())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_weight_is_no_number(make_model: Callable[..., LanguageModel], value: float) -> None:
    """It is found, wherever it is."""
    model = make_model("gpt2")
    assert has_only_numbers(model)
    for parameter in model.parameters():
        with torch.no_grad():
            before, parameter.view(-1)[-1] = parameter.view(-1)[-1].clone(), value
            assert not has_only_numbers(model)
            parameter.view(-1)[-1] = before
    assert has_only_numbers(model)


def test_a_batch_that_was_passed_over_is_shown(ready: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss is no number, and has no place in the curve of the terminal."""
    original, number, view = LanguageModel.loss, 0, TrainingView()

    def loss(self: LanguageModel, *arguments: Any) -> torch.Tensor:
        nonlocal number
        number += torch.is_grad_enabled()
        return original(self, *arguments) * (torch.nan if number == 3 else 1.0)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    recipe = load_recipe(ready.recipe, ["train.on_bad_loss=skip"])
    for event in iter_train(recipe, ready.store, tmp_path):
        view.show(event)
    assert len(view.losses) == 7


def test_all_wait_before_a_spike_is_rewound(ready: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first process waits for its disk by itself: the others must not read a checkpoint that is not there yet."""
    original, number, happened = LanguageModel.loss, 0, []

    def loss(self: LanguageModel, *arguments: Any) -> torch.Tensor:
        nonlocal number
        number += torch.is_grad_enabled()
        return original(self, *arguments) * (50.0 if number == 14 else 1.0)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    monkeypatch.setattr(ProcessGroup, "wait", lambda self: happened.append("waited"))
    restore = train_wiring.RunWiring.restore
    monkeypatch.setattr(
        train_wiring.RunWiring, "restore", lambda *arguments: (happened.append("restored"), restore(*arguments))[1]
    )
    whelp.train(ready.recipe, store=ready.store, out=tmp_path, overrides=["train.spike_factor=3", "train.num_steps=16"])
    assert happened == ["restored", "waited", "restored"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")])
def test_the_machine_is_out_of_memory(
    ready: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a GPU: half the rows at a time, from then on."""
    original = LanguageModel.loss

    def loss(self: LanguageModel, ids: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if torch.is_grad_enabled() and len(ids) > 2:
            raise error
        return original(self, ids, *arguments)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    assert whelp.train(ready.recipe, store=ready.store, out=tmp_path).step == 8
    assert "out of memory with 4 rows at a time; from now on 2" in caplog.text


# --- signals, terminals, launchers ---


@needs_signals
def test_a_hang_up_saves(ready: Project, tmp_path: Path) -> None:
    """The terminal was closed: the step that is running is saved."""
    recipe = load_recipe(ready.recipe, ["train.save_every_steps=8"])

    def train() -> None:
        for event in iter_train(recipe, ready.store, tmp_path):
            if isinstance(event, StepReport) and event.step == 3:
                os.kill(os.getpid(), signal.SIGHUP)

    with pytest.raises(KeyboardInterrupt):
        train()
    assert [path.name for path in find_checkpoints(tmp_path / "checkpoints")] == [step_name(3)]


@needs_signals
def test_under_nohup_a_hang_up_is_nothing() -> None:
    """Who asked for it to be ignored gets it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Requests() as requests:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert (requests.must_stop, requests.must_save) == (False, True)
    finally:
        signal.signal(signal.SIGHUP, before)


@needs_signals
def test_nobody_reads_any_more(ready: Project, whole: Path, tmp_path: Path) -> None:
    """The other end of standard error is closed before the first word: training goes on to its end, and is done."""
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ["train", ready.recipe, "--store", ready.store, "--out", tmp_path / "run"]
    command = [sys.executable, "-c", launch.COMMAND, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(whelp.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=writer)
    os.close(writer)
    assert process.wait(SECONDS) == 0
    assert_goes_on(ready, RunFolder(tmp_path / "run"), whole)


def test_a_stream_turns_silent() -> None:
    """What cannot be written is left, also what was buffered; the descriptor leads nowhere, so closing it is no trouble either."""
    reader, writer = os.pipe()
    stream = LastingStream(open(writer, "w", encoding="utf-8"))  # noqa: SIM115 - closed below
    stream.write("heard\n")
    stream.flush()
    assert os.read(reader, 100) == b"heard\n"
    os.close(reader)
    for _ in range(3):
        assert stream.write("lost\n" * 10_000) == 50_000
        stream.flush()
    stream.close()


# what a launched process does here: as `whelp train` begins, then on without end, deaf to all but SIGKILL where it is asked to be
_DEAF = """
import os, signal, sys, time
from pathlib import Path
from whelp.cli.launched_process import follow_launcher
place = Path(sys.argv[1], os.environ["RANK"])
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
if sys.argv[2] == "late":
    place.write_text(str(os.getpid()))
    while os.getppid() == int(os.environ["WHELP_LAUNCHER"]):
        time.sleep(0.01)
follow_launcher()
place.write_text(str(os.getpid()))
time.sleep(600)
"""
_LAUNCH = """
import sys
import whelp.cli.launch as launch
launch._GRACE_SECONDS = 0.3
try:
    launch.launch(sys.argv[2:], 2, code=sys.argv[1])
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def start_deaf(tmp_path: Path) -> Iterator[Callable[[str], tuple[subprocess.Popen[bytes], list[int]]]]:
    """Launch two deaf processes; gives the launcher and their ids."""
    started: list[subprocess.Popen[bytes]] = []
    children: list[int] = []

    def start(when: str) -> tuple[subprocess.Popen[bytes], list[int]]:
        environment = os.environ | {"PYTHONPATH": str(Path(whelp.__file__).parents[1])}
        command = [sys.executable, "-c", _LAUNCH, _DEAF, str(tmp_path), when]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        wait_until(lambda: all((tmp_path / rank).is_file() and (tmp_path / rank).read_text() for rank in "01"))
        children.extend(int((tmp_path / rank).read_text()) for rank in "01")
        return started[0], children

    yield start
    for process in started:
        process.kill()
        process.wait()
    for child in filter(is_running, children):
        os.kill(child, signal.SIGKILL)


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(0.01)


def is_running(process_id: int) -> bool:
    """Whether a process is there, and not only waiting to be counted."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(process_id)], capture_output=True, text=True, check=False)
    return done.stdout.strip() not in ("", "Z", "Zs")


Start = Callable[[str], tuple[subprocess.Popen[bytes], list[int]]]


@needs_signals
def test_asked_to_stop_twice_while_one_hangs(start_deaf: Start) -> None:
    """One that hears nobody any more would be waited for for minutes; the second Ctrl-C ends all of them soon."""
    launcher, children = start_deaf("at once")
    launcher.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        launcher.wait(0.5)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(SECONDS) == 130
    assert not any(map(is_running, children))


@needs_signals
def test_a_launcher_killed_before_it_is_followed(start_deaf: Start) -> None:
    """Processes that were still starting up when their launcher died do not train on alone."""
    launcher, children = start_deaf("late")
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not any(map(is_running, children)))


@needs_signals
def test_a_request_to_save_in_the_start_up(whelp: Whelp, ready: Project) -> None:
    """It is not met, and ends nothing: whoever asks cannot know whether the run has begun."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    try:
        assert whelp("train", ready.recipe, "--store", ready.store, "--dry-run").code == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)
