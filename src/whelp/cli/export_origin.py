"""`origin.json` of an export: which store its run trained on, and how far, so that `whelp trace` finds it. No paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whelp.artifacts.run_folder import RunFolder
from whelp.base.files import read_json, write_json

ORIGIN_FILE = "origin.json"
_KIND = "export"


def write_origin(folder: Path, checkpoint: Path, run: RunFolder) -> None:
    """Write it into an export's folder: of the run's start what `whelp trace` needs, in the same words."""
    from whelp.train import TrainPlan

    started = run.read_plan() or {}
    plan, step = TrainPlan(**started["plan"]), int(checkpoint.resolve().name.removeprefix("step-"))
    origin = {
        "kind": _KIND,
        "store": started.get("store"),
        "step": step,
        "trained_tokens": plan.count_rows(step) * plan.context_tokens,
        "ledger": {
            "sources": {
                name: {"share": entry.get("share", 0.0)} for name, entry in started.get("ledger", {}).get("sources", {}).items()
            }
        },
    }
    write_json(folder / ORIGIN_FILE, origin)


def read_origin(folder: Path) -> dict[str, Any] | None:
    """The origin of an export; None where there is none that can be read."""
    try:
        origin = dict(read_json(folder / ORIGIN_FILE))
        whole = origin["kind"] == _KIND and int(origin["step"]) >= 0 and int(origin["trained_tokens"]) >= 0
        return origin if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
