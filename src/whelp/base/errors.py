"""Every error a user can mend, in one tree.

    WhelpError                what the user can mend; no traceback, exit code 1
    |-- ConfigError           a recipe or an override: unknown key, wrong type, values that do not fit together
    |-- SourceError           a text source: missing, empty, unreadable, not text; a site that refuses
    |-- TokenizerError        a vocabulary: missing, broken, or it cannot encode this text
    |-- ArtifactError         a folder on disk: not finished, not the right kind, damaged, or too new
    |   `-- StaleError        made from inputs that have changed since
    |-- PlanError             the inputs are fine, but nothing sensible can be made of them together
    |   `-- BusyError         another thread of this process is training
    |-- TrainingError         training cannot go on: the loss is not a number, the device is out of memory
    |   `-- LostProcessError  another process of the run is gone, or does not answer
    |-- HubError              a hub of models: nobody is logged in, no right, not reached, or other files stand there
    |-- MissingExtraError     an optional package is needed
    `-- DiskError             the disk is full or not writable

A broken promise of our own code is an `assert` with both values, never one of these.

What others raise is put into our words by `explain_os_error`; where only they know what is wrong, `say_first_line` quotes them.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any


class WhelpError(Exception):
    """Say where, what was found, what was expected, and what to do next.

    >>> print(WhelpError("a.txt", "the file is empty", "text", "Put some text into it."))
    a.txt: the file is empty, but expected text. Put some text into it.
    """

    def __init__(self, where: object, found: str, expected: str = "", next_step: str = "") -> None:
        self.where = os.fspath(where) if isinstance(where, os.PathLike) else str(where)
        self.found, self.expected, self.next_step = found, expected, next_step
        super().__init__(self.where, found, expected, next_step)

    def __reduce__(self) -> tuple[Any, ...]:  # by default the arguments of this class would go to that of any other below it
        return _copy, (type(self), self.args, vars(self))

    def to_values(self) -> dict[str, Any]:
        """It as JSON for another process, where `from_values` makes it again."""
        own = {
            name: value for name, value in vars(self).items() if isinstance(value, str | list)
        }  # libraries hang theirs on it
        return {"kind": type(self).__name__, **own}

    @staticmethod
    def from_values(values: dict[str, Any]) -> WhelpError:
        """The error of another process."""
        kinds: dict[str, type[WhelpError]] = {kind.__name__: kind for kind in _find_kinds(WhelpError)}
        own = {name: value for name, value in values.items() if name != "kind"}
        arguments = tuple(own[name] for name in ("where", "found", "expected", "next_step"))
        return _copy(kinds.get(values["kind"], WhelpError), arguments, own)

    def __str__(self) -> str:
        expected = f", but expected {self.expected}" if self.expected else ""
        stop = "" if not expected and self.found.endswith("?") else "."
        return f"{self.where}: {self.found}{expected}{stop}" + (f" {self.next_step}" if self.next_step else "")


def _copy(kind: type[WhelpError], arguments: tuple[Any, ...], values: dict[str, Any]) -> WhelpError:
    """An error as it came from another process."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    vars(error).update(values)
    return error


def _find_kinds(kind: type[WhelpError]) -> Iterator[type[WhelpError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _find_kinds(one)


class ConfigError(WhelpError):
    """A recipe or an override cannot be used. All problems are reported at once."""

    def __init__(self, where: object, problems: Sequence[str], next_step: str = "") -> None:
        self.problems = list(problems)
        if len(self.problems) == 1:
            found = self.problems[0].rstrip(".")
        else:
            found = f"{len(self.problems)} problems\n" + "\n".join(f"  - {problem}" for problem in self.problems) + "\n"
        super().__init__(where, found, "", next_step)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return super().__str__()
        return f"{self.where}: {self.found}{self.next_step}".rstrip()


class SourceError(WhelpError):
    """A text source is missing, empty, unreadable or not text, or a site refuses."""


class TokenizerError(WhelpError):
    """A vocabulary is missing, broken, or cannot encode this text."""


class ArtifactError(WhelpError):
    """A folder on disk is not finished, not of the right kind, damaged, or too new."""


class StaleError(ArtifactError):
    """A folder on disk was made from inputs that have changed since."""


class PlanError(WhelpError):
    """The inputs are fine, but nothing sensible can be made of them together."""


class BusyError(PlanError):
    """Another thread of this process is training, and the two would share what torch has once for all threads."""


class TrainingError(WhelpError):
    """Training cannot go on."""


class LostProcessError(TrainingError):
    """Another process of the same run is gone, or does not answer: it has the reason, not this one."""


class HubError(WhelpError):
    """A hub of models and datasets refuses, cannot be reached, or holds what would be replaced."""


class DiskError(WhelpError):
    """The disk is full, or the place cannot be written."""


class MissingExtraError(WhelpError):
    """An optional package is needed: one of an extra, or `other`, which no extra has.

    >>> print(MissingExtraError("whelp serve", "starlette", "serve"))
    whelp serve: the package starlette is not installed. Run `pip install "whelp[serve]"`.
    >>> print(MissingExtraError("s3://bucket", "s3fs", other="s3fs"))
    s3://bucket: the package s3fs is not installed. Run `pip install s3fs`.
    """

    def __init__(self, where: object, package: str, extra: str = "", *, other: str = "") -> None:
        wanted = [f'"whelp[{extra}]"'] * bool(extra) + [other] * bool(other)
        super().__init__(where, f"the package {package} is not installed", "", f"Run `pip install {' '.join(wanted)}`.")


_MOST_QUOTED = 200  # characters


def say_first_line(error: BaseException, *, with_kind: bool = False) -> str:
    r"""What a library says is wrong, to quote in a message of ours: one line, neither empty nor long, without a full stop.

    A line that ends in a colon takes the next along. An error without words is called by its class; `with_kind` puts the class
    before the words of any other, too. Of a `KeyError`, whose text is a bare key, it says that the key is missing.

    >>> say_first_line(ValueError("sizes differ:\n  3 and 4.\nSee the manual.")), say_first_line(EOFError())
    ('sizes differ: 3 and 4', 'EOFError')
    >>> say_first_line(KeyError("size"), with_kind=True)
    "KeyError: 'size' is missing"
    """
    kind = type(error).__name__
    lines = [words for line in _find_words(error).splitlines() if (words := " ".join(line.split()))]
    text = ""
    for line in lines:
        text = f"{text} {line}".strip()
        if not line.endswith(":"):
            break
    text = re.sub(r"^\[Errno -?\d+\] ", "", text).rstrip(" .:")
    if len(text) > _MOST_QUOTED:
        text = f"{text[:_MOST_QUOTED].rstrip()}..."
    return ": ".join(filter(None, [kind, text])) if with_kind or not text else text


def say_os_reason(error: OSError) -> str:
    """What the system says is wrong, without the file, to stand in brackets.   'permission denied'"""
    return (error.strerror or type(error).__name__).lower()


def _find_words(error: BaseException) -> str:
    if not isinstance(error, KeyError) or len(error.args) != 1:
        return str(error)
    (key,) = error.args
    is_message = isinstance(key, str) and len(key.split()) > 1
    return str(key) if is_message else f"{key!r} is missing"


# what a dying disk, or one of a network that went away, answers; not all systems know all of them
_BROKEN = {
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "ENXIO", "ENODEV", "EREMOTEIO", "ENOTCONN", "EHOSTDOWN")
    if hasattr(errno, name)
}


def explain_os_error(error: OSError) -> WhelpError | None:
    """Turn an operating-system error a user can mend into one of ours; None for any other."""
    where = _name_meant(error.filename) if error.filename else "the output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        elsewhere = "choose another --out" if error.filename else "write elsewhere"  # without a name it is a stream
        next_step = f"Free some, or {elsewhere}; then run the same command again."
        return DiskError(where, "the disk is full", "free space", next_step)
    if error.errno == errno.EROFS:
        return DiskError(where, "the disk is read-only", "one that can be written", "Mount it for writing, or choose another.")
    if error.errno in _BROKEN:
        next_step = "Check it and the way to it; then run the same command again."
        return DiskError(where, f"the disk does not answer ({error.strerror})", "one that works", next_step)
    if isinstance(error, PermissionError):
        return DiskError(
            where, "no permission", "a place that can be read and written", "Change its permissions, or choose another."
        )
    if isinstance(error, FileNotFoundError):
        return WhelpError(where, "there is no such file or folder", "", "Check the spelling.")
    if isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)):
        return WhelpError(where, error.strerror.lower() if error.strerror else str(error), "", "Choose another path.")
    return None


def _name_meant(filename: object) -> str:
    """The file that was asked for, of the name under which it is written.   'a/.b.html.tmp' -> 'a/b.html'"""
    folder, name = os.path.split(os.fsdecode(filename) if isinstance(filename, (str, bytes, os.PathLike)) else str(filename))
    for ending in (".tmp", ".partial"):
        if name.startswith(".") and name.endswith(ending) and len(name) > len(ending):
            name = name[1 : -len(ending)]
    return os.path.join(folder, name)
