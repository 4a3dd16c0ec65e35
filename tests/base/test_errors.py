"""The text of errors, and what the system's own errors become."""

from __future__ import annotations

import copy
import errno
import json
import pickle
from pathlib import Path

import pytest

from whelp.base import errors
from whelp.base.errors import (
    ArtifactError,
    ConfigError,
    DiskError,
    MissingExtraError,
    StaleError,
    WhelpError,
    explain_os_error,
    say_first_line,
)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("a.txt", "it is empty"), "a.txt: it is empty."),
        (("a.txt", "it is empty", "text"), "a.txt: it is empty, but expected text."),
        (("a.txt", "it is empty", "", "Add some."), "a.txt: it is empty. Add some."),
        (("a.txt", "it is empty", "text", "Add some."), "a.txt: it is empty, but expected text. Add some."),
        ((Path("b") / "a.txt", "it is empty"), f"{Path('b') / 'a.txt'}: it is empty."),
    ],
)
def test_text_of_an_error(parts: tuple[str, ...], text: str) -> None:
    """Where, what was found, what was expected, what to do next; parts may be left out."""
    assert str(WhelpError(*parts)) == text


def test_one_problem_and_many() -> None:
    """One problem is a sentence, more are a list; a full stop is never doubled."""
    assert str(ConfigError("a.yaml", ["x is bad"])) == "a.yaml: x is bad."
    assert str(ConfigError("a.yaml", ["x is bad."], "Mend it.")) == "a.yaml: x is bad. Mend it."
    assert str(ConfigError("a.yaml", ["no x. Did you mean y?"])) == "a.yaml: no x. Did you mean y?"
    assert str(ConfigError("a.yaml", ["x is bad", "y too"], "Mend both.")) == (
        "a.yaml: 2 problems\n  - x is bad\n  - y too\nMend both."
    )
    assert str(ConfigError("a.yaml", ["x is bad", "y too"])) == "a.yaml: 2 problems\n  - x is bad\n  - y too"


def test_missing_extra_names_the_command() -> None:
    """A missing package comes with the line that installs it."""
    assert 'pip install "whelp[hub]"' in str(MissingExtraError("a hub source", "datasets", "hub"))


def test_one_tree() -> None:
    """Every error class of the room is a WhelpError, with a docstring; a stale folder is a folder in trouble."""
    classes = [value for name, value in vars(errors).items() if name.endswith("Error") and isinstance(value, type)]
    assert len(classes) >= 10
    assert all(issubclass(kind, WhelpError) and kind.__doc__ for kind in classes)
    assert issubclass(StaleError, ArtifactError)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, DiskError, "out: the disk is full, but expected free space. Free some"),
        (errno.EDQUOT, DiskError, "out: the disk is full"),
        (errno.EROFS, DiskError, "out: the disk is read-only, but expected one that can be written"),
        (errno.EIO, DiskError, "out: the disk does not answer (?), but expected one that works. Check it"),
        (errno.EACCES, DiskError, "out: no permission, but expected a place that can be read and written"),
        (errno.EPERM, DiskError, "out: no permission"),
        (errno.ENOENT, WhelpError, "out: there is no such file or folder. Check the spelling."),
        (errno.ENOTDIR, WhelpError, "out: not a directory. Choose another path."),
        (errno.EISDIR, WhelpError, "out: is a directory. Choose another path."),
        (errno.EEXIST, WhelpError, "out: file exists. Choose another path."),
    ],
)
def test_system_errors_explained(number: int, kind: type[WhelpError], words: str) -> None:
    """An error of the system that a user can mend is said in our form, with the path."""
    message = {errno.ENOTDIR: "Not a directory", errno.EISDIR: "Is a directory", errno.EEXIST: "File exists"}
    explained = explain_os_error(OSError(number, message.get(number, "?"), "out"))
    assert type(explained) is kind
    assert str(explained).startswith(words)


def test_system_errors_without_a_path_and_others() -> None:
    """Without a path it is a stream that cannot be written; what a user cannot mend is not explained away."""
    explained = explain_os_error(OSError(errno.ENOSPC, "No space left on device"))
    assert str(explained).startswith("the output: the disk is full, but expected free space. Free some, or write elsewhere;")
    assert explain_os_error(OSError(errno.ECONNRESET, "Connection reset")) is None


def test_the_name_that_was_asked_for() -> None:
    """A file is written under another name first; people know the one they gave."""
    for name in ("a/.page.html.tmp", "a/.page.html.partial", "a/page.html"):
        assert str(explain_os_error(OSError(errno.EACCES, "?", name))).startswith("a/page.html: no permission"), name
    assert str(explain_os_error(OSError(errno.EACCES, "?", b"a/.tmp"))).startswith("a/.tmp: no permission")


def test_a_real_missing_file(tmp_path: Path) -> None:
    """What `open` raises is understood."""
    with pytest.raises(OSError, match="missing") as caught:
        (tmp_path / "missing").read_text()
    assert str(explain_os_error(caught.value)).startswith(f"{tmp_path / 'missing'}: there is no such file")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("sizes differ"), "sizes differ"),
        (ValueError("sizes differ.\nSee the manual."), "sizes differ"),
        (ValueError("\n\n  sizes\tdiffer.  \r\nSee the manual."), "sizes differ"),
        (
            RuntimeError("Error(s) in loading:\n\tMissing keys:\n\n\t\ta, b.\n\tUnexpected keys: c"),
            "Error(s) in loading: Missing keys: a, b",
        ),
        (RuntimeError("nothing follows:\n"), "nothing follows"),
        (KeyError("size"), "'size' is missing"),
        (KeyError(3), "3 is missing"),
        (KeyError("no table is called rows"), "no table is called rows"),
        (KeyError("two", "arguments"), "('two', 'arguments')"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.txt"), "No such file or directory: 'a.txt'"),
        (
            UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "unexpected end"),
            "'utf-8' codec can't decode byte 0xe9 in position 0: unexpected end",
        ),
        (ValueError("x" * 200), "x" * 200),
        (ValueError("x" * 5000), "x" * 200 + "..."),
    ],
)
def test_the_first_line_of_an_error(error: Exception, words: str) -> None:
    """One line, as it stands in brackets in a message of ours: no full stop, no line break, no quoted message, no page of text."""
    assert say_first_line(error) == words
    assert say_first_line(error, with_kind=True) == f"{type(error).__name__}: {words}"


@pytest.mark.parametrize("error", [EOFError(), EOFError(""), EOFError(" \n.")])
def test_an_error_without_words_is_called_by_its_class(error: Exception) -> None:
    """Empty brackets would say nothing."""
    assert say_first_line(error) == say_first_line(error, with_kind=True) == "EOFError"


@pytest.mark.parametrize(
    "error",
    [
        WhelpError("a.txt", "is empty", "text", "Fill it."),
        errors.ConfigError("recipe", ["one", "two"], "Mend it."),
        errors.MissingExtraError("whelp serve", "starlette", "serve"),
        errors.StaleError(Path("store"), "is old"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_whole_from_other_processes(error: WhelpError) -> None:
    """A pool of processes sends them as pickles, and one that cannot be read would end the pool; ours send them as JSON."""
    as_json = WhelpError.from_values(json.loads(json.dumps(error.to_values())))
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), as_json):
        assert type(other) is type(error)
        assert (str(other), vars(other)) == (str(error), vars(error))
