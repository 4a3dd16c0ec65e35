"""How much memory a cluster or a container leaves a process."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whelp.base.machine import count_cores, count_free_bytes, count_peak_bytes, find_allowances, find_cores


def write(group: Path, **files: object) -> None:
    """The files of a control group; `__` is a dot."""
    group.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (group / name.replace("__", ".")).write_text(f"{value}\n")


def test_limits_of_control_groups(tmp_path: Path) -> None:
    """Each limit on the way up counts, and what is kept of files is no use that stays; without limits there is none to heed."""
    groups, own = tmp_path / "groups", tmp_path / "own"
    own.write_text("0::/job/step\n")
    write(groups / "job" / "step", memory__max="max", memory__current=10, memory__stat="anon 5")
    write(groups / "job", memory__max=1000, memory__current=700, memory__stat="anon 300\ninactive_file 250\nactive_file 50")
    assert find_allowances(groups, own) == [600]
    own.write_text("9:cpu:/\n4:memory:/job\n0::/\n")
    counts = "total_inactive_file 1\ntotal_active_file 2"
    write(groups / "memory" / "job", memory__limit_in_bytes=50, memory__usage_in_bytes=20, memory__stat=counts)
    write(groups / "memory", memory__limit_in_bytes=10, memory__usage_in_bytes=20, memory__stat=counts)
    assert find_allowances(groups, own) == [33, 0]
    assert find_allowances(groups, tmp_path / "missing") == []


def test_this_machine() -> None:
    """Cores have numbers, and there is room in memory; 0 stands for a system that does not say."""
    assert count_cores() == len(set(find_cores())) > 0
    assert count_free_bytes() >= 0


def test_free_memory_of_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are free, or given back when asked for, in the size that the system names; 0 where it does not say."""
    said = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:            100.\nPages active:        900000.\n"
        "Pages inactive:         20.\nPages speculative:       3.\nPages wired down:     5000.\n"
    )
    answers = [subprocess.CompletedProcess([], 0, stdout=said), subprocess.CompletedProcess([], 0, stdout="")]
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: answers.pop(0))
    assert [count_free_bytes(), count_free_bytes()] == [123 * 16384, 0]


def test_free_memory_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second number of `MEMORYSTATUSEX` after its length and load; 0 where the call fails."""

    class Kernel:
        answer = 1

        def GlobalMemoryStatusEx(self, status: Any) -> int:
            numbers = status._obj
            assert ctypes.sizeof(numbers) == 64 == numbers[0]
            numbers[1], numbers[2] = 16 << 30, 5 << 30
            return self.answer

    kernel = Kernel()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert count_free_bytes() == 5 << 30
    kernel.answer = 0
    assert count_free_bytes() == 0


def test_peak_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes, whatever the system counts in; 0 where it does not count."""
    peak = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=5000))
    monkeypatch.setitem(sys.modules, "resource", peak)
    for system, expected in (("linux", 5000 * 1024), ("darwin", 5000)):
        monkeypatch.setattr(sys, "platform", system)
        assert count_peak_bytes() == expected
    monkeypatch.setitem(sys.modules, "resource", None)
    assert count_peak_bytes() == 0
