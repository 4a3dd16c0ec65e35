"""Paths as people write them."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import whelp
from whelp.base.errors import ConfigError
from whelp.base.paths import as_path


def test_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell; what is nobody's home is a name as others are."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert as_path("~/a") == as_path(Path("~") / "a") == tmp_path / "a"
    for other in ("~$letter.docx", "~nobody-of-that-name/a", "a/~/b", "a~"):
        assert as_path(other) == Path(other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (SimpleNamespace(folder="run"), "is a SimpleNamespace, but expected a text or a path. Give its field `folder`."),
        (3, "is a int, but expected a text or a path."),
    ],
)
def test_what_is_no_path(given: Any, message: str) -> None:
    """A result is not one, but has one."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        as_path(given)


def test_home_folders_are_known_in_one_place() -> None:
    """Whoever reads them otherwise makes a folder called `~`, or trips over a file whose name begins so."""
    package = Path(whelp.__file__).parent
    knows = [file.relative_to(package).as_posix() for file in package.rglob("*.py") if "expanduser" in file.read_text("utf-8")]
    assert knows == ["base/paths.py"]
