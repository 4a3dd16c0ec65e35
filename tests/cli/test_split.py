"""`whelp split`: the parts, laid end to end, are the file; no part is larger than asked; no document is cut."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import whelp
from whelp.base.errors import ArtifactError, ConfigError, PlanError, SourceError
from whelp.corpus.split_file import DocumentTooLarge, iter_slices

from .helpers import Whelp

TEXT = st.text(alphabet="ab\n \té", max_size=80).map(str.encode)


@given(data=TEXT, size=st.integers(1, 9), most=st.integers(1, 40), border=st.sampled_from(["line", "blank_line"]))
@settings(max_examples=150, deadline=None)
def test_parts_are_the_file(data: bytes, size: int, most: int, border: str) -> None:
    """However it is read: every byte once, in order, every border between documents, every part as full as can be."""
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    documents = re.findall(rb".*?\n(?:[ \t\r]*\n)+|.+\Z" if border == "blank_line" else rb".*?\n|.+\Z", data, re.DOTALL)
    parts: dict[int, bytes] = {}
    counted = 0
    try:
        for piece in iter_slices(blocks, border, max_bytes=most):  # type: ignore[arg-type]
            parts[piece.part] = parts.get(piece.part, b"") + piece.data
            counted += piece.num_borders
    except DocumentTooLarge:
        assert max(map(len, documents)) > most
        return
    assert b"".join(parts.values()) == data
    assert list(parts) == list(range(len(parts)))
    expected = [b""] if documents else []
    for document in documents:
        if expected[-1] and len(expected[-1]) + len(document) > most:
            expected.append(b"")
        expected[-1] += document
    assert list(parts.values()) == expected
    assert counted == len(documents)
    assert all(len(part) <= most for part in parts.values())


def test_lines_and_blank_lines(tmp_path: Path) -> None:
    """JSON lines after lines, text after blank lines, or as asked; names count from one."""
    (tmp_path / "a.jsonl").write_bytes(b'{"n":1}\n{"n":2}\n{"n":3}\n')
    result = whelp.split(tmp_path / "a.jsonl", out=tmp_path / "lines", max_bytes=16)
    assert [Path(file).name for file in result.files] == ["a-00001.jsonl", "a-00002.jsonl"]
    assert ([Path(file).read_bytes() for file in result.files], result.num_documents) == (
        [b'{"n":1}\n{"n":2}\n', b'{"n":3}\n'],
        [2, 1],
    )
    (tmp_path / "b.txt").write_bytes(b"one\ntwo\n\n\nthree\n\nfour")
    result = whelp.split(tmp_path / "b.txt", out=tmp_path / "blank", max_bytes=17)
    assert [Path(file).read_bytes() for file in result.files] == [b"one\ntwo\n\n\nthree\n\n", b"four"]
    result = whelp.split(tmp_path / "b.txt", out=tmp_path / "line", max_bytes=6, document="line")
    assert b"".join(Path(file).read_bytes() for file in result.files) == (tmp_path / "b.txt").read_bytes()
    assert max(result.num_bytes) <= 6


@pytest.mark.parametrize("packed", [False, True])
def test_so_many_parts(packed: bool, tmp_path: Path) -> None:
    """Of about one size, none lost: not even the lines that do not divide."""
    data = b"".join(b'{"n": %d}\n' % number for number in range(1003))
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    path.write_bytes(gzip.compress(data) if packed else data)
    result = whelp.split(path, out=tmp_path / "parts", parts=7)
    assert [Path(file).name for file in result.files] == [f"a-{number:05}.jsonl" for number in range(1, 8)]
    assert b"".join(Path(file).read_bytes() for file in result.files) == data
    assert sum(result.num_documents) == 1003
    assert max(result.num_bytes) - min(result.num_bytes) < 20


def test_run_again(tmp_path: Path) -> None:
    """A finished folder stays; other options or something else are said, and nothing is touched."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n" * 9)
    first = whelp.split(path, out=tmp_path / "parts", parts=3)
    before = {file: Path(file).stat().st_mtime_ns for file in first.files}
    again = whelp.split(path, out=tmp_path / "parts", parts=3)
    assert (again.is_reused, again.num_documents) == (True, first.num_documents)
    with pytest.raises(ArtifactError, match=r"holds the parts of another file or of other options \(parts\)"):
        whelp.split(path, out=tmp_path / "parts", parts=2)
    assert {file: Path(file).stat().st_mtime_ns for file in first.files} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    with pytest.raises(ArtifactError, match="something else stands there"):
        whelp.split(path, out=tmp_path / "mine")
    Path(first.files[0]).write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"has 0 bytes, but expected 9 bytes. The folder is damaged"):
        whelp.split(path, out=tmp_path / "parts", parts=3)


def test_what_cannot_be_split(tmp_path: Path) -> None:
    """Each says what to do instead, and leaves no folder."""
    (tmp_path / "a.jsonl").write_bytes(b'{"n":1}\n' + b"x" * 99 + b"\n")
    (tmp_path / "b.txt").write_bytes(b"one\n\n" + b"x\n" * 50)
    (tmp_path / "c.csv").write_bytes(b"a,b\n")
    (tmp_path / "d.txt").write_bytes("one\n".encode("utf-16"))
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 99)[:-9])
    for name, options, kind, message in (
        ("a.jsonl", {"max_bytes": 50}, PlanError, "a document at byte 8 has 100 bytes or more, but expected at most 50 bytes"),
        ("b.txt", {"max_bytes": 50}, PlanError, "or --document line"),
        ("a.jsonl", {"parts": 3}, PlanError, "can be cut between documents into 2 only, but expected 3 parts"),
        ("a.jsonl", {"parts": 0}, ConfigError, "A file has at least one part"),
        ("a.jsonl", {"parts": 2, "max_bytes": 5}, ConfigError, "--max-bytes and --parts are both given"),
        ("a.jsonl", {"document": "page"}, ConfigError, "'page' is no place to cut"),
        ("c.csv", {}, SourceError, "holds rows that cannot be cut at lines"),
        ("d.txt", {}, SourceError, "UTF-16 or no text"),
        ("e.jsonl.gz", {}, SourceError, "cut off or broken gzip data"),
        ("no.txt", {}, SourceError, "there is no such file"),
        (".", {}, SourceError, "is a folder"),
    ):
        with pytest.raises(kind) as caught:
            whelp.split(tmp_path / name, out=tmp_path / "parts", **options)  # type: ignore[arg-type]
        assert message in str(caught.value)
        assert not (tmp_path / "parts").exists()


def test_in_the_terminal(whelp: Whelp, tmp_path: Path) -> None:
    """Append what was split: the file again."""
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n' * 500)
    result = whelp("split", "a.jsonl", "--max-bytes", "1kB", "--out", "parts", "--json").json
    assert (sum(result["num_documents"]), max(result["num_bytes"])) == (500, 999)
    assert whelp("append", "parts/*.jsonl", "--out", "b.jsonl").code == 0
    assert Path("b.jsonl").read_bytes() == Path("a.jsonl").read_bytes()
    assert "part" in whelp("split", "a.jsonl", "--max-bytes", "1kB", "--out", "parts").said


def test_the_same_file_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parts are found again, however its path is written."""
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n' * 5)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not whelp.split("a.jsonl", out="parts", parts=2).is_reused
    monkeypatch.chdir(tmp_path / "below")
    assert whelp.split("../a.jsonl", out="../parts", parts=2).is_reused
    assert whelp.split(tmp_path / "a.jsonl", out=tmp_path / "parts", parts=2).is_reused


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_split_does_not_take_an_array_for_lines(tmp_path: Path, name: str) -> None:
    """What holds one array is refused, whatever its name, with what makes lines of it."""
    path = tmp_path / name
    path.write_text('[\n{"text": "one"},\n{"text": "two"}\n]\n')
    with pytest.raises(SourceError, match=r"jq -c '\.\[\]' FILE > FILE.jsonl"):
        whelp.split(path, out=tmp_path / "parts")


def test_the_folder_of_parts_is_a_source(tmp_path: Path) -> None:
    """What lies beside the parts is no part of the corpus, and the parts by their names are the file."""
    path = tmp_path / "all.jsonl"
    path.write_text("".join(f'{{"text": "number {number}"}}\n' for number in range(6)))
    whelp.split(path, out=tmp_path / "parts", parts=3)
    assert b"".join(part.read_bytes() for part in sorted((tmp_path / "parts").glob("all-*.jsonl"))) == path.read_bytes()
    store = whelp.prepare(
        {"data": {"source": str(tmp_path / "parts"), "tokenizer": {"learn": "chars"}, "test_split": 0}}, out=tmp_path / "store"
    )
    assert store.splits["train"]["documents"] == 6
