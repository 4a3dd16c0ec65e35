"""Where evaluations are kept: beside the checkpoints of a run, never in what they were made from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whelp.artifacts.run_folder import RunFolder
from whelp.base.files import read_json, write_json
from whelp.base.hashing import hash_json
from whelp.base.paths import as_path


def save_evaluation(
    model_folder: Path, kind: str, asked: dict[str, Any], result: dict[str, Any], out: str | Path | None = None
) -> Path | None:
    """Write one result; None where there is no place for it: a model that is not of a run, without `out`.

    The same question about the same checkpoint has the same file: `RUN/evaluations/step-00000100-tasks-1f0c9a2b.json`.

    Args:
        kind: `tasks` or `code`.
        asked: What was asked for: settings, without the model.
    """
    path = as_path(out) if out is not None else find_evaluation_path(model_folder, kind, asked)
    if path is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"kind": kind, "asked": asked, **result})
    return path


def find_evaluation_path(model_folder: Path, kind: str, asked: dict[str, Any]) -> Path | None:
    """The file of an evaluation in the run that a checkpoint belongs to; None when it belongs to none."""
    checkpoint = model_folder.resolve()
    for run in checkpoint.parents[1:3]:  # RUN/checkpoints/step-X, or its averaged weights below it
        if RunFolder(run).recipe.is_file() and checkpoint.is_relative_to(RunFolder(run).checkpoints):
            name = "-".join(checkpoint.relative_to(RunFolder(run).checkpoints).parts)
            return RunFolder(run).evaluations / f"{name}-{kind}-{hash_json(asked)[:8]}.json"
    return None


def iter_kept(run: RunFolder, kind: str, asked: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """What was asked of a run's checkpoints, and found: step and result, first step first."""
    for path in sorted(run.evaluations.glob(f"step-*-{kind}-{hash_json(asked)[:8]}.json")):
        kept = read_json(path)
        if kept["asked"] == asked:
            yield int(path.name.split("-")[1]), kept
