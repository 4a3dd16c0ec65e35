"""Many small files read together are the documents that each of them would be by itself."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import numpy as np
import pytest

import whelp.corpus.open_file
from whelp.base.hashing import hash_bytes
from whelp.corpus import SourceConfig, open_source
from whelp.corpus.encodings import BadFile, inspect, iter_text
from whelp.corpus.whole_files import find_plain

ODD = [
    b"plain",
    b"caf\xc3\xa9",
    b"ends in half a character \xc3",  # with what the next begins with, it would be a whole one
    b"\xa9 begins with the other half",
    codecs.BOM_UTF8 + b"marked",
    codecs.BOM_UTF16_LE + "sixteen".encode("utf-16-le"),
    b"two\r\nlines\r\n",
    b"one\rreturn",
    "naïve – café".encode("cp1252") * 20,
    b"a NUL \0 in it",
    b"bell \a and escape \x1b[0m, both fine " * 9,
    b"\x01\x02\x03\x04 binary",
    b"delete \x7f",
    b"PAR1 as Parquet begins",
    b"BZh as bzip2 begins",
    b"%PDF-1.7",
    b"PK\x03\x04",
    b" \n\t ",
    b"x" * 70_000 + b"\x01" * 4_000,  # the control characters stand behind what is looked at
    "日本語\u2028".encode(),
    b"last",
]


def read_alone(data: bytes) -> str | None:
    """The obvious version: one file, looked through and decoded by itself; None where it is not text or has none."""
    try:
        inspection = inspect(lambda: iter([data]), "auto")
        text = b"".join(iter_text([data], inspection, strip_carriage_returns=True)).decode()
    except BadFile:
        return None
    return text if text.strip() else None


def write(folder: Path, contents: list[bytes]) -> list[Path]:
    """One file for each content, in order."""
    folder.mkdir()
    paths = [folder / f"{number:04d}.txt" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


@pytest.mark.parametrize("partition_bytes", [1, 100, 1 << 20])
def test_each_file_is_what_it_is_by_itself(tmp_path: Path, partition_bytes: int) -> None:
    """Neighbours change nothing: order, text, place, and what is skipped; in any order of the files."""
    generator = np.random.default_rng(0)
    for round_number in range(6):
        contents = [ODD[index] for index in generator.permutation(len(ODD))] if round_number else ODD
        paths = write(tmp_path / f"{partition_bytes}-{round_number}", contents)
        source = open_source(SourceConfig(source=str(paths[0].parent)))
        partitions = list(source.iter_partitions(partition_bytes))
        found = [row for partition in partitions for row in partition.batch.to_pylist()]
        expected = [(number, text) for number, content in enumerate(contents) if (text := read_alone(content)) is not None]
        assert [(row["file_index"], row["text"]) for row in found] == expected
        assert all(row["line"] == 1 for row in found)
        skipped = {file.path for partition in partitions for file in partition.skipped}
        num_blank = sum(partition.notes.get("empty documents dropped", 0) for partition in partitions)
        assert len(found) + len(skipped) + num_blank == len(contents)


def test_plain_is_only_what_comes_back_as_it_was() -> None:
    """A file that is taken as it lies would be the same bytes if it were decoded; and most are plain."""
    data, offsets = np.frombuffer(b"".join(ODD), np.uint8), np.cumsum([0, *map(len, ODD)])
    plain = find_plain(data, offsets)
    assert [content for content, is_plain in zip(ODD, plain, strict=True) if is_plain] == [
        b"plain",
        b"caf\xc3\xa9",
        b" \n\t ",
        "日本語\u2028".encode(),
        b"last",
    ]


def test_files_are_hashed_once_and_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is read a second time for its fingerprint, and that is of its bytes, not of its text."""
    paths = write(tmp_path / "files", [b"one", b"two\r\n"])
    source = open_source(SourceConfig(source=str(paths[0].parent)))
    monkeypatch.setattr(whelp.corpus.open_file, "hash_file", lambda path: pytest.fail(f"{path} is hashed again"))
    source.fingerprint_apart()
    assert len(list(source.iter_partitions())) == 1
    assert source.fingerprints() == [hash_bytes(b"one"), hash_bytes(b"two\r\n")]


def test_partitions_are_named_by_text_and_place(tmp_path: Path) -> None:
    """The fingerprint of a partition of files changes with a text, a name and the order, and with nothing else."""

    def fingerprint(name: str, contents: dict[str, bytes]) -> str:
        (tmp_path / name).mkdir()
        for file, content in contents.items():
            (tmp_path / name / file).write_bytes(content)
        (partition,) = open_source(SourceConfig(source=str(tmp_path / name))).iter_partitions()
        return partition.fingerprint

    first = fingerprint("a", {"1.txt": b"one", "2.txt": b"two"})
    assert fingerprint("b", {"1.txt": b"one", "2.txt": b"two"}) == first
    others = [
        fingerprint("c", {"1.txt": b"one", "2.txt": b"twO"}),
        fingerprint("d", {"1.txt": b"one", "3.txt": b"two"}),
        fingerprint("e", {"1.txt": b"two", "2.txt": b"one"}),
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(("offset", "length"), [(1, 2), (0, 3), (3, None), (2, 1)])
def test_offset_and_length_count_good_files(tmp_path: Path, offset: int, length: int | None) -> None:
    """Files that are not text are no documents: they are not counted."""
    contents = [b"a", b"\0", b"b\r\n", b"c", b"\0\0", b"d"]
    paths = write(tmp_path / "files", contents)
    config = SourceConfig(source=str(paths[0].parent), dataset_offset=offset, dataset_length=length)
    rows = [row["text"] for partition in open_source(config).iter_partitions() for row in partition.batch.to_pylist()]
    stop = None if length is None else offset + length
    assert rows == ["a", "b\n", "c", "d"][offset:stop]


def test_a_file_that_cannot_be_read_leaves_its_neighbours(tmp_path: Path) -> None:
    """One that is gone when its turn comes is skipped, with the reason."""
    paths = write(tmp_path / "files", [b"one", b"two", b"three"])
    source = open_source(SourceConfig(source=str(paths[0].parent)))
    paths[1].unlink()
    (partition,) = source.iter_partitions()
    assert partition.batch.column("text").to_pylist() == ["one", "three"]
    assert [file.reason for file in partition.skipped] == ["cannot be read (no such file or directory)"]


@pytest.mark.skipif(not hasattr(os, "readv"), reason="this system reads in another way")
def test_a_file_is_whole_however_little_comes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may give less than it was asked for; a file that has become shorter is another one, and skipped."""
    paths = write(tmp_path / "files", [b"one and two and three", b"four, which is cut", b"five"])
    source = open_source(SourceConfig(source=str(paths[0].parent)))
    status = paths[1].stat()
    paths[1].write_bytes(b"four")
    os.utime(paths[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    readv = os.readv
    monkeypatch.setattr(os, "readv", lambda handle, targets: readv(handle, [targets[0][:2]]))
    (partition,) = source.iter_partitions()
    assert partition.batch.column("text").to_pylist() == ["one and two and three", "five"]
    assert [file.kind for file in partition.skipped] == ["changed"]
