"""What a store or a corpus says of where it is from, without the folders of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from whelp.artifacts.manifest import NAME as MANIFEST
from whelp.artifacts.manifest import describe_file
from whelp.artifacts.token_store import SOURCES_FILE
from whelp.base.config import map_paths
from whelp.base.files import read_json, write_json
from whelp.base.private_paths import leave_folders_out

_Described = Mapping[str, Any]  # a source, in a manifest


def find_telling_labels(described: _Described) -> set[str]:
    """Labels of files that are paths from above the home folder, with names of users: where sources have no folder of their own."""
    above = {os.sep, *map(str, Path.home().absolute().parents)}
    return {
        entry["path"]
        for one in _iter_sources(described)
        for entry in one.get("files", [])
        if os.path.isabs(entry["path"]) or (one.get("root", ".") in above and "://" not in entry["path"])
    }


def leave_folders_out_of_store(store: Path) -> None:
    """Let the manifest and the labels of a store's files name no folder of this machine.

    Args:
        store: Links to the files of one; what is changed is written anew.
    """
    values = read_json(store / MANIFEST)
    described = values["inputs"]["source"]
    telling = find_telling_labels(described)
    labels = read_json(store / SOURCES_FILE)
    if telling & set(labels):
        _replace(store / SOURCES_FILE, [_last_part(label) if label in telling else label for label in labels])
        values["files"][SOURCES_FILE] = describe_file(store / SOURCES_FILE)
    values["inputs"]["source"] = _shorten(described, telling)
    values["config"] = {
        name: leave_folders_out(value) if isinstance(value, str) and os.path.isabs(value) else value
        for name, value in values["config"].items()
    }
    _replace(store / MANIFEST, values)


def _iter_sources(described: _Described) -> Iterable[_Described]:
    """Itself; of a mixture each source."""
    several: Mapping[str, _Described] = described.get("sources", {"": described})
    return several.values()


def _shorten(described: _Described, telling: set[str]) -> dict[str, Any]:
    """A source, or several, without the folders that they and the vocabulary lie in."""
    from whelp.corpus.config import SourceConfig
    from whelp.tokenizer import LearnConfig

    shown = dict(described)
    if "root" in shown:
        shown["root"] = ""
    for name in ("name", "tokenizer_asked"):
        if isinstance(shown.get(name), str):
            shown[name] = leave_folders_out(shown[name])
    for name, kind in (("options", SourceConfig), ("tokenizer_asked", LearnConfig)):
        if isinstance(shown.get(name), Mapping):
            shown[name] = map_paths(kind, shown[name], lambda word, _: leave_folders_out(word))
    if "files" in shown:
        shown["files"] = [
            entry | {"path": _last_part(entry["path"])} if entry["path"] in telling else entry for entry in shown["files"]
        ]
    if "sources" in shown:
        shown["sources"] = {name: _shorten(one, telling) for name, one in shown["sources"].items()}
    return shown


def _last_part(label: str) -> str:
    return label.replace("\\", "/").rpartition("/")[2]


def _replace(link: Path, values: Any) -> None:
    link.unlink()
    write_json(link, values)
