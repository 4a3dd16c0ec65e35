"""Is a folder finished, of the right kind, whole, and not too new?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whelp.artifacts.manifest import (
    NAME,
    VERSION,
    Manifest,
    describe_files,
    find_damage,
    find_kind,
    read_manifest,
    write_manifest,
)
from whelp.base.errors import ArtifactError
from whelp.base.files import read_json, write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished token store of two files."""
    folder = tmp_path / "store"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "a.arrow").write_bytes(b"0123456789")
    (folder / "b.json").write_bytes(b"{}")
    files = describe_files(folder, ["train/a.arrow", "b.json"])
    write_manifest(folder, Manifest(kind="token_store", config={"x": 1}, counts={"n": 2}, inputs={"s": "é"}, files=files))
    return folder


def edit(folder: Path, **values: Any) -> None:
    """Change values of the manifest."""
    write_json(folder / NAME, {**read_json(folder / NAME), **values})


def test_round_trip(folder: Path) -> None:
    """What is written is read again."""
    manifest = read_manifest(folder, "token_store")
    assert (manifest.kind, manifest.version, manifest.config) == ("token_store", VERSION, {"x": 1})
    assert (manifest.counts, manifest.inputs) == ({"n": 2}, {"s": "é"})
    assert manifest.files["train/a.arrow"]["bytes"] == 10
    assert find_kind(folder) == "token_store"


def test_fingerprint_is_of_the_contents(folder: Path) -> None:
    """The same files have the same fingerprint, whatever config and counts say; an edited one has another."""
    before = read_manifest(folder, "token_store").fingerprint
    edit(folder, counts={}, config={})
    assert read_manifest(folder, "token_store").fingerprint == before
    (folder / "b.json").write_bytes(b"[]")
    files = describe_files(folder, ["train/a.arrow", "b.json"])
    assert Manifest(kind="token_store", files=files).fingerprint != before
    assert Manifest(kind="other", files=files).fingerprint != Manifest(kind="token_store", files=files).fingerprint


def test_no_folder(tmp_path: Path) -> None:
    """A missing folder: which command makes one."""
    message = r"gone: there is no such folder, but expected a token store\. Make one with `whelp prepare`\.$"
    with pytest.raises(ArtifactError, match=message):
        read_manifest(tmp_path / "gone", "token_store")
    assert find_kind(tmp_path / "gone") is None


def test_unfinished(folder: Path) -> None:
    """Without a manifest a folder is not finished, or not the right one; a run is called one."""
    (folder / NAME).unlink()
    message = (
        r"it has no manifest\.json, so it is not a finished token store\. "
        r"Give the folder that `whelp prepare` wrote; if it was stopped, run it again: it goes on\.$"
    )
    with pytest.raises(ArtifactError, match=message):
        read_manifest(folder, "token_store")
    assert find_kind(folder) is None
    (folder / "checkpoints").mkdir()
    (folder / "plan.json").write_text("{}")
    with pytest.raises(
        ArtifactError, match=r"is a run, but expected a token store\. Give the folder that `whelp prepare` wrote"
    ):
        read_manifest(folder, "token_store")


def test_wrong_kind(folder: Path) -> None:
    """Another kind is named, with the command whose folder is wanted."""
    message = r"store: is a token store, but expected a checkpoint\. Give the folder that `whelp train` wrote\.$"
    with pytest.raises(ArtifactError, match=message):
        read_manifest(folder, "checkpoint")


def test_newer(folder: Path) -> None:
    """A newer format asks for an update, also when it has fields that are not known here."""
    message = rf"written by a newer whelp \(format 99\), but expected format {VERSION}\. Update whelp\.$"
    edit(folder, version=99)
    with pytest.raises(ArtifactError, match=message):
        read_manifest(folder, "token_store")
    edit(folder, a_new_field=1)
    with pytest.raises(ArtifactError, match=message):
        read_manifest(folder, "token_store")


def test_older(folder: Path) -> None:
    """An older format is made again."""
    edit(folder, version=1)
    message = rf"written by an older whelp \(format 1\), but expected format {VERSION}\. Run `whelp prepare` again\.$"
    with pytest.raises(ArtifactError, match=message):
        read_manifest(folder, "token_store")


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "5", '{"kind": "token_store", "wat": 1}', '{"version": 2}', "\x00"),
        '{"kind": "token_store", "counts": []}',
        '{"kind": "token_store", "files": {"a.arrow": 10}}',
        '{"kind": "token_store", "files": {"a.arrow": {"checksum": "0"}}}',
        '{"kind": "token_store", "files": {"a.arrow": {"bytes": 10}}}',
    ],
)
def test_manifest_that_cannot_be_read(folder: Path, content: str) -> None:
    """A broken manifest is named, and is of no kind or lacks what it must have."""
    (folder / NAME).write_text(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json: cannot be read .*Run `whelp prepare` again\.$"):
        read_manifest(folder, "token_store")


def test_damaged_file(folder: Path) -> None:
    """A file of another size, or none, is named; the same size with other bytes is found by reading it all."""
    path = folder / "train" / "a.arrow"
    path.write_bytes(b"012345678x")
    assert find_damage(folder, read_manifest(folder, "token_store")) == ["train/a.arrow"]
    path.write_bytes(b"01234")
    message = r"a\.arrow: has 5 bytes, but expected 10 bytes\. The folder is damaged: run `whelp prepare` again\.$"
    with pytest.raises(ArtifactError, match=message):
        read_manifest(folder, "token_store")
    path.unlink()
    with pytest.raises(ArtifactError, match=r"a\.arrow: is missing, but expected 10 bytes"):
        read_manifest(folder, "token_store")


def test_whole_folder_has_no_damage(folder: Path) -> None:
    """Untouched bytes are whole; files that the manifest does not name do not matter."""
    (folder / "notes.txt").write_text("mine")
    assert find_damage(folder, read_manifest(folder, "token_store")) == []
