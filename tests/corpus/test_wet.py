"""WET archives as sources: a text is a row, with its address, language and date beside it; lists of files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import whelp
from archives import DATE, INFO, make_record, make_response, make_text, pack
from whelp.base.errors import SourceError
from whelp.corpus import count_skipped

from .test_remote import Site, site  # noqa: F401  (a fixture)
from .test_source import make, read_notes, read_rows, write

TEXTS = ["one", "Größe 犬\nand more", "three" * 3000, "four"]
RECORDS = [INFO, *(make_text(text, number, languages="deu,eng") for number, text in enumerate(TEXTS))]


@pytest.mark.parametrize("name", ["a.wet", "a.warc.wet.gz", "A.WET.GZ", "whole.wet.gz"])
@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
def test_rows(tmp_path: Path, name: str, block_bytes: int) -> None:
    """A text each, as it stands; numbers are those of the records in the file."""
    data = b"".join(RECORDS)
    content = gzip.compress(data) if name == "whole.wet.gz" else pack(RECORDS) if name.lower().endswith("gz") else data
    source = make(write(tmp_path, {name: content}) / name)
    assert source.document == "row"
    assert read_rows(source, block_bytes=block_bytes) == [(name, text, number) for number, text in enumerate(TEXTS, 2)]


def test_what_is_said_of_a_text(tmp_path: Path) -> None:
    """Address, language, date and id are columns, which a template or curating may name, as those of collected documents."""
    write(tmp_path, {"a.wet.gz": pack(RECORDS)})
    assert [row[1] for row in read_rows(make(tmp_path / "a.wet.gz", custom_text_key="url"))][1] == "https://example.org/1"
    Path(tmp_path / "recipe.yaml").write_text(
        json.dumps(
            {
                "data": {"source": str(tmp_path / "a.wet.gz")},
                "curate": {"preset": "none", "keep_columns": ["url", "language", "fetched", "id"]},
            }
        )
    )
    whelp.curate(tmp_path / "recipe.yaml", out=tmp_path / "kept")
    rows = [json.loads(line) for path in (tmp_path / "kept" / "kept").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    said = {"url": "https://example.org/0", "language": "de", "fetched": DATE, "id": "urn:uuid:00000000"}
    assert {name: rows[0][name] for name in said} == said


def test_some_of_the_rows(tmp_path: Path) -> None:
    """`dataset_offset` and `dataset_length` count texts."""
    write(tmp_path, {"a.wet.gz": pack(RECORDS)})
    rows = read_rows(make(tmp_path / "a.wet.gz", dataset_offset=1, dataset_length=2))
    assert [row[1] for row in rows] == TEXTS[1:3]


def test_bad_records(tmp_path: Path) -> None:
    """Broken ones, too large ones and those that are no UTF-8 stop the work, or are counted and left out."""
    bad = make_record("conversion", b"broken", headers={"Content-Length": "many"})
    records = [make_text("one"), bad, make_record("conversion", b"caf\xe9"), make_text("x" * 5000), make_text("five")]
    write(tmp_path, {"a.wet.gz": pack(records)})
    with pytest.raises(SourceError, match=r"a\.wet\.gz, record 2: a broken record \(no Content-Length\).*on_bad_rows=skip"):
        read_rows(make(tmp_path / "a.wet.gz"))
    source = make(tmp_path / "a.wet.gz", on_bad_rows="skip", max_row_bytes=1000)
    assert [row[1:] for row in read_rows(source)] == [("one", 1), ("five", 5)]
    assert read_notes(source) == {
        "rows skipped: broken record": 1,
        "rows skipped: text that is not UTF-8": 1,
        "rows skipped: too long": 1,
    }


OTHERS = {
    "cut.wet.gz": (pack(RECORDS)[:-20], r"cut\.wet\.gz: cut off or broken gzip data"),
    "cut.wet": (b"".join(RECORDS)[:-20], r"cut\.wet: cut off in record 5.*whelp collect web-archive"),
    "pages.wet.gz": (
        pack([INFO, make_response("a")]),
        r"a WARC archive \(record 2 is a response\), though its name says \.wet",
    ),
    "a.wet": (
        INFO + make_record("metadata", b"{}", media_type="application/json"),
        r"a WAT archive, which tells of pages.*wet/NAME",
    ),
    "a.warc.gz": (pack([INFO, make_response("a")]), "a WARC archive of web pages.*`whelp collect web-archive`"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_archives(tmp_path: Path, name: str) -> None:
    """Each says what it is, and what to do."""
    data, message = OTHERS[name]
    write(tmp_path, {name: data})
    with pytest.raises(SourceError, match=message):
        read_rows(make(tmp_path / name))


def test_in_a_folder(tmp_path: Path) -> None:
    """Texts are read beside other files; archives of pages are skipped, and counted."""
    write(tmp_path, {"a.wet.gz": pack(RECORDS[:2]), "b.txt": "text", "c.warc.gz": pack([INFO, make_response("a")])})
    source = make(tmp_path)
    assert source.document == "row or file"
    partitions = list(source.iter_partitions())
    assert [text for partition in partitions for text in partition.batch["text"].to_pylist()] == ["one", "text"]
    assert count_skipped([file for partition in partitions for file in partition.skipped]) == {"another format": 1}


def test_append_and_split_refuse_archives(tmp_path: Path) -> None:
    """They lay files end to end, and cut them at lines: neither is good for archives."""
    write(tmp_path, {"a.wet": RECORDS[1]})
    for call in (
        lambda: whelp.append([tmp_path / "a.wet"], out=tmp_path / "b.wet"),
        lambda: whelp.split(tmp_path / "a.wet", out=tmp_path / "parts"),
    ):
        with pytest.raises(SourceError, match="`whelp collect web-archive` makes JSON lines of it"):
            call()


def test_a_list_of_files(tmp_path: Path, site: Site) -> None:  # noqa: F811
    """Lines that are addresses are fetched, others lie beside the list; the list itself is fetched where it is one."""
    site.pages = {"/a.wet.gz": pack([make_text("far")]), "/some.paths": f"{site.url}/a.wet.gz\n".encode()}
    write(
        tmp_path,
        {
            "near/b.wet.gz": pack([make_text("near")]),
            "near/wet.paths.gz": gzip.compress(f"b.wet.gz\n{site.url}/a.wet.gz".encode()),
        },
    )
    assert [row[1] for row in read_rows(make(tmp_path / "near" / "wet.paths.gz"))] == ["near", "far"]
    assert [row[1] for row in read_rows(make(f"{site.url}/some.paths"))] == ["far"]
    write(tmp_path, {"broken.paths.gz": b"\x1f\x8bxx", "empty.paths": "\n"})
    with pytest.raises(SourceError, match=r"broken\.paths\.gz: cannot be read .*a list of files, one a line"):
        make(tmp_path / "broken.paths.gz")
    with pytest.raises(SourceError, match=r"empty\.paths: names no file"):
        make(tmp_path / "empty.paths")


def test_several_lists(tmp_path: Path) -> None:
    """A glob of lists stands for the files of all."""
    write(tmp_path, {"a/b.txt": "b", "a/c.txt": "c", "d.txt": "d", "a/1.paths": "b.txt\n", "a/2.paths": "c.txt\n../d.txt"})
    assert [row[1] for row in read_rows(make(f"{tmp_path}/a/*.paths"))] == ["b", "c", "d"]


BAD_LISTS = {
    "itself": ("a.paths", r"a\.paths: names another list, a\.paths"),
    "another list": ("a.txt\nb.paths.gz", r"a\.paths: names another list, b\.paths\.gz"),
    "no file": ("a.txt\nparts/b.txt", r"a\.paths: names parts/b\.txt, which is not there, but expected a file beside the list"),
    "too much": ("a.txt\n" * 20, r"a\.paths: is larger than 100 bytes"),
}


@pytest.mark.parametrize("name", BAD_LISTS)
@pytest.mark.parametrize("is_packed", [True, False])
def test_bad_lists(name: str, is_packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked for elsewhere because of a slip, and nothing goes round in circles."""
    monkeypatch.setattr("whelp.corpus.path_list._MAX_BYTES", 100)
    text, message = BAD_LISTS[name]
    write(tmp_path, {"a.txt": "a", "a.paths": gzip.compress(text.encode()) if is_packed else text})
    with pytest.raises(SourceError, match=message):
        make(tmp_path / "a.paths")
