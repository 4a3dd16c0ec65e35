"""Results that cost a second and never change: kept in the user's cache folder, and made again where there is none.

`$WHELP_CACHE`, else `whelp/tokenizers` in `$XDG_CACHE_HOME` or `~/.cache`. The name of a file is the hash of all that its
content depends on; so nothing in it can be out of date, and all of it can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from whelp.base.files import write_atomic
from whelp.base.paths import as_path

FOLDER_VARIABLE = "WHELP_CACHE"


def read_cached(name: str) -> str | None:
    """What was kept under this name, or None."""
    try:
        return (_folder() / name).read_bytes().decode()  # looking for other line ends takes 30 times as long
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home folder
        return None


def keep(name: str, content: str) -> None:
    """Keep `content` where it can be kept. Several processes may keep the same at once: each writes a file of its own."""
    with contextlib.suppress(OSError, RuntimeError):
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        own = folder / f"{name}.{secrets.token_hex(8)}"
        write_atomic(own, content)
        os.replace(own, folder / name)


def _folder() -> Path:
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return as_path(chosen)
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "whelp" / "tokenizers"
