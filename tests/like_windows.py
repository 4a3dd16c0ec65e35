"""A stand-in for Windows: whelp's own code, in a process of its own, meets what it would meet there.

- What the C library of Windows has not (`fcntl`, `os.fork`, `signal.SIGKILL` ...) is not there for modules of whelp, and `msvcrt` is, with its
  locks of bytes; Python's own and other packages see the machine as it is.
- A file that is open, or mapped, can be neither replaced, renamed nor deleted, nor can a folder around it; a folder cannot be opened.
- `os.fsync` wants a file that is open for writing; links need a right that users do not have.
- Text files are cp1252 and CR LF where nobody says otherwise; some characters are in no name.

`install()` is called before whelp is imported; `make_environment` has it called in a process and in all that it starts.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
import signal
import struct
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_NO_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
_NOT_IN_OS = [
    "fork",
    "forkpty",
    "setsid",
    "getsid",
    "getpgid",
    "setpgid",
    "killpg",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "sched_getaffinity",
    "sched_setaffinity",
    "sysconf",
    "readv",
    "writev",
    "preadv",
    "pwritev",
    "posix_fadvise",
    "posix_fallocate",
    "sendfile",
    "mkfifo",
    "statvfs",
    "chown",
    "lchown",
    "fchown",
    "fchmod",
    "nice",
    "uname",
    "wait3",
    "wait4",
    "getloadavg",
    "O_DIRECTORY",
    "O_NOFOLLOW",
    "O_PATH",
    "O_CLOEXEC",
    "O_NONBLOCK",
    "SEEK_DATA",
    "SEEK_HOLE",
    "memfd_create",
]
_NOT_IN_SIGNAL = [
    "SIGKILL",
    "SIGHUP",
    "SIGUSR1",
    "SIGUSR2",
    "SIGBUS",
    "SIGALRM",
    "SIGCHLD",
    "SIGPIPE",
    "SIGSTOP",
    "SIGCONT",
    "alarm",
]
_BAD_NAME = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]$|^(CON|PRN|AUX|NUL|COM\d|LPT\d)(\.|$)', re.IGNORECASE)


class _Narrowed(types.ModuleType):
    """A module without some of its names."""

    def __init__(self, module: types.ModuleType, missing: list[str], **instead: Any) -> None:
        super().__init__(module.__name__)
        vars(self).update(_module=module, _missing=frozenset(missing), **instead)

    def __getattr__(self, name: str) -> Any:
        if name in self._missing:
            raise AttributeError(f"module {self._module.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self._module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._module, name, value)


def make_environment(folder: Path) -> dict[str, str]:
    """The environment of a process that is like Windows from its start on, and so are its children.

    Args:
        folder: Where what Python imports at its start is written.
    """
    (folder / "sitecustomize.py").write_text("import like_windows; like_windows.install()\n", encoding="utf-8")
    paths = [str(folder), str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def install() -> None:
    """From here on whelp is on Windows; once a process."""
    narrowed: Mapping[str, types.ModuleType] = {
        "os": _Narrowed(os, _NOT_IN_OS, name="nt"),
        "sys": _Narrowed(sys, ["abiflags"], platform="win32"),
        "signal": _Narrowed(signal, _NOT_IN_SIGNAL),
        "msvcrt": _Locks(),
    }
    really_import = builtins.__import__

    def import_narrowed(name: str, globals: Any = None, *rest: Any, **options: Any) -> Any:
        if globals is not None and _is_ours(globals.get("__name__")):
            if name.partition(".")[0] in _NO_MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in narrowed:
                return narrowed[name]
        return really_import(name, globals, *rest, **options)

    builtins.__import__ = import_narrowed
    for name in ("replace", "rename", "unlink", "remove", "rmdir"):
        setattr(os, name, _refuse_open(getattr(os, name)))
    os.open = _refuse_folders(os.open)
    os.fsync = _want_writable(os.fsync)
    os.symlink = _refuse_links
    os.mkdir = _check_name(os.mkdir)
    builtins.open = io.open = _open_text(io.open)


class _Locks(types.ModuleType):
    """Of `msvcrt` what locks bytes: each of one open handle, whichever process has it; what was locked together is unlocked together."""

    LK_UNLCK, LK_LOCK, LK_NBLCK, LK_RLCK, LK_NBRLCK = range(5)

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self._locked: set[tuple[int, int, int]] = set()

    def locking(self, handle: int, mode: int, num_bytes: int) -> None:
        import fcntl

        assert mode in (self.LK_UNLCK, self.LK_NBLCK), "the others try for ten seconds"
        region = (handle, os.lseek(handle, 0, os.SEEK_CUR), num_bytes)
        if mode == self.LK_UNLCK and region not in self._locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        kind = fcntl.F_WRLCK if mode == self.LK_NBLCK else fcntl.F_UNLCK
        wish = struct.pack("hhqqi", kind, os.SEEK_SET, *region[1:], 0)  # of an open handle, not of a process
        try:
            fcntl.fcntl(handle, fcntl.F_OFD_SETLK, wish)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None
        if mode == self.LK_NBLCK:
            self._locked.add(region)
        else:
            self._locked.discard(region)


def _is_ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "whelp"


def _find_open(path: str) -> str | None:
    """What is open, or mapped, at a path or below it."""
    own = os.path.realpath(os.path.dirname(path)) + os.sep + os.path.basename(path)
    found = set()
    for handle in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{handle}"))
        except OSError:
            continue
    with _real_open("/proc/self/maps", encoding="utf-8") as maps:
        found |= {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if line.count("/")}
    return next((name for name in found if name == own or name.startswith(own + os.sep)), None)


_real_open = io.open


def _refuse_open(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*paths: Any, **options: Any) -> Any:
        for path in paths:
            if isinstance(path, (str, os.PathLike)) and "dir_fd" not in options and os.path.lexists(path):
                found = _find_open(os.path.abspath(os.fspath(path)))
                if found is not None:
                    raise PermissionError(errno.EACCES, f"it is used by a process (WinError 32: {found})", os.fspath(path))
        return function(*paths, **options)

    return call


def _refuse_folders(function: Callable[..., int]) -> Callable[..., int]:
    def call(path: Any, *rest: Any, **options: Any) -> int:
        if _is_called_by_us() and os.path.isdir(path):
            raise PermissionError(errno.EACCES, "a folder cannot be opened", os.fspath(path))
        return function(path, *rest, **options)

    return call


def _want_writable(function: Callable[[Any], None]) -> Callable[[Any], None]:
    import fcntl

    def call(handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        function(handle)

    return call


def _refuse_links(source: Any, target: Any, *rest: Any, **options: Any) -> None:
    raise OSError(errno.EPERM, "A required privilege is not held by the client (WinError 1314)", os.fspath(source))


def _check_name(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any, *rest: Any, **options: Any) -> Any:
        _refuse_name(path)
        return function(path, *rest, **options)

    return call


def _refuse_name(path: Any) -> None:
    name = os.path.basename(os.fspath(path))
    if isinstance(name, str) and _BAD_NAME.search(name):
        raise OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect (WinError 123)", path)


def _open_text(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *rest: Any,
        **named: Any,
    ) -> Any:
        if _is_called_by_us() and not isinstance(file, int):
            if str(file).startswith(("/proc/", "/sys/")):
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(file))
            if not os.path.exists(file):
                _refuse_name(file)
            if os.path.isdir(file):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(file))
            if "b" not in mode:
                encoding = encoding or "cp1252"
                if newline is None and set(mode) & set("wax"):
                    newline = "\r\n"
        return function(file, mode, buffering, encoding, errors, newline, *rest, **named)

    return call


def _is_called_by_us() -> bool:
    """Whether whelp calls, itself or through `pathlib`."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") in ("pathlib", "pathlib._local", "contextlib", __name__):
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and _is_ours(frame.f_globals.get("__name__"))
