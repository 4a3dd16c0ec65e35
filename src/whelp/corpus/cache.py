"""The folder where what comes from elsewhere is kept: `WHELP_CACHE`, else `whelp` in the user's cache folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from whelp.base.errors import PlanError
from whelp.base.paths import as_path


def find_cache_folder() -> Path:
    """Where fetched files are kept.

    Raises:
        PlanError: When nothing says where, as there is no home folder.
    """
    asked = os.environ.get("WHELP_CACHE")
    if asked:
        return as_path(asked).absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whelp"
    except RuntimeError:
        found = "there is no home folder to keep fetched files in"
        raise PlanError("the cache", found, "a folder", "Set the variable WHELP_CACHE to one.") from None


def write_cached(path: Path, blocks: Iterable[bytes]) -> int:
    """Write a file whole or not at all, in flat memory; return its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    num_bytes = 0
    try:
        with open(temporary, "wb") as file:
            for block in blocks:
                num_bytes += file.write(block)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return num_bytes
