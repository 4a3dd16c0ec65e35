"""Kernels for GPUs on the processor, by Triton's interpreter: it must be chosen before Triton is imported.

Run as a program, it has torch and Triton imported and forks for each program that it is given: they take seconds to import.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMPORTED = ("torch", "triton.language", "whelp.model.build", "whelp.model.gpt2")

RunInterpreted = Callable[..., str]


@pytest.fixture(scope="session")
def run_interpreted() -> Iterator[RunInterpreted]:
    """Run a program, with arguments; give what went wrong, or nothing."""
    path = os.pathsep.join([str(ROOT), *sys.path])
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        written, said = process.stdin, process.stdout

        def run(program: str, *arguments: str) -> str:
            written.write(json.dumps([program, arguments]) + "\n")
            written.flush()
            return str(json.loads(said.readline()))

        yield run
        written.close()


def run_in_child(program: str, arguments: list[str]) -> str:
    """Run a program in a fork; give all that it printed when it failed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for stream in (1, 2):
                os.dup2(writing, stream)
            sys.argv = ["program", *arguments]
            exec(compile(program, "program", "exec"), {"__name__": "__main__"})
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with open(reading, encoding="utf-8", errors="replace") as pipe:
        printed = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"exit code {code}\n{printed}" if code else ""


if __name__ == "__main__":
    for name in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(run_in_child(*json.loads(line))), flush=True)
