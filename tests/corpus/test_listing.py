"""Sources of files: what is listed, in which order and under which names, and what is refused before anything is read."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whelp.base.errors import SourceError
from whelp.corpus import count_skipped

from .test_source import make, read_rows, write


def test_order_and_labels(tmp_path: Path) -> None:
    """A folder is read in the order of names, hidden things left out."""
    write(tmp_path, {"b.txt": "b", "a/z.txt": "z", "a/.hidden": "h", ".git/config": "g", "a.txt": "a", "c/d/e.md": "e"})
    source = make(tmp_path)
    assert [file.label for file in source.files] == ["a.txt", "b.txt", "a/z.txt", "c/d/e.md"]
    assert count_skipped(source.skipped) == {"hidden": 2}
    assert source.document == "file"


def test_our_own_record_of_a_file_is_not_counted(tmp_path: Path) -> None:
    """What `whelp collect` and its like leave beside their file; without the file it is as hidden as any other."""
    write(tmp_path, {"a.jsonl": '{"text": "a"}\n', ".a.jsonl.manifest.json": "{}", ".b.jsonl.manifest.json": "{}"})
    source = make(tmp_path)
    assert [file.label for file in source.files] == ["a.jsonl"]
    assert [Path(file.path).name for file in source.skipped] == [".b.jsonl.manifest.json"]


def test_suffixes(tmp_path: Path) -> None:
    """Only the suffixes asked for are read, whatever their case."""
    write(tmp_path, {"a.TXT": "a", "b.md": "b", "c.py": "c"})
    source = make(tmp_path, include_suffixes=[".txt", ".md"])
    assert [file.label for file in source.files] == ["a.TXT", "b.md"]
    assert count_skipped(source.skipped) == {"other suffix": 1}


def test_globs_and_lists(tmp_path: Path) -> None:
    """Globs are sorted, a list keeps its order, and a file counts once."""
    write(tmp_path, {"b.txt": "b", "a.txt": "a", "x/c.txt": "c", "x/y/d.txt": "d", "odd[1].txt": "o"})
    assert [file.label for file in make(tmp_path / "*.txt").files] == ["a.txt", "b.txt", "odd[1].txt"]
    assert [file.label for file in make(tmp_path / "**" / "?.txt").files] == ["a.txt", "b.txt", "x/c.txt", "x/y/d.txt"]
    source = make([tmp_path / "x", tmp_path / "b.txt", tmp_path / "*.txt"])
    assert [file.label for file in source.files] == ["x/c.txt", "x/y/d.txt", "b.txt", "a.txt", "odd[1].txt"]
    assert count_skipped(source.skipped) == {"listed twice": 1}
    assert [file.label for file in make(tmp_path / "odd[1].txt").files] == ["odd[1].txt"]
    assert source.name.endswith("x and 2 more")


def test_links_that_lead_back_up(tmp_path: Path) -> None:
    """A link to a folder above does not go round for ever."""
    write(tmp_path, {"a/b.txt": "b"})
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [file.label for file in make(tmp_path).files] == ["a/b.txt"]


def test_a_folder_named_like_a_file(tmp_path: Path) -> None:
    """A folder called x.txt is a folder."""
    write(tmp_path, {"x.txt/a.txt": "a"})
    assert [file.label for file in make(tmp_path / "x.txt").files] == ["a.txt"]
    assert [file.label for file in make(tmp_path / "*.txt").files] == ["x.txt/a.txt"]


def test_file_names_of_any_bytes(tmp_path: Path) -> None:
    """A name that is not UTF-8 can be read, described and fingerprinted."""
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    try:
        with open(path, "wb") as file:
            file.write(b"text")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names; use another for TMPDIR")
    source = make(tmp_path)
    assert "caf" in json.dumps(source.describe())
    assert [row[1] for row in read_rows(source)] == ["text"]


# --- what is refused ---


def test_missing_path_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name suggests the right one, at the first part that is wrong."""
    write(tmp_path, {"data/poems.txt": "p"})
    with pytest.raises(SourceError, match=r"poem\.txt: there is no such file or folder, .*Did you mean poems\.txt\?"):
        make(tmp_path / "data" / "poem.txt")
    with pytest.raises(SourceError, match=r"has no datta\), .*Did you mean data\?"):
        make(tmp_path / "datta" / "x" / "poems.txt")
    with pytest.raises(SourceError, match=r"Check the spelling"):
        make(tmp_path / "zzz")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"stdlb: there is no such .*Did you mean stdlib\?"):
        make("stdlb")
    with pytest.raises(SourceError, match="there is no such file or folder"):
        make("Once upon a time " * 100 + "/ and so on " * 100)


def test_glob_without_match(tmp_path: Path) -> None:
    """A glob that matches nothing says where to look."""
    with pytest.raises(SourceError, match=rf"\*\.text: the glob matches nothing, .*Look at what is in {tmp_path}\."):
        make(tmp_path / "*.text")


def test_paths_in_messages_are_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path stays one in every message; what is kept of the files is the same as of the whole path."""
    write(
        tmp_path, {"data/rows.jsonl": '{"text": "a"}\n{', "data/zeros.txt": "\0", "data/empty.txt": "", "data/good.txt": "text"}
    )
    write(tmp_path, {"splits/test.jsonl": '{"text": "a"}\n', "splits/validation.jsonl": '{"text": "a"}\n'})
    monkeypatch.chdir(tmp_path)
    found: dict[str, str] = {}
    for item in (
        "data/rows.jsonl",
        "./data/../data/zeros.txt",
        "data/empty.txt",
        "data/no*.txt",
        "data/none/a.txt",
        "none/a.txt",
    ):
        with pytest.raises(SourceError) as caught:
            list(make(item).iter_partitions())
        found[item] = str(caught.value)
    assert found["data/rows.jsonl"].startswith("data/rows.jsonl, line 2: broken JSON")
    assert found["./data/../data/zeros.txt"].startswith("./data/../data/zeros.txt: contains NUL bytes")
    assert found["data/empty.txt"].startswith("data/empty.txt: the file is empty")
    assert found["data/no*.txt"].endswith("Look at what is in data.")
    assert found["data/none/a.txt"].startswith("data/none/a.txt: there is no such file or folder (data has no none)")
    assert found["none/a.txt"].startswith(f"none/a.txt: there is no such file or folder ({tmp_path} has no none)")
    with pytest.raises(SourceError, match=r"\Asplits: has no split 'dev'"):
        make("splits", source_dataset_split="dev")
    with pytest.raises(SourceError, match=rf"\A{tmp_path}/data/zeros\.txt: contains NUL bytes"):
        make(tmp_path / "data" / "zeros.txt")
    for item in ("data/good.txt", "data"):
        written, whole = (make(one, on_bad_files="skip", on_bad_rows="skip") for one in (item, tmp_path / item))
        assert {**written.describe(), "name": ""} == {**whole.describe(), "name": ""}
        assert [file.path for file in written.files] == [file.path for file in whole.files]
        assert written.skipped == whole.skipped


def test_empty_folder(tmp_path: Path) -> None:
    """An empty folder is an error."""
    with pytest.raises(SourceError, match="the folder is empty"):
        make(tmp_path)


def test_folder_without_text(tmp_path: Path) -> None:
    """A folder where nothing is text names the reasons, with counts."""
    write(tmp_path, {"a.bin": b"\0\1", "b.bin": b"x\0", "c.txt": "", "d.txt": " \n", ".e": "hidden"})
    message = r"none of the 5 files found can be read as text \(2 NUL bytes, 1 hidden, 1 empty, 1 only white space\).*a\.bin"
    with pytest.raises(SourceError, match=message):
        make(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty, but expected text\. Put some text into it"),
        (b" \n\t\n", "not text: only white space"),
        (b"abc\0def", r"contains NUL bytes \(first at byte 3\), but expected text\. If it is UTF-16"),
        (b"\x01\x02\x03", "binary data"),
        (b"abc\x81\x82", r"not UTF-8 text, nor Windows-1252 \(first bad byte 0x81 at byte 3\).*Set encoding"),
        (b"\x1f\x8b\x08", "gzip data, not text.*Unpack"),
    ],
)
def test_bad_named_file(tmp_path: Path, content: bytes, message: str) -> None:
    """A file named by the user that is not text stops before any work, also beside good ones."""
    write(tmp_path, {"a.txt": content, "good.txt": "good"})
    with pytest.raises(SourceError, match=message):
        make(tmp_path / "a.txt")
    if b" " not in content:
        with pytest.raises(SourceError, match=message):
            make([tmp_path / "good.txt", tmp_path / "a.txt"])
        source = make([tmp_path / "good.txt", tmp_path / "a.txt"], on_bad_files="skip")
        assert [row[1] for row in read_rows(source)] == ["good"]


def test_not_a_regular_file(tmp_path: Path) -> None:
    """A pipe or socket is refused, not waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="not a regular file"):
        make(tmp_path / "pipe")
    write(tmp_path, {"good.txt": "good"})
    with socket.socket(socket.AF_UNIX) as server:
        home = os.getcwd()
        os.chdir(tmp_path)  # a socket's path must be short
        try:
            server.bind("socket")
        finally:
            os.chdir(home)
        assert count_skipped(make(tmp_path).skipped) == {"not a file": 2}


def test_dangling_link(tmp_path: Path) -> None:
    """A link to nothing is an error when named, and skipped in a folder."""
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"gone\.txt: cannot be read \(no such file or directory\)"):
        make(tmp_path / "gone.txt")
    write(tmp_path, {"good.txt": "good"})
    [skipped] = make(tmp_path).skipped
    assert (skipped.path, skipped.kind) == ("gone.txt", "unreadable")
    with pytest.raises(SourceError, match=r"gone\.txt: cannot be read"):
        make(tmp_path, on_bad_files="stop")


def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be listed is an error; one inside a good folder is skipped."""
    write(tmp_path, {"locked/a.txt": "a", "good.txt": "good"})
    scan = os.scandir

    def scan_or_refuse(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_or_refuse)
    with pytest.raises(SourceError, match=r"locked: cannot be listed \(permission denied\), .*Change its permissions"):
        make(tmp_path / "locked")
    [skipped] = make(tmp_path).skipped
    assert (skipped.path, skipped.kind) == ("locked", "unreadable")


def test_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be opened is skipped among good ones, and an error when named."""
    write(tmp_path, {"a.txt": "a", "locked.txt": "b"})

    def refuse(real: Callable[..., Any]) -> Callable[..., Any]:
        def open_or_refuse(path: Any, *arguments: Any, **options: Any) -> Any:
            if str(path).endswith("locked.txt"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **options)

        return open_or_refuse

    monkeypatch.setattr("whelp.corpus.open_file.open", refuse(open), raising=False)
    monkeypatch.setattr(os, "open", refuse(os.open))
    [partition] = make(tmp_path).iter_partitions()
    assert [(file.path, file.reason) for file in partition.skipped] == [("locked.txt", "cannot be read (permission denied)")]
    with pytest.raises(SourceError, match="permission denied"):
        make(tmp_path / "locked.txt")
