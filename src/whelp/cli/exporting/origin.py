"""Where a model's weights come from: which store they were trained on, and how far. No paths.

It is what a run's plan says of itself and of the weights that it began with, and what an export takes with it in `origin.json`,
and a GGUF file in its metadata, so that `whelp trace` finds both.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from whelp.artifacts.gguf_metadata import read_gguf_text
from whelp.artifacts.run_folder import RunFolder
from whelp.base.errors import WhelpError
from whelp.base.files import read_json
from whelp.base.paths import as_path

ORIGIN_FILE = "origin.json"
ORIGIN_KEY = "whelp.origin"  # in the metadata of a GGUF file
UNKNOWN = {"store": None, "step": 0, "trained_tokens": 0}  # of weights from elsewhere, which say nothing of themselves
_KIND = "export"

Origin = Mapping[str, Any]


def find_run(model_folder: Path) -> RunFolder | None:
    """The run that a checkpoint, or its averaged weights, belongs to."""
    checkpoint = model_folder.resolve()
    for folder in checkpoint.parents[1:3]:  # RUN/checkpoints/step-X, or its averaged weights below it
        run = RunFolder(folder)
        if run.plan.is_file() and checkpoint.is_relative_to(run.checkpoints):
            return run
    return None


def find_origin(model_folder: Path) -> dict[str, Any] | None:
    """Of a checkpoint, by its run; of an export, by its own word; None of weights from elsewhere."""
    run = find_run(model_folder)
    if run is None:
        return read_origin(model_folder)
    started = run.read_plan() or {}
    name = model_folder.resolve().relative_to(run.checkpoints.resolve()).parts[0]
    step = int(re.sub(r"\D", "", name) or 0)
    sources = started.get("ledger", {}).get("sources", {})
    return {
        "kind": _KIND,
        "store": started.get("store"),
        "step": step,
        "trained_tokens": count_trained(started, step),
        "ledger": {"sources": {name: {"share": entry.get("share", 0.0)} for name, entry in sources.items()}},
        "start": started.get("start"),
    }


def find_origin_of_start(start_from: str | None) -> Origin | None:
    """That of the weights that a run begins with, for its plan; None of a run that begins with random ones."""
    from whelp.artifacts.checkpoint import find_model_folder

    if start_from is None:
        return None
    try:
        folder = find_model_folder(as_path(start_from))
    except WhelpError:  # a single file of weights
        return UNKNOWN
    named = read_license(folder)
    return {**(find_origin(folder) or UNKNOWN), **({} if named is None else {"license": named})}


def read_license(folder: Path) -> str | None:
    """What the model card beside a model calls its license; None where there is no card, or it names none."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        head = yaml.safe_load(text.split("---", 2)[1]) if text.startswith("---") else None
    except (OSError, UnicodeDecodeError, IndexError, yaml.YAMLError):
        return None
    named = (head.get("license_name") or head.get("license")) if isinstance(head, dict) else None
    return str(named) if named else None


def describe_start_licenses(origin: Origin) -> list[str | None]:
    """The licenses of the weights that a run began with, and of those before; None of weights from elsewhere that name none."""
    before = list(iter_before(origin))
    return [one.get("license") for one in before if one.get("license") or (one["store"] is None and not one["trained_tokens"])]


def count_trained(started: Mapping[str, Any], step: int) -> int:
    """About how many tokens a run has trained by a step."""
    from whelp.train import TrainPlan

    known = {field.name for field in dataclasses.fields(TrainPlan)}
    plan = TrainPlan(**{name: value for name, value in started["plan"].items() if name in known})
    return plan.count_rows(step) * plan.context_tokens


def iter_before(origin: Origin) -> Iterator[Origin]:
    """The origins of the weights that it began with, and of those that these began with, and so on."""
    while origin := origin.get("start") or {}:
        yield origin


def read_origin(export: Path) -> dict[str, Any] | None:
    """The origin of an export, a folder or one GGUF file; None where there is none that can be read."""
    try:
        if export.is_file():
            origin = dict(json.loads(read_gguf_text(export, ORIGIN_KEY) or ""))
        else:
            origin = dict(read_json(export / ORIGIN_FILE))
        whole = origin["kind"] == _KIND and int(origin["step"]) >= 0 and int(origin["trained_tokens"]) >= 0
        return origin if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
