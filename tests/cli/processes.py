"""Commands as processes of their own, and what becomes of them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waiting import SECONDS as SECONDS
from waiting import wait_until

PROGRAM = [sys.executable, "-c", "from whelp.cli.main import main; main()"]


def wait_for(is_so: Callable[[], object], process: subprocess.Popen[Any]) -> None:
    """Wait until something is so, while a process runs."""
    wait_until(lambda: is_so() or process.poll() is not None)
    assert is_so(), f"it ended first: {process.communicate()}"


def find_children(process: subprocess.Popen[Any]) -> list[int]:
    """The process ids of a launcher's processes, in the order of their start."""
    return find_children_of(process.pid)


def find_children_of(process_id: int) -> list[int]:
    """The processes that a process has started."""
    return [child for child, (parent, _) in sorted(_list_processes().items()) if parent == process_id]


def find_descendants(process_id: int) -> list[int]:
    """The processes that a process has started, those that these have, and so on."""
    processes, found = _list_processes(), {process_id}
    while more := {child for child, (parent, _) in processes.items() if parent in found} - found:
        found |= more
    return sorted(found - {process_id})


def is_running(process_id: int) -> bool:
    """Whether a process is there, and not only waiting to be counted."""
    return find_state(process_id) not in ("", "Z")


def find_state(process_id: int) -> str:
    """The letter that systems have for what a process does; none where there is no such process."""
    _, state = _list_processes().get(process_id, (0, ""))
    return state[:1]


def _list_processes() -> dict[int, tuple[int, str]]:
    """Of each process its parent and its state, from the system itself where it tells: `ps` is not installed everywhere."""
    if not Path("/proc/self/stat").exists():
        done = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
        return {int(child): (int(parent), state) for child, parent, state in map(str.split, done.stdout.splitlines())}
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            state, parent, *_ = path.read_text(errors="replace").rpartition(")")[2].split()
            found[int(path.parent.name)] = int(parent), state
    return found
