"""Programs that nobody has read, run so that they do little harm: see `_sandboxed.py` for what they may not do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from whelp.base.errors import PlanError

_GRACE_SECONDS = 10.0  # to start Python, and to clean up: more than that, and the watcher itself hangs


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program may use."""

    timeout_seconds: float = 5.0  # of the clock; also of the processor
    memory_megabytes: int = 1024  # of addresses, Python's own included
    file_megabytes: int = 8  # of one file


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a program ended: `reason` is `passed`, `timeout`, `out of memory`, an error with its message, ..."""

    reason: str
    protections: tuple[str, ...]

    @property
    def has_passed(self) -> bool:
        """Whether it ran to its end."""
        return self.reason == "passed"

    @property
    def kind(self) -> str:
        """The reason without its particulars:   'AssertionError: 3 != 4' -> 'AssertionError'"""
        return self.reason.partition(":")[0]


def run_program(source: str, limits: Limits) -> Outcome:
    """Run a Python program to its end, or to that of its limits; nothing of it stays, neither process nor file.

    Raises:
        PlanError: On a system without process limits.
    """
    if os.name != "posix":
        raise PlanError("running programs", f"{sys.platform} cannot limit them", "Linux or macOS", "Run it there.")
    with tempfile.TemporaryDirectory(prefix="whelp-program-", ignore_cleanup_errors=True) as folder:
        work = Path(folder) / "work"
        work.mkdir()
        program = Path(folder) / "program.py"
        program.write_bytes(source.encode(errors="replace"))
        values = json.dumps(limits.__dict__)
        watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("_sandboxed.py")), str(program), values],
            cwd=work,
            env={"PATH": os.defpath, "HOME": str(work), "TMPDIR": str(work), "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for us: we end the watcher, and it ends the program
        )
        try:
            said, _ = watcher.communicate(timeout=limits.timeout_seconds + _GRACE_SECONDS)
        except BaseException as error:
            _end(watcher)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return Outcome(reason="timeout", protections=())
    try:
        result = json.loads(said)
    except ValueError:
        result = {"reason": "the watcher of the program has died"}
    return Outcome(reason=str(result["reason"]), protections=tuple(result.get("protections", ())))


def _end(watcher: subprocess.Popen[bytes]) -> None:
    """Let the watcher kill what it watches; if it does not answer, kill it (its child dies with it)."""
    watcher.send_signal(signal.SIGTERM)
    try:
        watcher.communicate(timeout=2)
    except subprocess.TimeoutExpired:
        watcher.kill()
        watcher.communicate()
