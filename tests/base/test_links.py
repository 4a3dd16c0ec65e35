"""Links that lead elsewhere in one step, with and without a system that has them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from whelp.base.links import follow_link, is_link, point_link


@pytest.fixture(params=["links", "no links", "Windows"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders beside each other, where links are made, where they cannot be, and where nobody tries."""

    def refuse(*args: object) -> None:
        raise OSError("Operation not supported")

    if request.param != "links":
        monkeypatch.setattr(os, "symlink", refuse)
    if request.param == "Windows":
        monkeypatch.setattr(sys, "platform", "win32")
    for name in ("step-1", "step-2"):
        (tmp_path / "run" / name).mkdir(parents=True)
    return tmp_path / "run"


def test_a_link_leads_elsewhere(folder: Path) -> None:
    """Wherever it was moved with its folder, it leads to what it was pointed at last, and nothing is left beside it."""
    for name in ("step-1", "step-2"):
        point_link(folder / "last", name)
        assert is_link(folder / "last")
        assert follow_link(folder / "last").resolve() == (folder / name).resolve()
    assert sorted(path.name for path in folder.iterdir()) == ["last", "step-1", "step-2"]
    moved = folder.rename(folder.with_name("moved"))
    assert follow_link(moved / "last").resolve() == (moved / "step-2").resolve()


def test_kinds_replace_each_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on where there are links again has one."""
    point_link(folder / "last", "step-1")
    monkeypatch.undo()
    point_link(folder / "last", "step-2")
    assert (folder / "last").is_symlink()
    assert (folder / "last").resolve().name == "step-2"


@pytest.mark.parametrize("content", ["step-3", "", "../step-1", "step-1\nstep-2", "x" * 400, "\udcff"])
def test_other_files_are_no_links(tmp_path: Path, content: str) -> None:
    """A file that names no folder beside it is a file; so is what is not there."""
    (tmp_path / "step-1").mkdir()
    path = tmp_path / "last"
    path.write_text(content, encoding="utf-8", errors="surrogateescape")
    assert not is_link(path)
    assert follow_link(path) == path
    assert follow_link(tmp_path / "nothing") == tmp_path / "nothing"
    assert follow_link(tmp_path / "step-1") == tmp_path / "step-1"
