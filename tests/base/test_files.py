"""Files and folders are whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from whelp.base import files
from whelp.base.errors import ArtifactError
from whelp.base.files import atomic_folder, hold_file, hold_folder, read_json, sync_file, write_atomic, write_json


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden things too."""
    return sorted(path.name for path in folder.iterdir())


def fail(*_: object) -> None:
    """Stand in for a system call on a full disk."""
    raise OSError(28, "No space left on device")


def write_half(target: Path, error: BaseException) -> None:
    """Fail in the middle of writing a folder."""
    with atomic_folder(target) as folder:
        (folder / "new").write_text("x")
        raise error


def test_write_atomic(tmp_path: Path) -> None:
    """Text or bytes, over an old file or none; nothing else stays in the folder."""
    write_atomic(tmp_path / "a", "é")
    assert (tmp_path / "a").read_bytes() == "é".encode()
    write_atomic(tmp_path / "a", b"\x00")
    assert (tmp_path / "a").read_bytes() == b"\x00"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A full disk costs the new contents, not the old; the error names the file."""
    path = tmp_path / "a"
    write_atomic(path, "old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_write_atomic_into_no_folder(tmp_path: Path) -> None:
    """A missing folder is an error, not made."""
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "a", "x")
    assert names(tmp_path) == []


def test_json(tmp_path: Path) -> None:
    """What is written as JSON is read again, and is readable by people."""
    value = {"b": [1, 2.5, None], "é": "日本"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "日本" in text
    assert text.endswith("}\n")


def test_json_that_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    """A value that is no JSON fails before the file is touched."""
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert read_json(tmp_path / "a.json") == 1
    assert names(tmp_path) == ["a.json"]


def test_folder_appears_whole(tmp_path: Path) -> None:
    """Until the block ends there is no folder of that name; its parents are made."""
    target = tmp_path / "deep" / "out"
    with atomic_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("x")
        assert not target.exists()
        assert folder.parent == target.parent
    assert (target / "sub" / "a").read_text() == "x"
    assert names(target.parent) == ["out"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_failed_folder_vanishes(tmp_path: Path, error: BaseException) -> None:
    """Whatever goes wrong inside, nothing is left; an error of the system gets the folder's name."""
    with pytest.raises(type(error)) as caught:
        write_half(tmp_path / "out", error)
    assert names(tmp_path) == []
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(tmp_path / "out")


def test_old_folder_is_replaced_at_the_end(tmp_path: Path) -> None:
    """The old contents stand until the new ones are whole, and nothing of them stays then."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("x")
    with atomic_folder(target) as folder:
        assert names(folder) == []
        (folder / "new").write_text("y")
        assert names(target) == ["old"]
    assert names(target) == ["new"]
    assert names(tmp_path) == ["out"]


def test_failed_replacement_keeps_the_old(tmp_path: Path) -> None:
    """When the new folder fails, the old one is as it was."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("x")
    with pytest.raises(ValueError, match="no"):
        write_half(target, ValueError("no"))
    assert names(target) == ["old"]
    assert names(tmp_path) == ["out"]


def test_leftovers_of_a_killed_run_are_cleared(tmp_path: Path) -> None:
    """A temporary folder that a killed process left is not mixed into the new one."""
    target = tmp_path / "out"
    for leftover in (".out.tmp", ".out.old"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "stale").write_text("x")
    target.mkdir()
    with atomic_folder(target) as folder:
        (folder / "a").write_text("x")
    assert names(target) == ["a"]
    assert names(tmp_path) == ["out"]


HOLDER = """
import sys, time
from pathlib import Path
from whelp.base import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(1000)
"""


def test_a_folder_is_held_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process is told so; when the first is killed, the folder is free at once, and nothing of the lock stays."""
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDER, "hold_folder", str(folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.0)
        with pytest.raises(ArtifactError, match="run: another process is writing into it"), hold_folder(folder):
            pytest.fail("it is held by another process")
        holder.kill()
    with hold_folder(folder):
        assert names(folder) == []
        (folder / "kept").touch()
    assert names(folder) == ["kept"]


def test_a_folder_that_is_held_here_is_named_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call of this process need not look for another process; after the first it may."""
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.0)
    with hold_folder(tmp_path / "run"):
        with pytest.raises(ArtifactError, match="run: this program is writing into it already"), hold_folder(tmp_path / "run"):
            pytest.fail("it is held by this process")
        (tmp_path / "run" / "kept").touch()
    with hold_folder(tmp_path / "run"):
        assert names(tmp_path / "run") == ["kept"]


def test_a_file_is_held_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process leaves of its lock holds nobody up, and goes with the next."""
    path = tmp_path / "x.jsonl"
    with subprocess.Popen([sys.executable, "-c", HOLDER, "hold_file", str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.0)
        with pytest.raises(ArtifactError, match=r"x\.jsonl: another process is writing into it"), hold_file(path):
            pytest.fail("it is held by another process")
        holder.kill()
    assert names(tmp_path) == [".x.jsonl.lock"]
    with hold_file(path):
        assert not path.exists()
    assert names(tmp_path) == []


def test_a_process_that_is_about_to_end_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just stopped may take a moment: the folder is taken when it is free."""
    first = hold_folder(tmp_path / "run")
    first.__enter__()
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(time, "sleep", lambda seconds: first.__exit__(None, None, None))
    with hold_folder(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_held_folder_that_stays_empty_goes(tmp_path: Path) -> None:
    """Nothing was written: nothing is left; and what stands there as a file is left to others to refuse."""
    with hold_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert names(tmp_path / "a") == []
    (tmp_path / "file").touch()
    with hold_folder(tmp_path / "file"):
        assert (tmp_path / "file").is_file()


def test_files_are_synced_as_windows_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open for writing; a file that may not be written, as a copy of another's may be, is left to the system."""
    modes, really_open = [], open

    def note_mode(path: Any, mode: str = "r", **options: Any) -> Any:
        modes.append(mode)
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return really_open(path, mode, **options)

    for name in ("free", "locked"):
        (tmp_path / name).write_bytes(b"1")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("builtins.open", note_mode)
    sync_file(tmp_path / "free")
    sync_file(tmp_path / "locked")
    assert modes == ["r+b", "r+b"]
    assert (tmp_path / "free").read_bytes() == b"1"
