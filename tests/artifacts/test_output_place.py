"""Places to write to: what is free, and what is said of one that is not."""

from __future__ import annotations

from pathlib import Path

from whelp.artifacts.output_place import is_free, refuse_place


def test_what_is_free(tmp_path: Path) -> None:
    """No place at all, and an empty folder; a file is not free, however empty, nor is a folder with a hidden file."""
    empty, file, filled = tmp_path / "empty", tmp_path / "file", tmp_path / "filled"
    empty.mkdir()
    file.touch()
    filled.mkdir()
    (filled / ".hidden").touch()
    assert [is_free(place) for place in (tmp_path / "none" / "below", empty, file, filled)] == [True, True, False, False]


def test_the_refusal() -> None:
    """It names the place, what may stand there, and what to do."""
    next_step = "Choose another --out; nothing was changed."
    assert str(refuse_place(Path("out"), "a run")) == (
        f"out: something else stands there, but expected an empty place or a run. {next_step}"
    )
    assert str(refuse_place(Path("out"), "a run", "is a file")) == (
        f"out: is a file, but expected an empty place or a run. {next_step}"
    )
