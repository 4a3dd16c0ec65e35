"""Sources to partitions: what is read, and what is refused while it is; what is listed, `test_listing.py` tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from whelp.base.errors import SourceError
from whelp.corpus import Source, SourceConfig, iter_texts, open_source

BOOKS = Path(__file__).parents[3] / "shared" / "data" / "books"


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def make(source: object, **options: Any) -> Source:
    """Open a source by path."""
    spec = [str(item) for item in source] if isinstance(source, list) else str(source)
    return open_source(SourceConfig(source=spec, **options))


def read_rows(source: Source, **sizes: int) -> list[tuple[str, str, int]]:
    """Read every row as (label, text, line)."""
    return [
        (source.files[row["file_index"]].label, row["text"], row["line"])
        for partition in source.iter_partitions(**sizes)
        for row in partition.batch.to_pylist()
    ]


def read_notes(source: Source, **sizes: int) -> dict[str, int]:
    """Add up the notes of all partitions."""
    notes: dict[str, int] = {}
    for partition in source.iter_partitions(**sizes):
        for note, count in partition.notes.items():
            notes[note] = notes.get(note, 0) + count
    return notes


POEMS = "Tyger Tyger,\nburning bright\n\n\n\nIn the forests — of the night\r\n\r\n  \r\nÉté 日本 🐕\nend\n"


def test_only_unicode_white_space(tmp_path: Path) -> None:
    """Text whose documents are all white space is no text."""
    write(tmp_path, {"a.txt": "\u3000\n\n\u2003"})
    with pytest.raises(SourceError, match="no document has any text"):
        list(make(tmp_path / "a.txt").iter_partitions())


@pytest.mark.parametrize("partition_bytes", [4, 1 << 20])
def test_bad_found_files_are_skipped_or_stop(tmp_path: Path, partition_bytes: int) -> None:
    """Found files that are not text are skipped with their reasons, or stop, as asked."""
    write(tmp_path, {"a.txt": "good", "b.bin": b"ab\0cdefgh", "c.txt": b"\xff\xfe\xfd\x81zz\x90", "d.txt": "fine text"})
    source = make(tmp_path, document="line")
    partitions = list(source.iter_partitions(partition_bytes=partition_bytes))
    assert [text for partition in partitions for text in partition.batch.column("text").to_pylist()] == ["good", "fine text"]
    skipped = [file for partition in partitions for file in partition.skipped]
    assert [file.path for file in skipped] == ["b.bin", "c.txt"]
    assert skipped[0].reason == "contains NUL bytes (first at byte 2)"
    assert [partition.index for partition in partitions] == list(range(len(partitions)))
    with pytest.raises(SourceError, match=r"b\.bin: contains NUL bytes.*set on_bad_files to skip"):
        list(make(tmp_path, on_bad_files="stop").iter_partitions(partition_bytes=partition_bytes))


@pytest.mark.parametrize("partition_bytes", [4, 1 << 20])
def test_a_file_that_changes_after_listing(tmp_path: Path, partition_bytes: int) -> None:
    """A file that was written to after listing is never read as if it were the old one."""
    write(tmp_path, {"a.txt": "one\n\ntwo"})
    source = make(tmp_path / "a.txt")
    write(tmp_path, {"a.txt": "one\n\ntwo\n\nthree"})
    with pytest.raises(SourceError, match="changed while it was being read"):
        list(source.iter_partitions(partition_bytes=partition_bytes))


def test_one_character(tmp_path: Path) -> None:
    """A file of one character is text."""
    write(tmp_path, {"a.txt": "x"})
    assert read_rows(make(tmp_path / "a.txt")) == [("a.txt", "x", 1)]


def test_columns(tmp_path: Path) -> None:
    """The batch has the promised columns and types."""
    write(tmp_path, {"a.txt": "x"})
    [partition] = make(tmp_path).iter_partitions()
    types = {"text": pa.large_string(), "file_index": pa.int32(), "line": pa.int64()}
    assert {field.name: field.type for field in partition.batch.schema} == types
    partition.batch.validate(full=True)


def test_auto_documents(tmp_path: Path) -> None:
    """One named file is cut at blank lines; a folder and several files are one document each."""
    write(tmp_path, {"a.txt": POEMS})
    assert read_rows(make(tmp_path / "a.txt")) == [
        ("a.txt", "Tyger Tyger,\nburning bright", 1),
        ("a.txt", "In the forests — of the night", 6),
        ("a.txt", "Été 日本 🐕\nend", 9),
    ]
    assert read_rows(make(tmp_path)) == [("a.txt", POEMS.replace("\r\n", "\n"), 1)]
    assert read_rows(make(tmp_path, strip_carriage_returns=False)) == [("a.txt", POEMS, 1)]


def test_notes(tmp_path: Path) -> None:
    """What was done on the way is counted."""
    write(
        tmp_path,
        {
            "a.txt": "plain\n",
            "b.txt": b"caf\xe9 on the corner\r\n\r\nx",
            "c.txt": b"\xef\xbb\xbfmark",
            "d.txt": "é\n\n \ny\n",
            "e.txt": "naïve à".encode() + b" caf\xe9",
            "mac.txt": b"one\rtwo\r",
        },
    )
    notes = {
        "files read as Windows-1252": 1,
        "files of UTF-8 with broken characters": 1,
        "bytes that are not UTF-8, read as U+FFFD": 1,
        "files with CR LF turned into LF": 1,
        "files whose lines end in CR alone, turned into LF": 1,
        "files with a byte order mark": 1,
        "empty documents dropped": 3,
    }
    assert read_notes(make(tmp_path, document="line")) == notes
    assert read_notes(make(tmp_path, document="line"), partition_bytes=2, block_bytes=1) == notes
    assert ("e.txt", "naïve à caf\ufffd", 1) in read_rows(make(tmp_path))
    assert read_rows(make(tmp_path / "mac.txt", document="line")) == [("mac.txt", "one", 1), ("mac.txt", "two", 2)]
    assert ("mac.txt", "one\ntwo\n", 1) in read_rows(make(tmp_path))


MODES: list[dict[str, Any]] = [
    {"document": "file"},
    {"document": "line"},
    {"document": "line", "strip_carriage_returns": False},
    {"document": "blank_line"},
    {"document": "regex", "document_regex": r"\n{2,}"},
]


def make_folder(root: Path) -> Path:
    """Write small and larger files, in several encodings."""
    return write(
        root,
        {
            "a.txt": POEMS,
            "b.txt": POEMS * 7,
            "c.txt": b"\xff\xfe" + (POEMS * 3).encode("utf-16-le"),
            "d.txt": "caf\xe9 – na\xefve\r\n\r\nand plain words in lines\r\n".encode("cp1252") * 9,
            "e.txt": "one line without end",
            "f.txt": "\n\n\n" + "long word " * 40 + "\n\n" + "x\n" * 30,
        },
    )


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("partition_bytes", [1, 10, 100, 1000])
def test_partitions_do_not_depend_on_blocks(tmp_path: Path, options: dict[str, Any], partition_bytes: int) -> None:
    """Rows, partitions, fingerprints and notes are the same for every size of block; rows for every size of partition."""
    source = make(make_folder(tmp_path), **options)
    whole = read_rows(source)
    seen = set()
    for block_bytes in (1, 3, 64, 1 << 20):
        partitions = list(source.iter_partitions(partition_bytes=partition_bytes, block_bytes=block_bytes))
        seen.add(tuple((part.index, part.batch.num_rows, part.fingerprint, str(part.notes)) for part in partitions))
        texts = [text for partition in partitions for text in partition.batch.column("text").to_pylist()]
        assert texts == [text for _, text, _ in whole]
    assert len(seen) == 1
    assert read_rows(source, partition_bytes=partition_bytes, block_bytes=5) == whole


@pytest.mark.parametrize("options", MODES, ids=str)
def test_documents_stand_where_they_say(tmp_path: Path, options: dict[str, Any]) -> None:
    """Every document is found in its file from its line on, in order; between documents there is only white space."""
    source = make(make_folder(tmp_path), **options)
    contents = {}
    for file in source.files:
        codec = {"c.txt": "utf-16", "d.txt": "cp1252"}.get(file.label, "utf-8")
        text = file.path.read_bytes().decode(codec)
        contents[file.label] = text.replace("\r\n", "\n") if source.config.strip_carriage_returns else text
    ends = dict.fromkeys(contents, 0)
    for label, text, line in read_rows(source, partition_bytes=50, block_bytes=7):
        start = contents[label].index(text, ends[label])
        assert not contents[label][ends[label] : start].strip()
        assert contents[label].count("\n", 0, start) + 1 == line
        ends[label] = start + len(text)
    assert not any(contents[label][end:].strip() for label, end in ends.items())


def test_fingerprints_follow_text_and_place(tmp_path: Path) -> None:
    """A partition's fingerprint changes with a text, with a line and with a file's name, and with nothing else."""

    def fingerprint(name: str, content: str) -> str:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        [partition] = make(write(folder, {name: content}), document="line").iter_partitions()
        return partition.fingerprint

    assert fingerprint("a", "x\ny") == fingerprint("a", "x\ny\n")
    assert (
        len({fingerprint(*case) for case in [("a", "x\ny"), ("a", "xy\n"), ("a", "x\n\ny"), ("b", "x\ny"), ("a", "x\nz")]}) == 5
    )


def test_a_folder_of_books() -> None:
    """Real books, one of them in Latin-1 with CR LF, are read whole."""
    if not BOOKS.is_dir():
        pytest.skip("no books: put plain text books into ../shared/data/books beside the checkout")
    source = make(BOOKS)
    notes = read_notes(source)
    assert sum(1 for _ in read_rows(source)) == len(source.files)
    assert notes["files read as Windows-1252"] >= 1
    paragraphs = make(BOOKS, document="blank_line")
    assert read_rows(paragraphs) == read_rows(paragraphs, partition_bytes=100_000, block_bytes=4096)


# --- identity ---


def test_changed_since(tmp_path: Path) -> None:
    """Edits, new files and lost files are told apart; a touched file has not changed."""
    folder = write(tmp_path / "data", {"a.txt": "aaa", "b.txt": "bbb", "poems.txt": "x" * 1204, "same.txt": "same"})
    before = json.loads(json.dumps(make(folder).describe()))
    assert make(folder).changed_since(before) == []
    os.utime(folder / "same.txt", ns=(1, 1))
    write(folder, {"a.txt": "AAA", "poems.txt": "x" * 1310, "c.txt": "new"})
    os.utime(folder / "a.txt", ns=(2, 2))
    (folder / "b.txt").unlink()
    assert make(folder, document="line").changed_since(before) == [
        "a.txt: edited (still 3 bytes)",
        "b.txt: removed",
        "c.txt: added",
        "poems.txt: edited (1,204 -> 1,310 bytes)",
        "data.document: was 'file', now 'line'",
    ]
    moved = json.loads(json.dumps(make(folder).describe()))
    folder.rename(tmp_path / "moved")
    assert make(tmp_path / "moved").changed_since(moved) == []


def test_describe(tmp_path: Path) -> None:
    """The description holds the files, with fingerprints, and the options that change documents."""
    write(tmp_path, {"a.txt": "aaa"})
    description = make(tmp_path).describe()
    [entry] = description["files"]
    assert set(entry) == {"path", "bytes", "mtime_ns", "fingerprint"}
    assert (entry["path"], entry["bytes"]) == ("a.txt", 3)
    assert description["options"] == {
        "document": "file",
        "document_regex": None,
        "encoding": "auto",
        "strip_carriage_returns": True,
    }


# --- texts alone ---


def test_iter_texts(tmp_path: Path) -> None:
    """All texts, or an even sample of so many bytes, the same each time."""
    write(tmp_path, {"a.txt": "".join(f"line {number:03}\n" for number in range(100))})
    source = make(tmp_path, document="line")
    everything = [text for texts in iter_texts(source) for text in texts.to_pylist()]
    assert everything == [f"line {number:03}" for number in range(100)]
    some = [text for texts in iter_texts(source, max_bytes=100) for text in texts.to_pylist()]
    assert some[:2] == ["line 000", "line 009"]
    assert int(some[-2][5:]) > 80
    assert 90 <= sum(map(len, some)) <= 100
    assert some == [text for texts in iter_texts(source, max_bytes=100) for text in texts.to_pylist()]


@pytest.mark.parametrize("max_bytes", [1, 2, 3, 4, 5, 6, 7])
def test_iter_texts_cuts_between_characters(tmp_path: Path, max_bytes: int) -> None:
    """The last text is cut at a whole character."""
    write(tmp_path, {"a.txt": "é日🐕"})
    [*texts] = iter_texts(make(tmp_path), max_bytes=max_bytes)
    found = "".join(text for array in texts for text in array.to_pylist())
    assert found == "é日🐕".encode()[:max_bytes].decode(errors="ignore")
