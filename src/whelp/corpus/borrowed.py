"""Copies of files behind URLs that stay no longer than they are read, however many processes read them.

Beside such a copy lies a mark, which each reader locks, shared with the others. Who is the last to let go of it deletes the copy; a
killed reader leaves both to the next. A copy without a mark is kept: somebody has asked for it as a source.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from whelp.base import locks

_MARK = ".borrowed"
_PATIENCE_SECONDS = 2.0  # for a fetch to notice that it is wanted no more


class NotWantedError(Exception):
    """The copy was let go of while it was fetched."""


class Borrowed:
    """One copy, for one reader.

    Args:
        fetch: Gives the file on this machine. It is given this object: calls `take` with the place of the copy before it looks
            what is there, and `check` now and then.
    """

    def __init__(self, fetch: Callable[[Borrowed], Path]) -> None:
        self._fetch_copy = fetch
        self._path: Path | None = None
        self._mark: int | None = None
        self._changing = threading.Lock()
        self._is_ended = False
        self._is_idle = threading.Event()
        self._is_idle.set()

    def fetch(self) -> Path:
        """The file. Another thread may let go of it meanwhile.

        Raises:
            NotWantedError: When one has.
        """
        with self._changing:
            self.check()
            self._is_idle.clear()
        try:
            return self._fetch_copy(self)
        finally:
            with self._changing:
                if self._is_ended:
                    self._release()
                self._is_idle.set()

    def take(self, path: Path) -> None:
        """Mark a copy, or the place where one comes to be, unless one is kept there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            mark = path.with_name(_MARK)
            if self._mark is not None or (path.exists() and not mark.exists()):
                return
            self._path, self._mark = path, os.open(mark, os.O_RDWR | os.O_CREAT, 0o666)
            _lock(self._mark, is_shared=True)

    def check(self) -> None:
        """Say whether the copy is still wanted.

        Raises:
            NotWantedError: When it is not.
        """
        if self._is_ended:
            raise NotWantedError

    def let_go(self) -> None:
        """Read it no more, and delete it unless others do. A fetch in another thread is broken off."""
        with self._changing:
            self._is_ended = True
            if self._is_idle.is_set():
                self._release()
                return
        self._is_idle.wait(_PATIENCE_SECONDS)

    def _release(self) -> None:
        if self._path is None or self._mark is None:
            return
        path, mark, self._mark = self._path, self._mark, None
        with _alone(path.parent):
            if _is_at(path.with_name(_MARK), mark) and _lock(mark, is_shared=False):
                for file in path.parent.iterdir():  # also what a killed fetch has left
                    if file.name != _MARK:
                        with contextlib.suppress(OSError):  # it is open, on Windows
                            file.unlink()
                locks.release(mark)
                with contextlib.suppress(OSError):
                    path.with_name(_MARK).unlink()
            else:
                locks.release(mark)


def keep_copy(path: Path) -> None:
    """From now on a copy stays, whoever has borrowed it."""
    mark = path.with_name(_MARK)
    if mark.exists():
        with _alone(path.parent):
            mark.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One after the other, for a moment; where a system has no such locks, at once."""
    place = locks.place_of_folder(folder)
    try:
        handle = locks.open_lock(place)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            locks.acquire(handle, waits=True)
        yield
    finally:
        locks.release_file(handle, place)


def _lock(handle: int, *, is_shared: bool) -> bool:
    """Whether the lock is ours, or there are none on this system."""
    try:
        return locks.acquire(handle, is_shared=is_shared)
    except OSError:
        return True


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False
