"""Rows and documents that are too long: named by place, or passed over, and never held whole."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from whelp.base.errors import SourceError
from whelp.corpus.document_splitters import (
    BlankLineSplitter,
    FileSplitter,
    LineSplitter,
    LongDocument,
    Splitter,
    iter_documents,
)
from whelp.corpus.whole_lines import LongLine, iter_whole_lines

from .test_document_splitters import slow_blank_lines, slow_lines
from .test_source import make, read_notes, read_rows, write

MEGABYTE = 1 << 20


def as_line(text: str) -> str:
    return json.dumps({"text": text}) + "\n"


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1000])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_long_line_of_json(tmp_path: Path, name: str, block_bytes: int) -> None:
    """It stops the work with its line and what to do; or it is kept in mind by how it begins, and the lines behind it count on."""
    long = as_line("x" * 200)
    content = (as_line("one") + "\n" + long + as_line("two") + as_line("three") + long.strip()).encode()
    write(tmp_path, {name: gzip.compress(content) if name.endswith(".gz") else content})
    words = r"line 3: a line of more than 100 bytes, but expected at most data.max_row_bytes \(100\)\. Cut .*raise .*on_bad_rows=skip"
    with pytest.raises(SourceError, match=words):
        list(make(tmp_path / name, max_row_bytes=100).iter_partitions(block_bytes=block_bytes))
    source = make(tmp_path / name, max_row_bytes=100, on_bad_rows="skip")
    assert read_rows(source, block_bytes=block_bytes) == [(name, "one", 1), (name, "two", 4), (name, "three", 5)]
    assert read_notes(source, block_bytes=block_bytes) == {"rows skipped: too long": 2}
    bad = [row for partition in source.iter_partitions(block_bytes=block_bytes) for row in partition.bad_rows]
    assert [(row.number, row.reason) for row in bad] == [(3, "too long"), (6, "too long")]
    assert bad[0].text is not None
    assert long.startswith(bad[0].text)
    assert len(read_rows(make(tmp_path / name, max_row_bytes=len(long) - 1))) == 5


def test_long_first_line(tmp_path: Path) -> None:
    """The columns are then those of the first line that is not too long; and a window counts it as a row."""
    write(tmp_path, {"a.jsonl": json.dumps({"other": "x" * 200, "text": "y"}) + "\n" + as_line("one") + as_line("two")})
    source = make(tmp_path / "a.jsonl", max_row_bytes=100, on_bad_rows="skip", dataset_offset=2)
    assert read_rows(source) == [("a.jsonl", "two", 3)]
    assert read_notes(source) == {}


@pytest.mark.parametrize(
    ("document", "lines"), [("file", [1]), ("line", [5]), ("blank_line", [4])], ids=lambda value: str(value)
)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_long_document(tmp_path: Path, name: str, document: str, lines: list[int]) -> None:
    """Also a document of a text file is named by its line, or passed over."""
    content = b"one\n\ntwo\n" + b"\n" * (document != "blank_line") + b"x" * 300 + b"\n\nthree\n"
    content = content if document != "blank_line" else b"one\n\n\nx\n" + b"x" * 300 + b"\n \nthree\n"
    write(tmp_path, {name: gzip.compress(content) if name.endswith(".gz") else content, "b.txt": "four"})
    options = {"document": document, "max_row_bytes": 250}
    with pytest.raises(SourceError, match=rf"{name}, line {lines[0]}: a document of more than 250 bytes"):
        read_rows(make(tmp_path / name, **options))
    for block_bytes in (1, 50, 1000):
        source = make(tmp_path, on_bad_rows="skip", **options)
        rows = read_rows(source, block_bytes=block_bytes, partition_bytes=20)
        texts = {"file": [], "line": ["one", "two", "three"], "blank_line": ["one", "three"]}[document]
        assert [text for _, text, _ in rows] == [*texts, "four"]
        assert read_notes(source, block_bytes=block_bytes)["rows skipped: too long"] == 1
    assert "four" in [text for _, text, _ in read_rows(make(tmp_path, document=document))]


def test_a_long_file_that_is_no_text(tmp_path: Path) -> None:
    """A file found in a folder, however long, is first looked at for text."""
    write(tmp_path, {"a.bin": bytes(range(256)) * 4, "b.txt": "four"})
    source = make(tmp_path, max_row_bytes=250)
    assert [file.path for partition in source.iter_partitions() for file in partition.skipped] == ["a.bin"]


@pytest.mark.parametrize("splitter", [LineSplitter, BlankLineSplitter, FileSplitter])
def test_passed_over_as_if_cut_out(splitter: type[Splitter]) -> None:
    """Of texts made at random, what is left is what an obvious version leaves, lines and offsets too, whatever the blocks."""
    chosen = random.Random(4)
    slow = {LineSplitter: slow_lines, BlankLineSplitter: slow_blank_lines, FileSplitter: lambda text: [(text, 1)]}[splitter]
    for _ in range(300):
        pieces = chosen.choices(
            ["a", "bb", "\n", "\n\n", " ", " \n", "é", "\r\n", "ccccccccc", "a\n" * 6], k=chosen.randint(1, 25)
        )
        text = "".join(pieces)
        expected = [(part, line, len(part.encode()) > 12) for part, line in slow(text) if part.strip()]
        for size in (1, 3, 1000):
            blocks = [text[start : start + size].encode() for start in range(0, len(text), size)]
            found: list[tuple[str | None, int, bool]] = []
            for some in iter_documents(blocks, splitter(), 12):
                if isinstance(some, LongDocument):
                    found.append((None, some.line, True))
                    continue
                for part, line, offset in zip(some.texts.to_pylist(), some.lines.tolist(), some.offsets.tolist(), strict=True):
                    assert text.encode()[offset : offset + len(part.encode())].decode() == part
                    if part.strip():
                        found.append((part, line, False))
            # a long run of white space alone is no document, and may be told of
            ink = [
                entry for entry in found if entry[0] is not None or (entry[1] in [line for _, line, long in expected if long])
            ]
            assert ink == [(None if long else part, line, long) for part, line, long in expected], (text, size)


def test_csv_stops(tmp_path: Path) -> None:
    """A row of CSV that no block holds, up to the limit, stops the work."""
    write(tmp_path, {"a.csv": "text\none\n" + "x" * 5000 + "\n"})
    with pytest.raises(SourceError, match=r"a row of more than 100 bytes.*raise data.max_row_bytes"):
        list(make(tmp_path / "a.csv", max_row_bytes=100).iter_partitions(block_bytes=64))


def test_memory(tmp_path: Path) -> None:
    """Of a long line, no more than the limit lies in memory at once."""

    def iter_blocks() -> Iterator[bytes]:
        yield b'{"text": "one"}\n'
        for _ in range(32):
            yield bytes(bytearray(b"x") * MEGABYTE)
        yield b'\n{"text": "two"}\n'

    tracemalloc.start()
    try:
        found = [some if isinstance(some, bytes) else None for some in iter_whole_lines(iter_blocks(), 3 * MEGABYTE)]
        documents = list(iter_documents(iter_blocks(), LineSplitter(), 3 * MEGABYTE))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [b'{"text": "one"}\n', None, b'{"text": "two"}\n']
    assert [isinstance(some, LongDocument) for some in documents] == [False, True, False]
    assert peak < 11 * MEGABYTE


def test_options_that_change_documents(tmp_path: Path) -> None:
    """Another limit makes another store only where rows are skipped."""
    write(tmp_path, {"a.jsonl": as_line("one")})
    path = tmp_path / "a.jsonl"
    usual = make(path, on_bad_rows="skip").describe()
    assert make(path, on_bad_rows="skip", max_row_bytes=100).changed_since(usual) == [
        "data.max_row_bytes: was not set, now 100"
    ]
    assert make(path, max_row_bytes=100).changed_since(make(path).describe()) == []


def test_long_line_begins() -> None:
    """What is shown of one."""
    assert LongLine(b"a\xff").say() == "a\\xff"
