"""Programs under limits: what they may not do, how they end, and that nothing of them stays."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cli.processes import is_running
from waiting import SECONDS
from whelp.evaluate import _sandboxed
from whelp.evaluate.pass_at_k import read_problems
from whelp.evaluate.sandbox import Limits, Outcome, run_program

LIMITS = Limits(timeout_seconds=60.0, memory_megabytes=512, file_megabytes=1)  # a busy machine may let a program wait for long
SHORT = replace(LIMITS, timeout_seconds=1.0)
HUMANEVAL = Path(__file__).parents[3] / "shared" / "data" / "instruct" / "HumanEval.jsonl.gz"


def run(source: str) -> Outcome:
    return run_program(source, LIMITS)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import math, re, hashlib, collections\nassert math.gcd(6, 4) == 2", "passed"),
        ("open('notes', 'w').write('x')\nassert open('notes').read() == 'x'", "passed"),
        ("import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()", "passed"),
        ("if __name__ == '__main__':\n    raise ValueError", "passed"),
        ("assert 1 == 2, 'no'", "AssertionError: no"),
        ("def f(:", "SyntaxError: invalid syntax (program, line 1)"),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("import os\nos._exit(0)", "ended early with exit code 0"),
        ("x = bytearray(1 << 30)", "out of memory"),
        ("open('big', 'wb').write(b'x' * (2 << 20))", "OSError: [Errno 27] File too large"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("import ctypes\nctypes.string_at(1)", "killed by SIGSEGV"),
        ("import numpy", "ModuleNotFoundError: No module named 'numpy'"),
    ],
)
def test_how_programs_end(source: str, reason: str) -> None:
    """Only one that runs to its end has passed."""
    outcome = run(source)
    assert (outcome.reason, outcome.has_passed) == (reason, reason == "passed")


@pytest.mark.parametrize("source", ["import time\ntime.sleep(1000)", "while True: pass"])
def test_programs_that_do_not_end(source: str) -> None:
    """They are ended when their time is over."""
    outcome = run_program(source, SHORT)
    assert (outcome.reason, outcome.has_passed) == ("timeout", False)


needs_linux = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in _sandboxed._MACHINES,
    reason="seccomp is tested on Linux, x86-64 or arm64: run the tests there",
)


@needs_linux
@pytest.mark.parametrize(
    "source",
    [
        "import socket\nsocket.socket()",
        "import socket\nsocket.socketpair()",
        "import os\nos.fork()",
        "import subprocess\nsubprocess.run(['ls'])",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.kill(-1, 9)",
        "import os\nos.setsid()",
        "import resource, os\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
    ],
)
def test_what_is_refused(source: str) -> None:
    """No network, no other processes, no signals."""
    outcome = run(source)
    assert outcome.kind == "PermissionError"
    assert "seccomp" in outcome.protections


@needs_linux
def test_no_connection_is_made() -> None:
    """Against a real server on this machine: the program cannot reach it, we can."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}))").kind == "PermissionError"
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
        socket.create_connection(("127.0.0.1", port)).close()
        server.accept()[0].close()


def test_files_outside_stay_as_they_are(tmp_path: Path) -> None:
    """Neither changed, nor removed, nor joined by others."""
    (tmp_path / "mine").write_text("mine")
    attacks = [f"open({str(tmp_path / 'mine')!r}, 'w')", f"import os\nos.remove({str(tmp_path / 'mine')!r})"]
    attacks += [f"open({str(tmp_path / 'new')!r}, 'w')", f"import os\nos.truncate({str(tmp_path / 'mine')!r}, 0)"]
    outcome = run("pass")
    if "landlock" not in outcome.protections:
        pytest.skip("this kernel has no landlock: run the tests on Linux 6.2 or newer")
    for attack in attacks:
        assert run(attack).kind == "PermissionError", attack
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("mine", "mine")]


def test_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary folder is gone, whatever was put into it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run("import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('x')\nos.chmod('a', 0)").has_passed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="descendants are found in /proc: run the tests on Linux")
def test_children_die_with_the_program(tmp_path: Path) -> None:
    """Where no filter keeps a program from having children, also those that left its process group are killed."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, time\n"
        f"note = open({str(tmp_path / 'children')!r}, 'a', buffering=1)\n"
        "for leaves in (False, True):\n"
        "    if os.fork() == 0:\n"
        "        if leaves:\n"
        "            os.setsid()\n"
        "            if os.fork():\n"
        "                os._exit(0)\n"
        "        print(os.getpid(), file=note)\n"
        "        time.sleep(1000)\n"
        "while open(note.name).read().count('\\n') < 2: time.sleep(0.01)\n"
    )
    watcher = (
        "import runpy, sys; sys.argv = ['x', sys.argv[1], sys.argv[2]]; import importlib.util as u; "
        f"s = u.spec_from_file_location('sandboxed', {_sandboxed.__file__!r}); m = u.module_from_spec(s); s.loader.exec_module(m); "
        "m._seccomp = m._landlock = lambda libc: False; import resource; resource.RLIMIT_NPROC = resource.RLIMIT_CORE; m.main()"
    )
    limits = '{"timeout_seconds": 60, "memory_megabytes": 512, "file_megabytes": 1}'
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", watcher, str(program), limits],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert '"passed"' in done.stdout
    children = [int(line) for line in (tmp_path / "children").read_text().split()]
    assert len(children) == 2
    assert not any(map(is_running, children))


def test_canonical_solutions_pass() -> None:
    """Of the real HumanEval, where it is: every twelfth problem's own solution passes, and an empty one does not."""
    if not HUMANEVAL.is_file():
        pytest.skip(f"HumanEval is not there: put HumanEval.jsonl.gz at {HUMANEVAL}")
    problems = read_problems(HUMANEVAL)
    assert len(problems) == 164
    for problem in problems[::12]:
        assert run(problem.make_program(problem.canonical_solution)).reason == "passed", problem.task_id
        assert not run(problem.make_program("    return NotImplemented\n")).has_passed, problem.task_id
