"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path

from whelp.base.errors import ConfigError


def as_path(given: str | os.PathLike[str]) -> Path:
    """The path of a file or a folder that somebody named; `~` at its beginning is a home folder, as in a shell.

    A name that begins so and is nobody's home, such as the `~$letter.docx` that an office program leaves, stays as it is.

    Raises:
        ConfigError: When it is no path.
    """
    try:
        path = os.fspath(given)
    except TypeError:
        next_step = "Give its field `folder`." if isinstance(getattr(given, "folder", None), str) else ""
        raise ConfigError("the path", [f"is a {type(given).__name__}, but expected a text or a path"], next_step) from None
    return Path(os.path.expanduser(path))
