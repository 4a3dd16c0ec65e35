"""Locks of the system, by which processes keep out of each other's way: they end with the process, however that ends.

    handle = open_lock(place_of_folder(folder))     # a file, or on POSIX the folder itself
    if acquire(handle): ...
    release(handle)

On Windows a folder cannot be opened, so that a hidden file beside it stands for it, and locks are of bytes, each of one holder: who
shares has one byte of many, who does not has all of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import Any

_MOST_SHARING = 256  # on Windows
_POLL_SECONDS = 0.05


def place_of_folder(folder: Path) -> Path:
    """What is locked in place of a folder."""
    if os.name != "nt":
        return folder
    folder = folder.absolute()
    return folder.with_name(f".{folder.name}.lock")


def open_lock(place: Path) -> int:
    """Open what is to be locked; a file is made if need be.

    Raises:
        OSError: When it cannot be.
    """
    return os.open(place, os.O_RDONLY if place.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)


def acquire(handle: int, *, is_shared: bool = False, waits: bool = False) -> bool:
    """Whether the lock is ours now; one that was shared becomes ours alone, or the other way round.

    Args:
        waits: Until others have let go of it.

    Raises:
        OSError: When the system, or the disk, has no locks.
    """
    try:
        import fcntl
    except ImportError:
        return _acquire_bytes(handle, is_shared=is_shared, waits=waits)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def release(handle: int) -> None:
    """Let go of a lock and close what it is of, also for processes that have inherited the handle."""
    with contextlib.suppress(OSError):
        try:
            import fcntl
        except ImportError:
            _release_bytes(handle)
        else:
            fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def release_file(handle: int, place: Path) -> None:
    """Let go of the lock on a file that is there for it alone, and take the file away; of a folder, which stays."""
    is_file = not place.is_dir()
    if is_file and os.name != "nt":  # while it is ours: somebody else's would be taken away afterwards
        with contextlib.suppress(OSError):
            place.unlink()
    release(handle)
    if is_file and os.name == "nt":  # which deletes nothing that is open, be it somebody else's
        with contextlib.suppress(OSError):
            place.unlink()


def _acquire_bytes(handle: int, *, is_shared: bool, waits: bool) -> bool:
    _release_bytes(handle)
    while True:
        if (
            any(_lock_bytes(handle, first, 1) for first in range(_MOST_SHARING))
            if is_shared
            else _lock_bytes(handle, 0, _MOST_SHARING)
        ):
            return True
        if not waits:
            return False
        time.sleep(_POLL_SECONDS)


def _lock_bytes(handle: int, first: int, count: int) -> bool:
    windows = _windows()
    os.lseek(handle, first, os.SEEK_SET)
    try:
        windows.locking(handle, windows.LK_NBLCK, count)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EDEADLK):
            raise
        return False
    return True


def _release_bytes(handle: int) -> None:
    """Of all bytes, or of each: Windows unlocks what was locked together, and nothing else."""
    windows = _windows()
    for first, count in ((0, _MOST_SHARING), *((first, 1) for first in range(_MOST_SHARING))):
        os.lseek(handle, first, os.SEEK_SET)
        with contextlib.suppress(OSError):
            windows.locking(handle, windows.LK_UNLCK, count)


def _windows() -> Any:
    """The module of Windows.

    Raises:
        OSError: On a system that has neither.
    """
    try:
        import msvcrt
    except ImportError:
        raise OSError(errno.ENOTSUP, "this system has no locks") from None
    return msvcrt
