"""A folder that is made of parts: each partition of a source leaves one in FOLDER/.parts (`source_stream.py` says how it is called)."""

from __future__ import annotations

import shutil
from pathlib import Path

from whelp.artifacts.manifest import NAME as MANIFEST_NAME
from whelp.artifacts.manifest import find_kind
from whelp.base.errors import ArtifactError

PARTS_FOLDER = ".parts"


def begin_folder(folder: Path, kind: str, name: str) -> Path:
    """Make sure that a folder may be written, which is not finished from here on; return the folder for its parts.

    Raises:
        ArtifactError: When something else stands there.
    """
    check_place(folder, kind, name)
    parts_folder = folder / PARTS_FOLDER
    parts_folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    return parts_folder


def check_place(folder: Path, kind: str, name: str) -> None:
    """Refuse a folder that holds something else; worth asking before long work.

    Args:
        kind: What its manifest will say.
        name: What it is called in words, as `a token store`.

    Raises:
        ArtifactError: Saying what stands there.
    """
    parts_folder = folder / PARTS_FOLDER
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(folder, "is a file", f"a folder for {name.replace('a ', 'the ', 1)}", "Choose another --out.")
    if folder.exists() and not parts_folder.is_dir() and any(folder.iterdir()):
        found = find_kind(folder)
        if found != kind:
            holds = f"holds a {found.replace('_', ' ')}" if found else "holds other files"
            raise ArtifactError(folder, holds, f"an empty folder or {name}", "Choose another --out; nothing was changed.")


def clear_parts(folder: Path) -> None:
    """Remove the parts of a finished folder; a run that was killed just before its end has left them."""
    shutil.rmtree(folder / PARTS_FOLDER, ignore_errors=True)
