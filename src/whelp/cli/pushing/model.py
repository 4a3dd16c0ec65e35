"""A model, laid out for a hub: an export as it stands, or a new one of a run, with its card."""

from __future__ import annotations

import re
from pathlib import Path

from whelp.artifacts.checkpoint import choose_model_folder, find_model_folder
from whelp.artifacts.manifest import find_kind
from whelp.base.errors import ConfigError
from whelp.cli.export import check_wishes, write_export
from whelp.cli.exporting.card import UsePlace
from whelp.cli.pushing.layout import CARD, COMMAND, DATASET_KINDS, lay_out_files, link_file

_MODEL_SUFFIXES = (".safetensors", ".gguf", ".onnx", ".pth")
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")  # which are read in this order, or all together


def check_model(source: Path, *, format: str | None, dtype: str | None, license: str | None) -> None:
    """Look whether there is a model that can be pushed as asked, before anybody is asked for anything.

    Raises:
        ArtifactError: When no model is there.
        ConfigError: When an export is to be another one, or `source` is a data set.
    """
    kind = find_kind(source)
    if kind in DATASET_KINDS or source.is_file():
        found = DATASET_KINDS.get(kind or "", "a file")
        raise ConfigError(COMMAND, [f"{source} is {found}, not a model"], "To push it as a data set, add --dataset.")
    check_wishes(COMMAND, format or "hf", dtype)
    if not _is_export(source):
        find_model_folder(source)
        return
    given = [f"--{word}" for word, value in (("format", format), ("dtype", dtype), ("license", license)) if value is not None]
    if given:
        problem = f"{source} has a {CARD}, so it goes as it stands, and {', '.join(given)} would change nothing"
        raise ConfigError(COMMAND, [problem], f"Push the run that it is of, or change {CARD}.")


def lay_out_model(
    source: Path, target: Path, name: str, *, format: str | None, dtype: str | None, license: str | None
) -> re.Pattern[str] | None:
    """Bring a model that was checked, and its card, into an empty folder: an export as it stands, of a run or a checkpoint a new one.

    Returns:
        Paths that are read together with these files: under one of them nothing of an earlier push may stay.
    """
    if not _is_export(source):
        folder = choose_model_folder(source)
        write_export(
            folder,
            target,
            format=format or "hf",
            dtype=dtype,
            name=name,
            license=license,
            place=UsePlace(name.rpartition("/")[2], name),
            take=link_file,
        )
        return _find_read_together(target)
    lay_out_files(source, target, (path for path in source.rglob("*") if path.is_file()))
    return _find_read_together(target)


def _find_read_together(target: Path) -> re.Pattern[str] | None:
    return _WEIGHTS if any(_WEIGHTS.fullmatch(path.name) for path in target.iterdir()) else None


def _is_export(folder: Path) -> bool:
    """Whether a folder holds a model with its card, ready to be handed on."""
    if find_kind(folder) == "checkpoint" or not (folder / CARD).is_file():
        return False
    return any(path.suffix in _MODEL_SUFFIXES for path in folder.iterdir())
