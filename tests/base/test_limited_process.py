"""Work in a process of its own: what it gives, and what becomes of it when it takes too much."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from whelp.base.errors import SourceError
from whelp.base.limited_process import LimitedProcess, OverLimitError

SECONDS = 60.0


def double(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def fail(kind: str) -> None:
    if kind == "ours":
        raise SourceError("a.txt", "is broken", "whole", "Get it anew.")
    raise ValueError("theirs")


def hang() -> None:
    time.sleep(600)


def never_match() -> None:
    re.match("(a|a)*b", "a" * 60)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill() -> int:
    held = [b"x" * (1 << 20 | number) for number in range(4 << 10)]
    return len(held)


def count(stop: int) -> Iterator[int]:
    yield from range(stop)


def count_for_ever(path: str) -> Iterator[int]:
    number = 0
    while True:
        Path(path).write_text(str(number))
        yield number
        number += 1


def test_calls() -> None:
    """One process does them all; errors travel, those that are not ours with where they were raised."""
    with LimitedProcess() as process:
        results = [process.call(double, number, seconds=SECONDS) for number in range(3)]
        assert [result for result, _ in results] == [0, 2, 4]
        assert {pid for _, pid in results} == {results[0][1]} != {os.getpid()}
        with pytest.raises(SourceError, match=r"a\.txt: is broken, but expected whole\. Get it anew\."):
            process.call(fail, "ours", seconds=SECONDS)
        with pytest.raises(ValueError, match="theirs") as caught:
            process.call(fail, "theirs", seconds=SECONDS)
        assert "in fail" in "".join(caught.value.__notes__)
        assert process.call(double, 9, seconds=SECONDS)[1] == results[0][1]


def test_what_takes_too_much() -> None:
    """Ended, with what it was; the next call has another process."""
    with LimitedProcess(max_bytes=1 << 30) as process:
        _, first = process.call(double, 1, seconds=SECONDS)
        limits = []
        for function, seconds in ((hang, 0.1), (die, SECONDS), (fill, SECONDS)):
            with pytest.raises(OverLimitError) as caught:
                process.call(function, seconds=seconds)
            limits.append(caught.value.limit)
        assert limits == ["time", "killed", "memory"]
        doubled, last = process.call(double, 4, seconds=SECONDS)
        assert doubled == 8
        assert last != first
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)


def test_generators(tmp_path: Path) -> None:
    """Left early, they are stopped, by whatever they are; the process stays for the next."""
    with LimitedProcess() as process:
        _, pid = process.call(double, 1, seconds=SECONDS)
        assert list(process.iterate(count, 1000, seconds=SECONDS)) == list(range(1000))
        for stop in (2, 1000):
            some = process.iterate(count, stop, seconds=SECONDS)
            assert [next(some), next(some)] == [0, 1]
            some.close()
            assert list(process.iterate(count, 3, seconds=SECONDS)) == [0, 1, 2]
        assert process.call(double, 1, seconds=SECONDS)[1] == pid
        endless = process.iterate(count_for_ever, str(tmp_path / "at"), seconds=SECONDS)
        assert [next(endless) for _ in range(5)] == list(range(5))
        endless.close()
        assert process.call(double, 5, seconds=SECONDS)[0] == 10


def test_one_that_has_ended() -> None:
    """As for want of work: another takes its place."""
    process = LimitedProcess()
    _, first = process.call(double, 1, seconds=SECONDS)
    os.kill(first, signal.SIGKILL)
    assert process._process is not None
    process._process.join()
    _, second = process.call(double, 1, seconds=SECONDS)
    assert second != first
    process.close()
    process.close()


def test_a_call_that_is_interrupted() -> None:
    """While its process starts, as by Ctrl-C in a notebook: the next call is not given its answer."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with LimitedProcess() as process:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                process.call(hang, seconds=SECONDS)
            assert process.call(double, 4, seconds=SECONDS)[0] == 8
    finally:
        signal.signal(signal.SIGALRM, before)


def test_one_that_holds_the_lock(tmp_path: Path) -> None:
    """Python code that looks whether the parent is there never runs in it; the system ends it."""
    script = (
        f"import sys, os, signal, threading, time; sys.path.insert(0, {str(Path(__file__).parent.parent)!r})\n"
        "from base.test_limited_process import LimitedProcess, double, never_match\n"
        "process = LimitedProcess()\n"
        "print(process.call(double, 1, seconds=60)[1], flush=True)\n"
        "def end():\n"
        "    time.sleep(0.3)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "threading.Thread(target=end).start()\n"
        "process.call(never_match, seconds=1)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    wait_for_end(int(ended.stdout))


def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    """However that one ends."""
    script = (
        f"import sys, os, signal; sys.path.insert(0, {str(Path(__file__).parent.parent)!r})\n"
        "from base.test_limited_process import LimitedProcess, double\n"
        "print(LimitedProcess().call(double, 1, seconds=60)[1], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    wait_for_end(int(ended.stdout))


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + SECONDS
    while _is_there(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_there(pid: int) -> bool:
    try:
        return b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False


def read(path: str) -> str:
    return Path(path).read_text()


def test_relative_paths_lie_where_the_caller_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it has gone elsewhere since the process began, and when its folder is gone."""
    with LimitedProcess() as process:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "a.txt").write_text(name)
            monkeypatch.chdir(tmp_path / name)
            assert process.call(read, "a.txt", seconds=SECONDS) == name
            assert list(process.iterate(read, "a.txt", seconds=SECONDS)) == list(name)
        (tmp_path / "second" / "a.txt").unlink()
        (tmp_path / "second").rmdir()
        assert process.call(double, 4, seconds=SECONDS)[0] == 8
