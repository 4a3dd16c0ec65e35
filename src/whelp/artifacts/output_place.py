"""The place that a command is to write to: nothing of somebody else's is replaced."""

from __future__ import annotations

from pathlib import Path

from whelp.base.errors import ArtifactError


def is_free(place: Path) -> bool:
    """Whether nothing stands there: no file, and no folder with anything in it."""
    return not place.exists() or (place.is_dir() and not any(place.iterdir()))


def refuse_place(place: Path, instead: str, found: str = "something else stands there") -> ArtifactError:
    """The error for a place that is not free.

    Args:
        instead: What may stand there besides nothing, as `a run`.
    """
    return ArtifactError(place, found, f"an empty place or {instead}", "Choose another --out; nothing was changed.")
