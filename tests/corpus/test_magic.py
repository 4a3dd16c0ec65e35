"""Files of other kinds than text: what they are is said, and what to do; in a folder they are skipped and counted."""

from __future__ import annotations

import gzip
import io
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.orc
import pytest

from whelp.base.errors import SourceError
from whelp.corpus import SourceConfig, count_skipped, open_source

from .test_rows_files import FORMATS
from .test_source import make, read_notes, read_rows, write


def make_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("0001.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    return file.getvalue()


def make_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "hello")
    return file.getvalue()


def make_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(9))
    return file.getvalue()


def make_orc() -> bytes:
    file = io.BytesIO()
    pyarrow.orc.write_table(pa.table({"text": ["a"]}), file)
    return file.getvalue()


def make_sqlite() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table docs (text text)")
    return connection.serialize()


WARC = b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: 5\r\n\r\nhello\r\n\r\n"
OTHERS = {
    "a.tar": (make_tar(), r"a tar archive, not text.*tar -xf FILE"),
    "a.tar.gz": (gzip.compress(make_tar()), "gzip data, not text.*Unpack it"),
    "a.gz": (gzip.compress(b"text"), r"gzip data, not text.*rename it so that it says so, as in a\.txt\.gz or a\.jsonl\.gz"),
    "a.zst": (pa.compress(b"text", "zstd", asbytes=True), "zstd data, not text.*rename it"),
    "a.zip": (
        make_zip(),
        r"zip data, not text.*whelp collect folder.*a spreadsheet is read as rows where its name ends in \.xlsx",
    ),
    "a.sqlite": (make_sqlite(), r"a SQLite database, not text.*whelp convert FILE --out rows"),
    "a.warc": (WARC, "a WARC archive of web pages, not text.*whelp collect web-archive.*a WAT archive holds no text"),
    "a.warc.gz": (gzip.compress(WARC), "a WARC archive of web pages, not text"),
    "a.pkl": (pickle.dumps(["text"]), "a pickle, not text.*may run any program"),
    "old.pkl": (pickle.dumps({"text": 1}, protocol=2), "a pickle, not text"),
    "a.npy": (make_npy(), "an array of NumPy, not text.*whelp import"),
    "a.orc": (make_orc(), "ORC data, not text.*Export its rows"),
    "a.avro": (b"Obj\x01\x04\x14avro.codec\0", "Avro data, not text"),
    "a.doc": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(90),
        r"a document of an old office program, not text.*\.docx; a spreadsheet is read where its name ends in \.xls",
    ),
    "a.rtf": (b"{\\rtf1\\ansi hello}", "RTF, a document with its layout, not text"),
    "rows": (FORMATS["a.parquet"](["a"]), r"Parquet data, not text.*end in \.parquet"),
    "rows.csv": (make_zip(), r"zip data, though its name says \.csv"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds(tmp_path: Path, name: str) -> None:
    """Named, it stops the work."""
    content, message = OTHERS[name]
    write(tmp_path, {name: content})
    with pytest.raises(SourceError, match=rf"{name}: {message}"):
        make(tmp_path / name)


def test_in_a_folder(tmp_path: Path) -> None:
    """Skipped, and counted by kind; texts that only begin like one are read."""
    write(tmp_path, {name: content for name, (content, _) in OTHERS.items()})
    write(tmp_path, {"1.txt": "ORC is a format.", "2.txt": "Obj", "3.txt": "ustar"})
    source = make(tmp_path)
    partitions = list(source.iter_partitions())
    assert [text for partition in partitions for text in partition.batch["text"].to_pylist()] == [
        "ORC is a format.",
        "Obj",
        "ustar",
    ]
    skipped = [file for partition in partitions for file in partition.skipped]
    assert count_skipped(skipped) == {"another format": 10, "packed": 7}


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl", "a.json", "a.csv", "a.txt"])
def test_pointers_of_git_lfs(tmp_path: Path, name: str) -> None:
    """A checkout without the large files has pointers in their places, under their names."""
    write(tmp_path, {name: POINTER})
    with pytest.raises(SourceError, match=rf"{name}: a pointer of Git LFS, not the file it stands for.*run `git lfs pull`"):
        make(tmp_path / name)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl", "a.json", "a.tsv"])
def test_packed_under_another_name(tmp_path: Path, name: str) -> None:
    """Rows whose name says nothing of the packing around them."""
    write(tmp_path, {name: gzip.compress(b'{"text": "a"}\n'), "BZh.csv": "BZh,text\n1,a\n", "PAR1.csv": "PAR1,text\n1,a\n"})
    with pytest.raises(SourceError, match=rf"{name}: gzip data.*rename it so that it says so"):
        make(tmp_path / name)
    assert [row[1] for other in ("BZh.csv", "PAR1.csv") for row in read_rows(make(tmp_path / other))] == ["a", "a"]


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.log.gz"])
def test_json_lines_by_another_name(tmp_path: Path, name: str) -> None:
    """A named file of text that holds JSON lines would be trained on as JSON: that is said, with the ways on."""
    content = FORMATS["a.jsonl"](["one", "two", "three"])
    write(tmp_path / "in", {name: gzip.compress(content) if name.endswith(".gz") else content})
    with pytest.raises(SourceError, match=rf"{name}: holds one JSON object a line.*end in \.jsonl.*data\.document=line"):
        make(tmp_path / "in" / name)
    assert len(read_rows(make(tmp_path / "in" / name, document="line"))) == 3
    assert len(read_rows(make(tmp_path / "in"))) == 1
    params = {"data_files": str(tmp_path / "in" / name)}
    texts = open_source(SourceConfig(source="json", source_dataset_params=params))
    assert [row[1] for row in read_rows(texts)] == ["one", "two", "three"]
    assert len(read_rows(open_source(SourceConfig(source="text", source_dataset_params=params)))) == 1
    write(tmp_path, {"a.txt": '{"one": "object"}\n', "b.txt": '{"text": "a"}\nand more\n', "c.txt": "[1]\n[2]\n"})
    for other in ("a.txt", "b.txt", "c.txt"):
        assert read_notes(make(tmp_path / other)) == {}
