"""What goes to a hub, laid out in a folder of its own: links to files that stay as they are, and a card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from whelp.artifacts.checkpoint import choose_model_folder
from whelp.artifacts.manifest import find_kind
from whelp.base.errors import ArtifactError, ConfigError
from whelp.base.log import log
from whelp.cli.export import check_wishes, write_export
from whelp.cli.export_card import UsePlace
from whelp.cli.push_hub import COMMAND

CARD = "README.md"
DATASET_KINDS = {"token_store": "a token store", "curated": "a curated corpus"}
_MODEL_SUFFIXES = (".safetensors", ".gguf", ".onnx", ".pth")


def lay_out_model(source: Path, target: Path, name: str, *, format: str | None, dtype: str | None, license: str | None) -> None:
    """Bring a model and its card into an empty folder: an export as it stands, of a run or a checkpoint a new one.

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
        return
    given = [f"--{word}" for word, value in (("format", format), ("dtype", dtype), ("license", license)) if value is not None]
    if given:
        problem = f"{source} has a {CARD}, so it goes as it stands, and {', '.join(given)} would change nothing"
        raise ConfigError(COMMAND, [problem], f"Push the run that it is of, or change {CARD}.")
    lay_out_files(source, target, (path for path in source.rglob("*") if path.is_file()))


def _is_export(folder: Path) -> bool:
    """Whether a folder holds a model with its card, ready to be handed on."""
    if find_kind(folder) == "checkpoint" or not (folder / CARD).is_file():
        return False
    return any(path.suffix in _MODEL_SUFFIXES for path in folder.iterdir())


def lay_out_files(source: Path, target: Path, paths: Iterable[Path]) -> None:
    """Link files of a folder into another at the same places; hidden ones stay behind, and are named."""
    hidden = []
    for path in sorted(paths):
        place = path.relative_to(source)
        if any(part.startswith(".") for part in place.parts):
            hidden.append(place.as_posix())
            continue
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        link_file(path, target / place)
    if hidden:
        more = f" and {len(hidden) - 5:,} more" if len(hidden) > 5 else ""
        log.info("%s: hidden files stay behind: %s%s", source, ", ".join(hidden[:5]), more)
    if not any(target.iterdir()):
        raise ArtifactError(source, "there is nothing to push", "at least one file that is not hidden", "Give another folder.")


def link_file(source: Path, target: Path) -> None:
    """Let `target` be the file `source`: a link, where the system makes one, else a copy."""
    try:
        os.symlink(source.resolve(), target)
    except OSError:
        shutil.copy(source, target)
