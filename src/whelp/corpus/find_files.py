"""Find the files of a folder or a glob, in an order that does not depend on the machine."""

from __future__ import annotations

import difflib
import glob
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whelp.base.errors import SourceError, say_os_reason
from whelp.base.paths import as_path

_FOLDERS_NOT_OF_TEXT = {"CVS": "hidden", "_darcs": "hidden", "__pycache__": "hidden"}
_FILES_OF_SYSTEMS = ("desktop.ini", "thumbs.db")  # which Windows hides
_LOCK_OF_OFFICE = "~$"
_RECORD_OF_A_FILE = ".manifest.json"  # of `.NAME.manifest.json`, which a growing file leaves


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not read: `kind` is a word to count by, `reason` says more."""

    path: str
    reason: str
    kind: str


@dataclass(frozen=True)
class FoundFile:
    """What a source names, before it is looked at.

    `label` is for what has no path below the source's root; `written` is how the user wrote the path, where it was one to the
    file. `format` is given where the name of the file does not decide it; `text` stands for none. `split_name` is what the source
    calls its split. A `table` holds rows that are no file; `keep` is what must live as long as the file.
    """

    path: Path
    is_named: bool
    label: str | None = None
    written: str | None = None
    format: str | None = None
    split: str = "train"
    split_name: str | None = None
    table: Any = None
    keep: object = None

    @property
    def where(self) -> object:
        """How an error names it."""
        return self.label or self.written or self.path


def walk_folder(
    folder: Path,
    include_suffixes: list[str] | None,
    folder_kinds: Mapping[str, str] | None = None,
    *,
    written: object = None,
) -> tuple[list[Path], list[SkippedFile]]:
    """List the files below `folder`, links followed; what is hidden or of version control is skipped.

    A skipped folder is not gone into.

    Args:
        folder_kinds: More folders to skip, each with the kind to count it by.
        written: How an error names the folder, where that is not its path.

    Raises:
        SourceError: When `folder` itself cannot be listed.
    """
    kinds = {**_FOLDERS_NOT_OF_TEXT, **(folder_kinds or {})}
    files: list[Path] = []
    skipped: list[SkippedFile] = []
    seen: set[tuple[int, int]] = set()  # a link may lead back up

    def note_error(error: OSError) -> None:
        if error.filename is not None and Path(error.filename) == folder:
            where = folder if written is None else written
            raise SourceError(
                where, f"cannot be listed ({say_os_reason(error)})", "a folder that can be read", "Change its permissions."
            ) from None
        skipped.append(SkippedFile(str(error.filename), f"cannot be listed ({say_os_reason(error)})", "unreadable"))

    for root, folder_names, file_names in os.walk(folder, onerror=note_error, followlinks=True):
        here = Path(root)
        identity = os.stat(root)
        if (identity.st_dev, identity.st_ino) in seen:
            folder_names.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        for name in [name for name in folder_names if name.startswith(".") or name in kinds]:
            folder_names.remove(name)
            kind = kinds.get(name, "hidden")
            skipped.append(SkippedFile(str(here / name), f"a folder that is not gone into ({kind})", kind))
        folder_names.sort()
        for name in sorted(file_names):
            path = here / name
            if name.startswith(".") and name.endswith(_RECORD_OF_A_FILE) and name[1 : -len(_RECORD_OF_A_FILE)] in file_names:
                continue  # ours, of a file beside it: nobody put it there
            if name.startswith((".", _LOCK_OF_OFFICE)) or name.lower() in _FILES_OF_SYSTEMS:
                skipped.append(SkippedFile(str(path), "a hidden file", "hidden"))
            elif include_suffixes and not name.lower().endswith(tuple(suffix.lower() for suffix in include_suffixes)):
                skipped.append(SkippedFile(str(path), "not one of include_suffixes", "other suffix"))
            else:
                files.append(path)
    return files, skipped


def expand(
    item: str, include_suffixes: list[str] | None, *, expected: str = "a file, a folder or a glob", words: Sequence[str] = ()
) -> tuple[Path, list[Path], list[SkippedFile], bool]:
    """Turn a path or a glob into (root, files, skipped, whether the item names one file); all paths are whole.

    Args:
        expected: What an error says that was to be there.
        words: What could have been meant that is no path, for the error, too.

    Raises:
        SourceError: When nothing is there.
    """
    path = as_path(item).absolute()
    try:
        os.lstat(path)
    except PermissionError:
        raise SourceError(
            item, "cannot be reached (permission denied)", "a place that can be read", "Change its permissions."
        ) from None
    except OSError:
        pass
    if os.path.isdir(path):
        return path, *walk_folder(path, include_suffixes, written=item), False
    if os.path.lexists(path):
        return path.parent, [path], [], True
    if not glob.has_magic(item):
        raise _missing(item, path, expected, words)
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    if not matches:
        raise SourceError(
            item, "the glob matches nothing", "files", f"Look at what is in {as_written(_fixed_part(path), item)}."
        )
    files, skipped = [], []
    for match in matches:
        if match.is_dir():
            if "**" not in item:  # `**` has already gone into it
                below, skipped_below = walk_folder(match, include_suffixes, written=as_written(match, item))
                files += below
                skipped += skipped_below
        else:
            files.append(match)
    return _fixed_part(path), files, skipped, False


def as_written(path: Path, item: str) -> Path:
    """A whole path that `expand` has made of an item, as one who wrote that names it: relative where the item is.

    The current folder itself stays whole.
    """
    here = Path.cwd()
    is_below = path != here and path.is_relative_to(here)
    return path if as_path(item).is_absolute() or not is_below else path.relative_to(here)


def look_at(path: Path) -> os.stat_result | SkippedFile:
    """Return the size and times of a regular file, or why it is none."""
    try:
        status = os.stat(path)
    except OSError as error:
        return SkippedFile(str(path), f"cannot be read ({say_os_reason(error)})", "unreadable")
    if not stat.S_ISREG(status.st_mode):
        return SkippedFile(str(path), "not a regular file (a pipe, a socket or a device)", "not a file")
    return status


def _fixed_part(pattern: Path) -> Path:
    folder = Path(pattern.anchor)
    for part in pattern.parts[1:-1]:
        if glob.has_magic(part):
            break
        folder /= part
    return folder


def _missing(item: str, path: Path, expected: str, words: Sequence[str]) -> SourceError:
    """Find the first part of the path that is missing, and the nearest name beside it."""
    first = path
    while not os.path.exists(first.parent):
        first = first.parent
    try:
        names = os.listdir(first.parent)
    except OSError:
        names = []
    if first.parent == path.parent == Path.cwd():
        names += words
    near = difflib.get_close_matches(first.name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else "Check the spelling."
    found = "there is no such file or folder" + (
        "" if first == path else f" ({as_written(first.parent, item)} has no {first.name})"
    )
    return SourceError(item, found, ", ".join([*words, expected]), hint)
