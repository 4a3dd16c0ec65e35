"""The folder that goes to a hub: links to files that stay as they are; what must not be read by others is looked for in it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from whelp.base.counts import list_some
from whelp.base.errors import ArtifactError
from whelp.base.hub_repository import iter_files
from whelp.base.log import log

COMMAND = "whelp push"
CARD = "README.md"
DATASET_KINDS = {"token_store": "a token store", "curated": "a curated corpus"}
_SEARCHED_SUFFIXES = (".json", ".jinja", ".md", ".toml", ".yaml", ".yml")
_SEARCHED_BYTES = 1 << 20
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b")


def lay_out_files(source: Path, target: Path, paths: Iterable[Path]) -> None:
    """Link files of a folder into another at the same places; hidden ones stay behind, and are named.

    Raises:
        ArtifactError: When nothing is left.
    """
    hidden = []
    for path in sorted(paths):
        place = path.relative_to(source)
        if any(part.startswith(".") for part in place.parts):
            hidden.append(place.as_posix())
            continue
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        link_file(path, target / place)
    if hidden:
        log.info("%s: hidden files stay behind: %s", source, list_some(hidden))
    if not any(target.iterdir()):
        raise ArtifactError(source, "there is nothing to push", "at least one file that is not hidden", "Give another folder.")


def link_file(source: Path, target: Path) -> None:
    """Let `target` be the file `source`: a link, where the system makes one, else a copy."""
    try:
        os.symlink(source.resolve(), target)
    except OSError:
        shutil.copy(source, target)


def check_private_words(given: Path, folder: Path) -> None:
    """Look through settings and texts about them (not data, nor weights) for a token of the hub, and for folders of this machine.

    Folders are noted alone: only who gave them knows whether others may read them.

    Args:
        given: What is pushed, for the messages.
        folder: The folder that goes, laid out.

    Raises:
        ArtifactError: When a token stands in a file.
    """
    home, around = Path.home(), (given if given.is_dir() else given.parent).absolute().resolve()
    words = {str(place).encode() for place in (home, home.resolve(), around) if len(place.parts) > 1}
    telling = []
    for path in iter_files(folder):
        if path.suffix not in _SEARCHED_SUFFIXES or path.stat().st_size > _SEARCHED_BYTES:
            continue
        content, name = path.read_bytes(), path.relative_to(folder).as_posix()
        if _TOKEN.search(content):
            next_step = "Take it out; where others had that file, make the token invalid on the hub's page of tokens."
            raise ArtifactError(given / name, "a token of the hub stands in it", "no token", next_step)
        if any(word in content for word in words):
            telling.append(name)
    if telling:
        log.warning("%s: folders of this machine stand in %s, for all who may see it", given, list_some(telling))
