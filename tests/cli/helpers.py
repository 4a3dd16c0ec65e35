"""Run commands through `main()` as a shell would see them; a small project to run them on."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whelp.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, and the bytes of both streams."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output."""
        return self.stdout.decode()

    @property
    def said(self) -> str:
        """Standard error, however the terminal wrapped it."""
        return " ".join(self.stderr.split())

    @property
    def json(self) -> Any:
        """The one JSON object that is all of standard output."""
        assert self.code == 0, self.stderr
        assert self.text.endswith("\n"), self.text
        assert self.text.count("\n") == 1, self.text
        return json.loads(self.text)


Whelp = Callable[..., Outcome]


def run_whelp(*arguments: object, stdin: bytes | str = b"") -> Outcome:
    """Run `whelp ARGUMENTS` in this process: the same `main()`, without the seconds of importing torch again."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    data = stdin.encode() if isinstance(stdin, str) else stdin
    before = sys.argv, sys.stdin, sys.stdout, sys.stderr
    log = logging.getLogger("whelp")
    handlers, level = list(log.handlers), log.level
    sys.argv, sys.stdout, sys.stderr = ["whelp", *map(str, arguments)], out, err
    sys.stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
    started = sys.modules["__main__"]  # by `python -m pytest`, maybe, from which the command's name would be taken
    package, started.__package__ = started.__package__, None
    code = 0
    try:
        main()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
    finally:
        sys.argv, sys.stdin, sys.stdout, sys.stderr = before
        started.__package__ = package
        log.handlers[:] = handlers
        log.setLevel(level)
    out.flush()
    assert isinstance(out.buffer, io.BytesIO)
    return Outcome(code, out.buffer.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Project:
    """A small corpus, its recipe, and (from `made`) its store and its run."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def corpus(self) -> Path:
        return self.folder / "text"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def run(self) -> Path:
        return self.folder / "run"


def make_project(folder: Path, **sections: dict[str, Any]) -> Project:
    """Write 24 short files and a recipe of a tiny model."""
    project = Project(folder)
    project.corpus.mkdir(parents=True)
    for number in range(24):
        text = f"The quick brown fox {number} jumps over {number * number} lazy dogs.\nNaïve café, 日本語 {number}.\n"
        (project.corpus / f"{number:02}.txt").write_text(text, encoding="utf-8")
    recipe: dict[str, dict[str, Any]] = {
        "data": {"source": "text/", "tokenizer": {"learn": "bpe", "vocab_size": 300}, "test_split": 0.1},
        "pack": {"context_tokens": 16},
        "model": {"family": "qwen3", "n_layer": 1, "n_head": 2, "n_embd": 16},
        "train": {"num_steps": 4, "batch_tokens": 64, "learning_rate": 1e-2, "threads": 1, "device": "cpu"},
    }
    for name, values in sections.items():
        recipe[name] |= values
    project.recipe.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return project


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below `folder` with its size and time: what "nothing was written" means."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            status = os.lstat(os.path.join(root, name))
            found[os.path.relpath(os.path.join(root, name), folder)] = (status.st_size, status.st_mtime_ns)
    return found


def said_once(outcome: Outcome, *words: str) -> str:
    """Check that there is exactly one error, that it has these words, and nothing of Python's; return it."""
    assert outcome.code == 1, (outcome.code, outcome.stderr)
    assert outcome.stdout == b""
    assert "Traceback" not in outcome.stderr
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, outcome.stderr
    message = outcome.stderr[outcome.stderr.index("error: ") :].strip()
    for word in words:
        assert word in message, message
    return message


def prepare_project(whelp: Whelp, project: Project, *overrides: str) -> Outcome:
    """Prepare the project's recipe."""
    return whelp("prepare", project.recipe, *overrides, "--out", project.store)


def train_project(whelp: Whelp, project: Project, *overrides: str) -> Outcome:
    """Train the project's recipe."""
    return whelp("train", project.recipe, *overrides, "--store", project.store, "--out", project.run)
