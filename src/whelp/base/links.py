"""Names that lead to a folder beside them, and can be made to lead elsewhere in one step.

They are links of the system. Where it makes none (Windows, memory sticks, some network disks), a text file holds the folder's name.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from whelp.base.files import write_atomic

_LONGEST_NAME = 255  # bytes


def point_link(link: Path, name: str) -> None:
    """Let `link` lead to the folder called `name` beside it; no folder stands at `link`."""
    if sys.platform == "win32" or not _replace_by_symlink(link, name):  # Windows cannot replace a link in one step
        write_atomic(link, name + "\n")


def _replace_by_symlink(link: Path, name: str) -> bool:
    temporary = link.with_name(f".{link.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.symlink(name, temporary)
    except OSError:
        return False
    os.replace(temporary, link)
    return True


def is_link(path: Path) -> bool:
    """Whether `point_link` made this."""
    return path.is_symlink() or _read_name(path) is not None


def follow_link(path: Path) -> Path:
    """The folder that a text file leads to; any other path as it is: where links of the system lead, the system knows."""
    name = _read_name(path)
    return path if name is None else path.with_name(name)


def _read_name(path: Path) -> str | None:
    """What a text file in place of a link says; None of anything else."""
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST_NAME + 1:
            return None
        name = path.read_text(encoding="utf-8").strip()
        return name if name and Path(name).name == name and path.with_name(name).is_dir() else None
    except (OSError, ValueError):
        return None
