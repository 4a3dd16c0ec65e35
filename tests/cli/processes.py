"""Commands as processes of their own, and what becomes of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

PROGRAM = [sys.executable, "-c", "from whelp.cli.main import main; main()"]
SECONDS = 100  # nothing here takes longer, on the slowest machine


def wait_for(is_so: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert process.poll() is None, f"it ended first: {process.communicate()}"
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(0.01)


def find_children(process: subprocess.Popen[str]) -> list[int]:
    """The process ids of a launcher's processes, in the order of their start."""
    return find_children_of(process.pid)


def find_children_of(process_id: int) -> list[int]:
    """The processes that a process has started."""
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process_id)], capture_output=True, text=True, check=False)
    return sorted(map(int, done.stdout.split()))
