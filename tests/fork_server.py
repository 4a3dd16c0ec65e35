"""A process with everything imported, that forks for each child: a kill falls into the work, not into the imports.

Python has one fork server for a whole process of tests, and what it imports is settled as it starts: so there is one list.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
SOURCES = TESTS.parent / "src"
ROOMS = ("base", "artifacts", "collect", "corpus", "curate", "tokenizer", "prepare", "model", "train", "generate", "evaluate")


def list_modules() -> list[str]:
    """All that a child takes long to import; what is not installed is passed over."""
    names = [
        *("pytest", "awkward", "awkward_cpp.cpu_kernels", "ftfy", "gigatoken", "pandas", "pyarrow.pandas_compat"),
        *("pydantic.type_adapter", "pydantic.json_schema", "regex", "safetensors.torch", "trafilatura"),
        *(f"rich.{name}" for name in ("console", "panel", "progress", "table", "_emoji_codes")),
        *("whelp.report", "whelp.cli.main"),
        *(f"whelp.cli.{name}" for name in ("collect", "curate", "prepare", "recipe", "train")),
        *(f"whelp.cli.screens.{name}" for name in ("show", "show_curate")),
        *(f"whelp.cli.training.{name}" for name in ("checks", "saving", "session", "signals", "wiring")),
    ]
    for room in ROOMS:
        for path in sorted((SOURCES / "whelp" / room).rglob("*.py")):
            parts = path.relative_to(SOURCES).with_suffix("").parts
            if not any(
                part.startswith(("gpu", "_", "ray")) for part in parts
            ):  # kernels; what is inside comes along; a cluster
                names.append(".".join(parts))
    return names


def start_fork_server() -> Any:
    """Start it, with one thread and with none of a single test's variables; give the context that forks from it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*list_modules(), "test_kill", "collect.test_killed"])  # what children run
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCES), str(TESTS)]))
        forkserver.ensure_running()
    ready = context.Process(target=os.getpid)  # however slow the machine imports, no test's own seconds are used up by it
    ready.start()
    ready.join()
    return context
