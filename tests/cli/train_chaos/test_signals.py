"""Signals, terminals that are closed, readers that go away, launchers that are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import whelp
from waiting import SECONDS, wait_until
from whelp.artifacts.checkpoint import find_checkpoints, step_name
from whelp.artifacts.run_folder import RunFolder
from whelp.cli.recipe import load_recipe
from whelp.cli.screens.lasting_stream import LastingStream
from whelp.cli.train import iter_train
from whelp.cli.training import launch
from whelp.cli.training.signals import Requests
from whelp.train import StepReport

from ..helpers import Project, Whelp
from ..processes import find_state, is_running
from .helpers import assert_goes_on

needs_signals = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="signals are of POSIX: run the tests on Linux or macOS"
)


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
from whelp.cli.training.launched_process import follow_launcher
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
import whelp.cli.training.launch as launch
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
        # a group of its own within this session, as a shell makes one: the system lets no other be stopped by a Ctrl-Z
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, process_group=0))
        wait_until(lambda: all((tmp_path / rank).is_file() and (tmp_path / rank).read_text() for rank in "01"))
        children.extend(int((tmp_path / rank).read_text()) for rank in "01")
        return started[0], children

    yield start
    for process in started:
        process.kill()
        process.wait()
    for child in filter(is_running, children):
        os.kill(child, signal.SIGKILL)


Start = Callable[[str], tuple[subprocess.Popen[bytes], list[int]]]


@needs_signals
def test_asked_to_stop_twice_while_one_hangs(start_deaf: Start) -> None:
    """One that hears nobody any more would be waited for for minutes; the second Ctrl-C ends all of them soon."""
    launcher, children = start_deaf("at once")
    launcher.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        launcher.wait(0.5)
    launcher.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):  # it may have been asked again before it had heard the first
        launcher.wait(10)
    if launcher.poll() is None:
        launcher.send_signal(signal.SIGINT)
    assert launcher.wait(SECONDS) == 130
    assert not any(map(is_running, children))


@needs_signals
def test_ctrl_z_stops_all_until_they_go_on(start_deaf: Start) -> None:
    """A shell stops the launcher alone, whose processes would train on, unseen; the second time as the first."""
    launcher, children = start_deaf("at once")
    everybody = [launcher.pid, *children]
    for _ in range(2):
        launcher.send_signal(signal.SIGTSTP)
        wait_until(lambda: all(find_state(each) == "T" for each in everybody))
        launcher.send_signal(signal.SIGCONT)
        wait_until(lambda: not any(find_state(each) == "T" for each in everybody))
    assert all(map(is_running, everybody))


@needs_signals
def test_a_launcher_killed_before_it_is_followed(start_deaf: Start) -> None:
    """Processes that were still starting up when their launcher died do not train on alone."""
    launcher, children = start_deaf("late")
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not any(map(is_running, children)))


@pytest.mark.skipif(sys.platform != "linux", reason="no other system ends what is stopped: run the tests on Linux")
def test_a_launcher_killed_while_all_are_stopped(start_deaf: Start) -> None:
    """`kill -9` of a job after a Ctrl-Z: no process stays behind, stopped for good with all its memory."""
    launcher, children = start_deaf("at once")
    launcher.send_signal(signal.SIGTSTP)
    wait_until(lambda: all(find_state(each) == "T" for each in (launcher.pid, *children)))
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
