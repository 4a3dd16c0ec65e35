"""`whelp append`: one file of many, in a stated order, with nothing lost and nothing twice."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import whelp
from growing import finish_with_stops
from whelp.base.errors import ConfigError, SourceError

from .helpers import Whelp


def write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def test_lines_keep_their_borders(tmp_path: Path) -> None:
    """A file without a last line feed does not join the next; none is added to one that has it."""
    paths = write(tmp_path, {"a.jsonl": b'{"n":1}\n{"n":2}', "b.jsonl": b'{"n":3}\n', "c.jsonl": b"", "d.jsonl": b'{"n":4}'})
    result = whelp.append(paths, out=tmp_path / "o.jsonl")
    assert (tmp_path / "o.jsonl").read_bytes() == b'{"n":1}\n{"n":2}\n{"n":3}\n{"n":4}\n'
    assert (result.num_lines, [Path(file).name for file in result.files]) == (4, ["a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl"])


def test_texts_become_utf_8(tmp_path: Path) -> None:
    """Encodings, marks, line ends and packing go; a blank line, or what is asked for, stands between two files."""
    paths = write(
        tmp_path,
        {
            "a.txt": "Grüße\r\nzwei\r\n".encode("cp1252"),
            "b.txt": b"\xef\xbb\xbfdrei",
            "c.txt.gz": gzip.compress("犬\n".encode()),
            "d.md": "ü".encode("utf-16"),
        },
    )
    whelp.append(paths, out=tmp_path / "o.txt")
    assert (tmp_path / "o.txt").read_text(encoding="utf-8") == "Grüße\nzwei\n\ndrei\n\n犬\n\nü\n"
    whelp.append(paths[:2], out=tmp_path / "p.txt", separator="<|endoftext|>\n")
    assert (tmp_path / "p.txt").read_text(encoding="utf-8") == "Grüße\nzwei\n<|endoftext|>\ndrei\n"


@pytest.mark.parametrize("separator", ["\n", "", "\n%%\n", "<|endoftext|>"])
def test_lines_are_those_of_the_new_file(tmp_path: Path, separator: str) -> None:
    """As `wc -l` counts them: what stands between two files is among them."""
    paths = write(tmp_path, {"a.txt": b"a\nb", "b.txt": b"c\n", "c.txt": b"d"})
    result = whelp.append(paths, out=tmp_path / "o.txt", separator=separator)
    assert result.num_lines == (tmp_path / "o.txt").read_bytes().count(b"\n")


def test_what_is_shown(whelp: Whelp, tmp_path: Path) -> None:
    """The files in their order, as they are seen from here, then the new one."""
    write(tmp_path / "in", {f"{number:02}.txt": b"a\n" for number in range(12)})
    shown = whelp("append", "in/11.txt", "in", "--out", "o.txt").said
    assert shown.endswith("is given twice, but expected each file once. Its rows would be there twice; take one out.")
    lines = whelp("append", "in/11.txt", *(f"in/{number:02}.txt" for number in range(11)), "--out", "o.txt").stderr.splitlines()
    assert lines[0].split() == ["from", "in/11.txt"]
    assert [line.strip() for line in lines[1:10]] == [f"in/{number:02}.txt" for number in range(9)]
    assert lines[10].strip() == "... 2 more"
    assert lines[11].split(maxsplit=1) == ["file", "o.txt: 23 lines, 35 bytes"]


def test_a_folder_by_name_without_the_output(tmp_path: Path) -> None:
    """Run again, the output in the folder is not appended to itself."""
    write(tmp_path / "in", {"b.txt": b"b\n", "a.txt": b"a\n", "10.txt": b"10\n"})
    for _ in range(2):
        result = whelp.append(tmp_path / "in", out=tmp_path / "in" / "all.txt", separator="")
        assert (tmp_path / "in" / "all.txt").read_text() == "10\na\nb\n"
    assert result.is_reused


@pytest.mark.parametrize("separator", ["\n", "", "--\n"])
def test_stopped_it_goes_on(separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any write, in the middle of a file too: the same bytes."""
    monkeypatch.setattr("whelp.corpus.append_files.BLOCK_BYTES", 7)
    paths = write(tmp_path, {f"{number}.txt": f"text number {number}\n".encode() * number for number in range(8)})
    whelp.append(paths, out=tmp_path / "whole.txt", separator=separator)

    def append() -> Any:
        return whelp.append(paths, out=tmp_path / "o.txt", separator=separator)

    assert finish_with_stops(append, monkeypatch, every=4)[1] > 5
    assert (tmp_path / "o.txt").read_bytes() == (tmp_path / "whole.txt").read_bytes()


def test_what_cannot_be_appended(tmp_path: Path) -> None:
    """Several kinds, rows with headers, no text, the wrong ending, too much."""
    write(
        tmp_path, {"a.txt": b"a", "b.jsonl": b"{}", "c.csv": b"a,b", "d.bin": b"\0\1", "e.jsonl.gz": gzip.compress(b"{}")[:-3]}
    )
    for files, out, message in (
        (["a.txt", "b.jsonl"], "o.txt", "is text, but"),
        (["c.csv"], "o.csv", "holds rows that cannot be laid end to end"),
        (["d.bin"], "o.txt", "contains NUL bytes"),
        (["b.jsonl"], "o.txt", "would hold JSON lines, but expected a name that ends in .jsonl"),
        (["a.txt"], "o.jsonl", "would hold text"),
        (["e.jsonl.gz"], "o.jsonl", "cut off or broken gzip data"),
        (["a.txt", "a.txt"], "o.txt", "is given twice"),
        (["no.txt"], "o.txt", "no.txt: there is no such file or folder, but expected a file, a folder or a glob."),
    ):
        with pytest.raises(SourceError) as caught:
            whelp.append([tmp_path / file for file in files], out=tmp_path / out)
        assert message in str(caught.value)
        assert not (tmp_path / out).exists()
    with pytest.raises(ConfigError, match="the files have 1 bytes, more than 0"):
        whelp.append(tmp_path / "a.txt", out=tmp_path / "o.txt", max_bytes=0)


def test_in_the_terminal(whelp: Whelp, tmp_path: Path) -> None:
    """The order is shown; sizes are read as people write them."""
    write(tmp_path / "in", {"b.jsonl": b"{}\n", "a.jsonl": b'{"x": 1}'})
    result = whelp("append", "in/b.jsonl", "in/a.jsonl", "--out", "o.jsonl", "--max-bytes", "2.5GB", "--json").json
    assert (result["num_lines"], result["files"]) == (2, [str(tmp_path / "in" / "b.jsonl"), str(tmp_path / "in" / "a.jsonl")])
    assert [json.loads(line) for line in Path("o.jsonl").read_text().splitlines()] == [{}, {"x": 1}]
    shown = whelp("append", "in/b.jsonl", "in/a.jsonl", "--out", "o.jsonl")
    assert "the file is finished" in shown.said
    assert shown.said.index("b.jsonl") < shown.said.index("a.jsonl")
    wrong = whelp("append", "in", "--out", "p.jsonl", "--max-bytes", "lots")
    assert (wrong.code, "'lots' is no size" in wrong.said) == (1, True)


def test_broken_characters_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of UTF-8 with a bad byte stays UTF-8, and what was replaced is told with its file."""
    path = tmp_path / "a.txt"
    path.write_bytes("naïve à la ".encode() + b"caf\xe9")
    whelp.append(path, out=tmp_path / "o.txt")
    assert (tmp_path / "o.txt").read_text(encoding="utf-8") == "naïve à la caf\ufffd\n"
    assert f"{path}: bytes that are not UTF-8, read as U+FFFD: 1" in caplog.text


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_append_does_not_take_an_array_for_lines(tmp_path: Path, name: str) -> None:
    """What holds one array is refused, whatever its name, with what makes lines of it."""
    path = tmp_path / name
    path.write_text('[\n{"text": "one"},\n{"text": "two"}\n]\n')
    with pytest.raises(SourceError, match=r"jq -c '\.\[\]' FILE > FILE.jsonl"):
        whelp.append(path, out=tmp_path / "o.jsonl")


def test_paths_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In messages; the results and what is found again later go by the whole paths."""
    write(tmp_path, {"data/a.txt": b"a", "data/b.jsonl": b"{}", "c.txt": b"c"})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"\Adata/a\.txt: is text, but data/b\.jsonl holds JSON lines"):
        whelp.append("data", out="o.txt")
    with pytest.raises(SourceError, match=r"\Ac\.txt: is given twice"):
        whelp.append(["c.txt", "data/../c.txt"], out="o.txt")
    with pytest.raises(SourceError, match=rf"\A{tmp_path}/data/a\.txt: is text, but {tmp_path}/data/b\.jsonl holds"):
        whelp.append(tmp_path / "data", out="o.txt")
    assert not whelp.append(["c.txt", "data/a.txt"], out="o.txt").is_reused
    again = whelp.append([tmp_path / "c.txt", tmp_path / "data/a.txt"], out="o.txt")
    assert (again.is_reused, again.files) == (True, [str(tmp_path / "c.txt"), str(tmp_path / "data/a.txt")])
    monkeypatch.chdir(tmp_path / "data")
    assert whelp.append(["../c.txt", "a.txt"], out="../o.txt").is_reused
