"""A Ctrl-C leaves nothing half-open, whatever it falls into: folders, worker threads, the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import whelp
from waiting import wait_until
from whelp.base.files import hold_folder
from whelp.base.interactive import show_progress
from whelp.cli.screens import draw_events, show_curate, show_prepare, show_training

from .helpers import Project, make_project, run_whelp
from .processes import PROGRAM, SECONDS

HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"
Call = Callable[[Project], object]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, train={"num_steps": 100_000, "evaluate_every_steps": 100_000, "save_every_steps": 100_000})


@pytest.fixture
def shown() -> Iterator[None]:
    show_progress(True)
    yield
    show_progress(None)


def interrupt_at(name: str) -> Callable[..., None]:
    """A function that draws one event, and meets a Ctrl-C where the event is called so."""

    def draw(*arguments: Any) -> None:
        if type(arguments[-1]).__name__ == name:
            raise KeyboardInterrupt

    return draw


CASES: dict[str, tuple[Any, str, list[str], list[str], Call]] = {
    "prepare": (
        show_prepare,
        "show_prepare_event",
        ["VocabularyReady", "PrepareReport"],
        ["prepare", "recipe.yaml", "--out", "out"],
        lambda project: whelp.prepare(project.recipe, out="out"),
    ),
    "curate": (
        show_curate,
        "show_event",
        ["SourceOpened", "PartCurated", "StageStarted"],
        ["curate", "recipe.yaml", "curate.preset=none", "--out", "out"],
        lambda project: whelp.curate(project.recipe, overrides=["curate.preset=none"], out="out"),
    ),
    "train": (
        show_training.TrainingView,
        "show",
        ["Planned", "StepReport", "Evaluated"],
        ["train", "recipe.yaml", "--store", "store", "--out", "out"],
        lambda project: whelp.train(project.recipe, store="store", out="out"),
    ),
}


@pytest.mark.usefixtures("shown")
@pytest.mark.parametrize("way", ["command", "call"])
@pytest.mark.parametrize(("name", "event"), [(name, event) for name, case in CASES.items() for event in case[2]])
def test_an_interrupt_while_something_is_drawn(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, event: str, way: str
) -> None:
    """The work behind the drawing ends with it: while the interrupt is still being handled, the folder is free, no thread is at
    work, and signals are met as before."""
    monkeypatch.chdir(project.folder)
    where, function, _, arguments, call = CASES[name]
    if name == "train":
        whelp.prepare(project.recipe, out="store")
    threads, handler = threading.active_count(), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(where, function, interrupt_at(event))
    if way == "command":
        outcome = run_whelp(*arguments)
        assert (outcome.code, "interrupted; what was finished is kept" in outcome.said) == (130, True)
        check_free(threads, handler)
    else:
        with pytest.raises(KeyboardInterrupt) as caught:  # whose traceback holds all that was going on
            call(project)
        check_free(threads, handler)
        assert caught.tb is not None


def check_free(threads: int, handler: Any) -> None:
    with hold_folder(Path("out")):
        pass
    assert signal.getsignal(signal.SIGINT) == handler
    wait_until(lambda: threading.active_count() <= threads)  # one that only read was not waited for, and ends by itself


@pytest.mark.parametrize(
    "draw", ["draw_preparing", "draw_importing", "draw_curating", "draw_training", "draw_comparing_recipes"]
)
def test_drawing_that_is_left_ends_the_work(draw: str) -> None:
    """Closed, or failed, it closes what it draws at once, and not when nobody thinks of it any more."""
    ended = []

    def work() -> Iterator[object]:
        try:
            while True:
                yield object()
        finally:
            ended.append(True)

    events = work()  # which is held here, too
    drawing = draw_events.drawn(events, getattr(draw_events, draw))
    next(drawing)
    drawing.close()
    assert ended == [True]


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is of POSIX")
@pytest.mark.parametrize("name", ["prepare", "curate", "train"])
def test_an_interrupt_at_a_terminal(project: Project, name: str) -> None:
    """Ctrl-C while a bar is drawn: one line says so, the cursor is there again, and the terminal's settings are as before."""
    arguments = {
        "prepare": ["prepare", "recipe.yaml", "data.document=blank_line"],
        "curate": ["curate", "recipe.yaml", "data.document=blank_line", "curate.preset=prose"],
        "train": ["train", "recipe.yaml", "--store", "store"],
    }[name]
    if name == "train":
        whelp.prepare(project.recipe, out=project.store)
    for num_paragraphs in (400_000, 2_000_000, 10_000_000):  # more where it was done before we saw the bar
        if name != "train":
            paragraphs = (f"Paragraph {n} of many, {n * n}.\n\n" for n in range(num_paragraphs))
            (project.corpus / "large.txt").write_text("".join(paragraphs))
        output, code = interrupt_at_a_terminal([*arguments, "--out", f"out-{num_paragraphs}"], project.folder, name)
        if code != 0 or name == "train":
            break
    assert code == 130, output
    assert output.rfind(SHOW_CURSOR) > output.rfind(HIDE_CURSOR)
    assert output.endswith(b"interrupted; what was finished is kept, and the same command goes on\r\n")
    assert b"Traceback" not in output


def interrupt_at_a_terminal(arguments: list[str], folder: Path, name: str) -> tuple[bytes, int]:
    """Press Ctrl-C when the bar is drawn; give what was drawn, and the exit code. The terminal's settings are as before."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**os.environ, "TERM": "xterm"},
        preexec_fn=lambda: take_terminal(),
    )
    output, deadline, is_asked = b"", time.monotonic() + SECONDS, False
    os.set_blocking(ours, False)
    while process.poll() is None:
        assert time.monotonic() < deadline, output
        output += read(ours)
        if not is_asked and HIDE_CURSOR in output and (name != "train" or b"step" in output.rpartition(HIDE_CURSOR)[2]):
            os.write(ours, b"\x03")
            is_asked = True
        time.sleep(0.01)
    while more := read(ours):  # a terminal gives no more than a page at once
        output += more
    after = termios.tcgetattr(theirs)
    os.close(ours)
    os.close(theirs)
    assert after == before
    return output, process.returncode


def take_terminal() -> None:
    """In a child: what its standard input is becomes the terminal that a Ctrl-C goes through, which is listened to."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background are told to ignore it


def read(handle: int) -> bytes:
    """What is there by now."""
    try:
        return os.read(handle, 1 << 20)
    except OSError:
        return b""
