"""Files and folders that are either whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from whelp.base import locks
from whelp.base.errors import ArtifactError

_HELD_HERE = (
    "this program is writing into it already",
    "one call at a time",
    "Wait until that has ended. A loop over the events of a run that was left early goes on holding it: close it (`events.close()`).",
)
_held: set[tuple[int, int]] = set()  # what this process has locked, by device and number
_PATIENCE_SECONDS = 3.0  # a process that was just killed may take a moment to be gone
TAKEN = (
    "another process is writing into it",
    "a place of its own",
    "Wait until it has ended, or choose another --out; nothing was changed.",
)
"""What `ArtifactError` says, after the place, to the second of two that write into one."""


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


def sync_file(path: Path) -> None:
    """Make a finished file survive a power cut."""
    if sys.platform == "win32":  # which syncs what is open for writing, and nothing else
        with contextlib.suppress(PermissionError), open(path, "r+b") as file:
            os.fsync(file.fileno())
    else:
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def sync_tree(folder: Path) -> None:
    """Sync every file below `folder`, then the folders."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync_file(Path(root) / name)
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


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep `folder` to this process: two that write into one folder would mix their files. It is made, if need be.

    The lock is the system's: it ends with the process, however that ends, and leaves no file; on Windows what a killed process
    leaves beside the folder locks nothing. Where the system has none (some network disks), nothing is kept.

    Raises:
        ArtifactError: When another process holds the folder, or another call of this one.
    """
    if folder.exists() and not folder.is_dir():
        yield  # whoever writes there says what is wrong with it
        return
    with _hold(locks.place_of_folder(folder), folder, lambda: folder.mkdir(parents=True, exist_ok=True)):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()  # nothing was written: it is as it was before


@contextlib.contextmanager
def hold_file(path: Path) -> Iterator[None]:
    """Keep the writing of a file to this process, as `hold_folder` keeps a folder: for one that grows under another name.

    The lock lies on a hidden file beside it, which goes at the end; one that a killed process left locks nothing.

    Raises:
        ArtifactError: When another process holds the file.
    """
    with _hold(path.with_name(f".{path.name}.lock"), path, lambda: None):
        yield


@contextlib.contextmanager
def _hold(place: Path, named: Path, make: Callable[[], object]) -> Iterator[None]:
    """Hold the lock on a place, which stands for what is named. `make` makes what is locked, if need be."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        make()
        handle = _lock(place, named, deadline)
        if handle is None or _is_still_there(place, handle):
            break
        _held.discard(_identify(handle))  # who held it has taken it away
        locks.release(handle)
    try:
        yield
    finally:
        if handle is not None:
            _held.discard(_identify(handle))
            locks.release_file(handle, place)


def _lock(place: Path, named: Path, deadline: float) -> int | None:
    try:
        handle = locks.open_lock(place)
    except OSError:
        return None
    try:
        while not locks.acquire(handle):
            if time.monotonic() >= deadline:
                is_held_here = _identify(handle) in _held
                raise ArtifactError(named, *(_HELD_HERE if is_held_here else TAKEN)) from None
            time.sleep(0.1)
    except BaseException as error:
        os.close(handle)
        if isinstance(error, OSError):
            return None
        raise
    _held.add(_identify(handle))
    return handle


def _identify(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino


def _is_still_there(place: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(place), os.fstat(handle))
    except OSError:
        return False


def replace_folder(path: Path, temporary: Path) -> None:
    """Let a finished folder become `path`; one that stands there goes."""
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(path, old)
    os.rename(temporary, path)
    shutil.rmtree(old, ignore_errors=True)
    sync_folder(path.parent)
