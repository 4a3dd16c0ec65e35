"""The token store that a run was trained on, where it stands beside the run."""

from __future__ import annotations

from pathlib import Path

from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.errors import ArtifactError
from whelp.base.files import read_json

STORE = "store"  # what the documentation calls it


def find_run(model: Path) -> Path | None:
    """The run folder that is meant by MODEL, or that its checkpoint lies in; None for a model of no run."""
    for folder in (model, model / "run", model.resolve().parent.parent):
        if (folder / "plan.json").is_file():
            return folder
    return None


def open_store_beside(run: Path) -> TokenStore | None:
    """The store beside a run when the run was trained on it, else None."""
    try:
        beside = open_store(run.resolve().parent / STORE)
        return beside if read_json(run / "plan.json").get("store") == beside.manifest.fingerprint else None
    except (ArtifactError, OSError, ValueError):
        return None
