"""Locks between processes, by the calls of this system and by those of Windows, for which a stand-in has the locks of this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import like_windows
from whelp.base.files import TAKEN

SECONDS = 60  # nothing here takes longer
HOLD = """
import sys
from pathlib import Path
from whelp.base import errors, files
files._PATIENCE_SECONDS = 0.0
try:
    with getattr(files, sys.argv[1])(Path(sys.argv[2])):
        print("held", flush=True)
        if sys.argv[3:] == ["again"]:
            with getattr(files, sys.argv[1])(Path(sys.argv[2])):
                pass
        sys.stdin.read()
except errors.ArtifactError as error:
    print(error, flush=True)
"""
LOCK = """
import sys
from pathlib import Path
from whelp.base.locks import acquire, open_lock, release
handle = open_lock(Path(sys.argv[1]))
for line in sys.stdin:
    if line.strip() == "release":
        release(handle)
        print("released", flush=True)
    else:
        print(acquire(handle, is_shared="shared" in line, waits="waits" in line), flush=True)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=["this system", "like Windows"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Starts a program in a process of its own, which ends with the test."""
    environment = dict(os.environ)
    if request.param == "like Windows":
        if sys.platform != "linux":
            pytest.skip("the stand-in has locks of handles, which are of Linux: run it there")
        (tmp_path / "site").mkdir()
        environment = like_windows.make_environment(tmp_path / "site")
    processes: list[subprocess.Popen[str]] = []

    def begin(code: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate(timeout=SECONDS)


def tell(process: subprocess.Popen[str], line: str | None = None) -> str:
    """What a program answers, to a line where it wants one."""
    assert process.stdin is not None
    assert process.stdout is not None
    if line is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "site")


@pytest.mark.parametrize("function", ["hold_folder", "hold_file"])
def test_one_writer_at_a_time(start: Start, tmp_path: Path, function: str) -> None:
    """The second is told. Killed, the first holds nobody up; ended, it leaves nothing."""
    place = tmp_path / "out"
    first = start(HOLD, function, place)
    assert tell(first) == "held"
    assert tell(start(HOLD, function, place)) == f"{place}: {TAKEN[0]}, but expected {TAKEN[1]}. {TAKEN[2]}"
    first.kill()
    first.wait(SECONDS)
    third = start(HOLD, function, place)
    assert tell(third) == "held"
    third.communicate(timeout=SECONDS)
    assert names(tmp_path) == []


@pytest.mark.parametrize("function", ["hold_folder", "hold_file"])
def test_a_second_call_of_one_process(start: Start, tmp_path: Path, function: str) -> None:
    """It need not look for another process."""
    process = start(HOLD, function, tmp_path / "out", "again")
    assert tell(process) == "held"
    assert "this program is writing into it already" in tell(process)


def test_a_folder_that_is_written_stays(start: Start, tmp_path: Path) -> None:
    """With what was written, and without a lock."""
    process = start(HOLD, "hold_folder", tmp_path / "out")
    assert tell(process) == "held"
    (tmp_path / "out" / "text").touch()
    process.communicate(timeout=SECONDS)
    assert (names(tmp_path), names(tmp_path / "out")) == (["out"], ["text"])


def test_shared_locks(start: Start, tmp_path: Path) -> None:
    """Any number share; one alone has it when all others have let go, and then nobody shares."""
    one, two, three = (start(LOCK, tmp_path / "lock") for _ in range(3))
    assert [tell(process, "shared") for process in (one, two)] == ["True", "True"]
    assert tell(three, "alone") == "False"
    assert tell(two, "release") == "released"
    assert tell(three, "alone") == "False"
    assert tell(one, "alone") == "True"
    assert tell(three, "shared") == "False"
    assert tell(one, "release") == "released"
    assert tell(three, "alone") == "True"


def test_waiting_for_a_lock(start: Start, tmp_path: Path) -> None:
    """Until the other has let go of it, or is gone."""
    one, two = (start(LOCK, tmp_path / "lock") for _ in range(2))
    assert tell(one, "alone") == "True"
    assert two.stdin is not None
    two.stdin.write("alone waits\n")
    two.stdin.flush()
    one.kill()
    assert tell(two) == "True"
