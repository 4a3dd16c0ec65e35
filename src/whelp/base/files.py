"""Files and folders that are either whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file, or leave the old one: temporary name, sync, rename."""
    with open_atomic(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write piece by piece; on success it becomes `path`, on failure it vanishes."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all; an entry of the outermost mapping or list has a line of its own.

    More than that is not laid out for readers: it would take longer than preparing a folder of many small files.
    """
    write_atomic(path, _lay_out(value) + "\n")


def _lay_out(value: Any) -> str:
    if isinstance(value, dict) and value:
        entries = (
            f"{json.dumps(str(key), ensure_ascii=False)}: {json.dumps(inner, ensure_ascii=False)}"
            for key, inner in value.items()
        )
        return "{\n  " + ",\n  ".join(entries) + "\n}"
    if isinstance(value, list) and value:
        return "[\n  " + ",\n  ".join(json.dumps(inner, ensure_ascii=False) for inner in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut (where the system can)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_tree(folder: Path) -> None:
    """Sync every file below `folder`, then the folders."""
    for root, _, names in os.walk(folder):
        for name in names:
            with open(Path(root) / name, "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(root))


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it becomes `path`, on failure it vanishes.

    A folder that stood at `path` is replaced at the end, not before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        sync_tree(temporary)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)
        raise
    replace_folder(path, temporary)


def replace_folder(path: Path, temporary: Path) -> None:
    """Let a finished folder become `path`; one that stands there goes."""
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(path, old)
    os.rename(temporary, path)
    shutil.rmtree(old, ignore_errors=True)
    sync_folder(path.parent)
