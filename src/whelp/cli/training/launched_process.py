"""A process that a launcher has started, ours or a cluster's: whom it follows, what it says for itself, how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from whelp.base.errors import LostProcessError, PlanError, WhelpError
from whelp.base.files import write_json
from whelp.train.process_rank import TORCHRUN, find_process_rank

LAUNCHER = "WHELP_LAUNCHER"  # the process id of who started this process
ERROR_FILE = "WHELP_ERROR_FILE"  # where an error is left for who started this process, and raises it as its own
INTERRUPTED = 130  # the exit code after a Ctrl-C
LOST = 3  # the exit code, for the launcher alone, of a process that only lost another
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def fail(error: WhelpError) -> NoReturn:
    """Say what is wrong, and end with exit code 1. A launched process that lost another leaves the word to its launcher."""
    if isinstance(error, LostProcessError) and LAUNCHER in os.environ:
        sys.exit(LOST)
    if ERROR_FILE in os.environ:
        with contextlib.suppress(OSError):  # the disk is full: what is said below remains
            write_json(Path(os.environ[ERROR_FILE]), error.to_values())
    who = "" if error.where.startswith("process ") else _name_process()  # it may name one by itself
    sys.stderr.write(f"error: {who}{error}\n")
    sys.exit(1)


def _name_process() -> str:
    """Which process of a run says what follows, where a cluster shows what all say, and it is not the first."""
    import socket  # which no other command needs

    try:
        process = find_process_rank()
    except PlanError:
        return ""
    is_named = not process.is_first and LAUNCHER not in os.environ
    return f"process {process.rank + 1} of {process.num_processes}, on {socket.gethostname()}: " if is_named else ""


def leave(code: object) -> None:
    """End a process at once that met others, or was interrupted while threads are at work.

    Torch's threads, taken down one by one, now and then abort the first at the very end. The other would wait for its threads.
    """
    processes, threads = map(sys.modules.get, ("whelp.train.process_group", "whelp.base.worker_threads"))
    has_met = processes is not None and processes.has_met
    if has_met or (code == INTERRUPTED and threads is not None and threads.are_at_work()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def has_launcher() -> bool:
    """Whether this process is one of several that `launch` has started, and still watches."""
    return os.environ.get(LAUNCHER) == str(os.getppid())


def end_at_once() -> None:
    """End this process as if it was killed: nothing more is written, no file closed."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # by any signal on Windows, which has no SIGKILL


def is_spoken_for() -> bool:
    """Whether another process says for this one how a run has ended: its launcher, or the first of those that a cluster started."""
    return has_launcher() or bool(_name_process())


def follow_launcher() -> None:
    """End this process when the one that launched it is gone, even before this was called: nobody would watch it any more."""
    if LAUNCHER in os.environ:
        launcher, is_child = int(os.environ[LAUNCHER]), has_launcher()  # or a grandchild, or an orphan by now
        if is_child and sys.platform == "linux":
            _die_with_parent()
        _end_unless(lambda: os.getppid() == launcher if is_child else _is_alive(launcher))
    elif TORCHRUN in os.environ:
        parent = os.getppid()
        child, agent = _find_agent()
        _end_unless(lambda: os.getppid() == parent and (child == os.getpid() or _find_parent(child) == agent))


def _die_with_parent() -> None:
    """Have the system kill this process with the one that started it: while a Ctrl-Z has stopped all, no thread of ours looks."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_unless(is_so: Callable[[], bool]) -> None:
    """End this process as soon as something is no longer so."""

    def watch() -> None:
        while is_so():
            time.sleep(0.5)
        end_at_once()

    threading.Thread(target=watch, daemon=True).start()


def _find_agent() -> tuple[int, int]:
    """The process ids of torchrun, which does not say its own, and of its child that is this process or an ancestor of it.

    Between the two may stand a script, which would go on without torchrun. That is the nearest ancestor without a place in its
    environment; where the system does not say, it is the parent. A child's parent is another one as soon as that has ended, also
    while nobody has counted that.
    """
    child, parent = os.getpid(), os.getppid()
    with contextlib.suppress(OSError):  # a system without /proc, or the process of another user
        while parent > 1 and f"{TORCHRUN}=".encode() in Path(f"/proc/{parent}/environ").read_bytes():
            child, parent = parent, _find_parent(parent)
    return child, parent


def _find_parent(process_id: int) -> int:
    """The parent of another process; 0 where the system does not say, or it has ended."""
    try:
        return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _is_alive(process_id: int) -> bool:
    if os.name == "nt":  # no way to ask: there the question is a Ctrl-C
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
