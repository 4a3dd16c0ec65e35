"""A clock that leaves out what a process spends stopped."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from whelp.train import awake_clock
from whelp.train.awake_clock import AwakeClock


class _Machine:
    """Its clock, and how much of the processor's time a process has had."""

    seconds = 100.0
    work = 7.0

    def make_clock(self) -> AwakeClock:
        return AwakeClock(lambda: self.seconds, lambda: self.work)


@pytest.mark.parametrize(
    ("passed", "work", "counted"),
    [
        (3600.0, 0.0, 0.0),  # asleep
        (3600.0, 0.25, 0.25),  # asleep in the midst of its work: no step takes no time at all
        (3600.0, 3500.0, 3600.0),  # at work, in one long call
        (4.0, 0.0, 4.0),  # waiting for its turn
    ],
)
def test_what_counts(passed, work, counted):
    """Long times without work do not."""
    machine = _Machine()
    clock = machine.make_clock()
    before = clock()
    machine.seconds += passed
    machine.work += work
    assert clock() - before == pytest.approx(counted)
    machine.seconds += 2
    assert clock() - before == pytest.approx(counted + 2)


def test_a_stop_is_said(caplog):
    """Who looks at a run in the morning sees why it is not done."""
    machine = _Machine()
    clock = machine.make_clock()
    machine.seconds += 7200
    clock()
    clock()
    assert [record.getMessage() for record in caplog.records] == [
        "this process was stopped for 2 h 00 min, which does not count as training"
    ]


def test_it_is_looked_at_while_nobody_asks(monkeypatch):
    """Nothing works here while a GPU does: a thread of its own says that the process runs, and ends with the clock."""
    monkeypatch.setattr(awake_clock, "_TICK_SECONDS", 0.001)
    ticks = []
    has_ticked = threading.Event()

    def count() -> float:
        if threading.current_thread().name == "awake clock":
            ticks.append(1)
            if len(ticks) == 3:
                has_ticked.set()
        return 0.0

    with AwakeClock(processor=count):
        assert has_ticked.wait(60)
    assert "awake clock" not in [thread.name for thread in threading.enumerate()]


_PROGRAM = """
import sys, time
from whelp.train import awake_clock
awake_clock._LEAST_SECONDS = 0.5
with awake_clock.AwakeClock() as clock:
    begun, before = time.perf_counter(), clock()
    print("ready", flush=True)
    sys.stdin.readline()
    print(time.perf_counter() - begun - (clock() - before))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stopping is of POSIX: run the tests on Linux or macOS")
def test_a_process_that_is_stopped():
    """By SIGSTOP, as Slurm does it to make room, or Ctrl-Z."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(process.pid, signal.SIGCONT)
        said, _ = process.communicate("\n")
    assert float(said) > 1.0
