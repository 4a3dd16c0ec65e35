"""A run folder: one training run, readable while it goes on.

RUN/recipe.yaml (as resolved), plan.json, metrics.jsonl, samples.jsonl, report.html, checkpoints/step-XXXXXXXX,
checkpoints/last; evaluations/ of its checkpoints.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whelp.base.counts import say_count
from whelp.base.errors import ArtifactError, say_first_line
from whelp.base.files import read_json, sync_file, write_atomic, write_json
from whelp.base.log import log


@dataclass(frozen=True)
class RunFolder:
    """Paths and records of one run."""

    folder: Path

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.folder / "samples.jsonl"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def evaluations(self) -> Path:
        return self.folder / "evaluations"

    def start(self, recipe_text: str, plan: dict[str, Any]) -> None:
        """Make the folder and write what the run is going to do."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomic(self.recipe, recipe_text)
        write_json(self.plan, plan)

    def change_plan(self, plan: dict[str, Any], writer: int) -> None:
        """Write another plan; several processes may write the same one at a time, each under its own number until it is whole."""
        own = self.plan.with_name(f".{self.plan.name}.{writer}")
        write_json(own, plan)
        os.replace(own, self.plan)

    def is_half_started(self) -> bool:
        """Whether a run was killed while its folder was made: what `start` writes before the plan, and nothing else."""
        if not self.checkpoints.is_dir() or any(self.checkpoints.iterdir()):
            return False
        written = {self.checkpoints.name, self.recipe.name, f".{self.recipe.name}.tmp", f".{self.plan.name}.tmp"}
        return {path.name for path in self.folder.iterdir()} <= written

    def read_plan(self) -> dict[str, Any] | None:
        """The plan this run was started with; None when it was not started."""
        if not self.plan.is_file():
            return None
        try:
            return dict(read_json(self.plan))
        except (ValueError, TypeError) as error:
            raise self.lack_plan(f"cannot be read ({say_first_line(error)})") from None

    def lack_plan(self, found: str) -> ArtifactError:
        """The error of a run whose plan is not there, or is none."""
        advice = f"Put back a copy of it, or begin a new run with the weights of this one: train.start_from={self.folder}, another --out."
        return ArtifactError(self.plan, found, "the plan of this run", advice)

    def truncate_after(self, step: int, *, keep_rewinds: bool = False) -> None:
        """Forget records of steps after `step`: training goes on from there and writes them again.

        A run that was rewound to `step`, and killed before it saved again, has not left any rows out: its checkpoint is older than
        that, and it will be rewound again. While it lives, it `keep_rewinds`.
        """
        for path in (self.metrics, self.samples):
            if path.is_file():
                records = list(_iter_lines(path))
                kept = [record for record in records if record is not None and record["step"] <= step]
                if not keep_rewinds:
                    kept = [record for record in kept if record["step"] < step or "rewound_from" not in record]
                num_damaged = records.count(None)
                if num_damaged:
                    log.warning("%s: left out %s that cannot be read", path, say_count(num_damaged, "line"))
                write_atomic(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept))

    def sync_records(self) -> None:
        """Let the records so far survive a power cut, as a checkpoint does, which they belong to."""
        for path in (self.metrics, self.samples):
            if path.is_file():
                sync_file(path)


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Add one JSON line."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk is noticed while closing, which names no file
        raise


def iter_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON-lines file; lines that are damaged, or half written, are passed over."""
    yield from (record for record in _iter_lines(path) if record is not None)


def _iter_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """A record for each line, None for one that is none: a disk that was full or lost its power leaves half lines and zeros."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        for line in file:
            try:
                record = json.loads(line.decode())
                yield record if isinstance(record, dict) and isinstance(record.get("step"), int) else None
            except ValueError:
                yield None
