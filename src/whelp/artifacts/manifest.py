"""`manifest.json`: written last into every output folder.

{"kind": "token_store", "version": 2, "config": {...}, "counts": {...}, "inputs": {...}, "files": {"a.arrow": {...}}}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whelp.base.errors import ArtifactError, say_first_line
from whelp.base.files import read_json, write_json
from whelp.base.hashing import hash_file, hash_json

NAME = "manifest.json"
VERSION = 2
_MADE_BY = {
    "token_store": "`whelp prepare`",
    "tokenizer": "`whelp tokenizer train`",
    "checkpoint": "`whelp train`",
    "run": "`whelp train`",
    "export": "`whelp export`",
    "curated": "`whelp curate`",
    "split": "`whelp split`",
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a finished folder is, what it was made from, and what is in it."""

    kind: str
    version: int = VERSION
    config: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """One name for these contents."""
        return hash_json({"kind": self.kind, "files": {name: entry["checksum"] for name, entry in self.files.items()}})


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Declare `folder` finished."""
    write_json(folder / NAME, vars(manifest))


def describe_file(path: Path) -> dict[str, Any]:
    """Size and checksum of a file."""
    return {"bytes": path.stat().st_size, "checksum": hash_file(path)}


def describe_files(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Size and checksum of files, for a manifest."""
    return {name: describe_file(folder / name) for name in names}


def read_manifest(folder: Path, kind: str) -> Manifest:
    """Read the manifest of a finished folder of the right kind.

    Raises:
        ArtifactError: When there is no such folder, it is not finished, of another kind, of another format than this version of
            whelp, or when a file is missing or has another size than was written.
    """
    maker = _MADE_BY.get(kind, "whelp")
    noun = kind.replace("_", " ")
    if not folder.is_dir():
        raise ArtifactError(folder, "there is no such folder", f"a {noun}", f"Make one with {maker}.")
    if not (folder / NAME).is_file():
        give = f"Give the folder that {maker} wrote"
        if (folder / "plan.json").is_file() and (folder / "checkpoints").is_dir():
            raise ArtifactError(folder, "is a run", f"a {noun}", f"{give}.")
        next_step = f"{give}; if it was stopped, run it again: it goes on."
        raise ArtifactError(folder, f"it has no {NAME}, so it is not a finished {noun}", "", next_step)
    try:
        values = read_json(folder / NAME)
        version = dict(values).get("version", VERSION)
        if version != VERSION:  # asked first: another manifest may have other fields
            age, next_step = ("a newer", "Update whelp.") if version > VERSION else ("an older", f"Run {maker} again.")
            raise ArtifactError(folder, f"was written by {age} whelp (format {version})", f"format {VERSION}", next_step)
        manifest = Manifest(**values)
        _check_fields(manifest)
    except (ValueError, TypeError) as error:
        raise ArtifactError(
            folder / NAME, f"cannot be read ({say_first_line(error)})", "a manifest", f"Run {maker} again."
        ) from None
    if manifest.kind != kind:
        found = manifest.kind.replace("_", " ")
        raise ArtifactError(folder, f"is a {found}", f"a {noun}", f"Give the folder that {maker} wrote.")
    for name, entry in manifest.files.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != entry["bytes"]:
            state = "is missing" if size is None else f"has {size:,} bytes"
            raise ArtifactError(path, state, f"{entry['bytes']:,} bytes", f"The folder is damaged: run {maker} again.")
    return manifest


def _check_fields(manifest: Manifest) -> None:
    """Refuse what only looks like a manifest: a disk may give back other bytes than were written."""
    if not all(isinstance(part, dict) for part in (manifest.config, manifest.counts, manifest.inputs, manifest.files)):
        raise ValueError("config, counts, inputs and files are no mappings")
    for name, entry in manifest.files.items():
        if not (isinstance(entry, dict) and isinstance(entry.get("bytes"), int) and isinstance(entry.get("checksum"), str)):
            raise ValueError(f"it does not say size and checksum of {name}")


def find_kind(folder: Path) -> str | None:
    """The kind of a finished folder, or None."""
    try:
        return str(read_json(folder / NAME)["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_damage(folder: Path, manifest: Manifest) -> list[str]:
    """Names of files whose contents are not what was written (reads every byte)."""
    return [name for name, entry in manifest.files.items() if hash_file(folder / name) != entry["checksum"]]
