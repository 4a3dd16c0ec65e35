"""Records of web archives: whatever the packing and however the file is shared out, the same records; what is broken costs itself."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from archives import INFO, make_record, make_response, make_text, pack, pack_zstd
from whelp.base.language_codes import shorten_language
from whelp.base.warc import (
    Broken,
    Codec,
    Record,
    Span,
    SpanRecords,
    count_unpacked,
    is_packed_by_record,
    iter_records,
    iter_unpacked,
    records,
)

LIMIT = 1 << 20
HEADER_END = re.compile(rb"\r?\n\r?\n")
MANY = [INFO, *(make_response(f"Words of page {number}.", number) for number in range(30)), make_text("x" * 5000, 99)]


CODECS: dict[str, Codec] = {".warc": "none", ".gz": "gzip", ".zst": "zstd"}


def names(found: Iterable[Record | Broken]) -> list[str]:
    """The records by id, what is broken by what is said of it."""
    return [record.id.removeprefix("urn:uuid:") if isinstance(record, Record) else record.found for record in found]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def read_spans(path: Path, step: int) -> list[Record | Broken]:
    """As several processes read a file, with their starts compared."""
    found: list[Record | Broken] = []
    size, expected = path.stat().st_size, 0
    codec = CODECS[path.suffix]
    for start in range(0, size, step):
        end = min(start + step, size)
        if expected >= end:
            continue
        span = SpanRecords(path, codec, Span(start, end, is_exact=start == 0), LIMIT)
        records = list(span)
        if span.begin != expected:
            span = SpanRecords(path, codec, Span(expected, end, is_exact=True), LIMIT)
            records = list(span)
        found += records
        expected = span.end
    assert expected == size
    return found


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 700))
@settings(deadline=None, max_examples=60)
def test_any_content_in_blocks_of_any_size(contents: list[bytes], size: int) -> None:
    """What is in a record does not matter, nor where blocks end: its length says where it ends."""
    data = b"".join(make_record("resource", content, number=number) for number, content in enumerate(contents))
    found = list(iter_records(cut(data, size), LIMIT))
    assert [record.content for record in found if isinstance(record, Record)] == contents
    assert len(found) == len(contents)


def test_headers() -> None:
    """Names in any case, values that go on in another line, brackets around addresses, line ends without a return."""
    data = b"WARC/1.1\nwarc-TYPE: Response\nWARC-Target-URI: <https://example.org/a>\nWARC-Date: 2026\n  -01\nContent-Length:  2\n\nab\n\n"
    [record] = iter_records([data], LIMIT)
    assert isinstance(record, Record)
    assert (record.kind, record.url, record.content) == ("response", "https://example.org/a", b"ab")
    assert record.headers["warc-date"] == "2026 -01"


FILES = {
    "a.warc": b"".join(MANY),
    "a.warc.gz": pack(MANY),
    "a.warc.zst": pack_zstd(MANY),
    "dictionary.warc.zst": pack_zstd(MANY, dictionary="raw"),
    "packed dictionary.warc.zst": pack_zstd(MANY, dictionary="packed"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("step", [200, 1000, 7777, 1 << 20])
def test_spans_of_any_size(name: str, step: int, tmp_path: Path) -> None:
    """Every record once, in order."""
    path = tmp_path / name
    path.write_bytes(FILES[name])
    assert names(read_spans(path, step)) == names(iter_records([b"".join(MANY)], LIMIT))


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_an_archive_within_a_record(name: str, tmp_path: Path) -> None:
    """What begins as a record does within another is none, though a span may begin before it."""
    noise = random.Random(0).randbytes(3000)
    inner = pack([make_text("inner", 500), make_text("inner", 501)]) if name.endswith(".gz") else make_text("inner", 500)
    outer = [make_record("resource", noise + b"\r\n\r\n" + inner + noise, number=number) for number in range(5)]
    path = tmp_path / name
    stored = [
        gzip.compress(record, 0, mtime=0) for record in [INFO, *outer]
    ]  # level 0: the inner bytes stand there as they are
    path.write_bytes(b"".join(stored) if name.endswith(".gz") else b"".join([INFO, *outer]))
    for step in (500, 1100, 4000):
        assert names(read_spans(path, step)) == ["00000000", *(f"{number:08d}" for number in range(5))]


def test_packed_as_a_whole(tmp_path: Path) -> None:
    """One member with all records is told from a member for each, and read in one go."""
    data = b"".join(MANY)
    files = {"whole.warc.gz": gzip.compress(data), "whole.warc.zst": zstandard.compress(data), **FILES}
    for name, packed in files.items():
        path, codec = tmp_path / name, CODECS[Path(name).suffix]
        path.write_bytes(packed)
        if codec == "none":
            continue
        assert is_packed_by_record(path, codec) != name.startswith("whole")
        assert count_unpacked(path, codec) == len(data)
        blocks = (block for block, _ in iter_unpacked(path, codec))
        assert names(iter_records(blocks, LIMIT)) == names(iter_records([b"".join(MANY)], LIMIT))


BAD_LENGTHS = {
    "too short": {"Content-Length": "3"},
    "too long": {"Content-Length": "60"},
    "no number": {"Content-Length": "many"},
    "negative": {"Content-Length": "-5"},
    "beyond the end": {"Content-Length": "999999"},
    "absurd": {"Content-Length": "999999999999999"},
}


@pytest.mark.parametrize("name", BAD_LENGTHS)
@pytest.mark.parametrize("is_packed", [True, False])
def test_bad_lengths(name: str, is_packed: bool, tmp_path: Path) -> None:
    """The record is lost, those before and behind it are not."""
    records = [make_text("first one", 1), make_record("conversion", b"the bad one", number=2, headers=BAD_LENGTHS[name])]
    records += [make_text("third one", 3), make_text("fourth one", 4)]
    path = tmp_path / ("a.warc.gz" if is_packed else "a.warc")
    path.write_bytes(pack(records) if is_packed else b"".join(records))
    first, bad, *others = read_spans(path, 1 << 20)
    assert isinstance(bad, Broken)
    assert names([first, *others]) == ["00000001", "00000003", "00000004"]


@pytest.mark.parametrize("name", BAD_LENGTHS)
def test_bad_lengths_in_one_run_of_bytes(name: str) -> None:
    """As in a file that is packed as a whole: however small the records are that are held."""
    records = [make_text("first one", 1), make_record("conversion", b"the bad one", number=2, headers=BAD_LENGTHS[name])]
    data = b"".join([*records, make_text("third one", 3), make_text("fourth one", 4)])
    for max_bytes in (20, LIMIT):
        first, bad, *others = iter_records(cut(data, 100), max_bytes, count_bytes=lambda: len(data))
        assert isinstance(bad, Broken) or bad.content is None
        others = [found for found in others if isinstance(found, Record)]
        assert names([first, *others])[-1] == "00000004"
        assert isinstance(bad, Record) or names(others) == ["00000003", "00000004"]


@pytest.mark.parametrize("is_packed", [True, False])
def test_cut_off_anywhere(is_packed: bool, tmp_path: Path) -> None:
    """A file that ends too early gives what is whole, and says that it is cut off."""
    records = [make_text(f"text {number}", number) for number in range(4)]
    packed = [gzip.compress(record, mtime=0) for record in records]
    parts = packed if is_packed else records
    data = b"".join(parts)
    borders = [sum(map(len, parts[:number])) for number in range(5)]
    path = tmp_path / ("a.warc.gz" if is_packed else "a.warc")
    for length in range(1, len(data)):
        path.write_bytes(data[:length])
        found = read_spans(path, 1 << 20)
        num_whole = sum(border <= length for border in borders[1:])
        if not is_packed and num_whole < 4 and borders[num_whole + 1] - length <= 4:
            num_whole += 1  # nothing but its border is missing
        assert names(found)[:num_whole] == [f"{number:08d}" for number in range(num_whole)]
        said = [record.kind for record in found[num_whole:] if isinstance(record, Broken)]
        assert said == ["cut off"] * (len(found) - num_whole)
        assert len(said) == (length > borders[num_whole])


def test_broken_gzip_data(tmp_path: Path) -> None:
    """A member with a wrong byte, in its data or its checksum, costs that record; zeros at the end are padding."""
    members = [gzip.compress(make_text("some text " * 50, number), mtime=0) for number in range(5)]
    members[1] = members[1][:30] + b"\xff\xff\xff" + members[1][33:]
    members[3] = members[3][:-8] + bytes(4) + members[3][-4:]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(members) + bytes(1000))
    for step in (100, 1 << 20):
        found = read_spans(path, step)
        assert [record.id[-1] for record in found if isinstance(record, Record)] == ["0", "2", "4"]
        assert all("broken gzip data" in record.found for record in found if isinstance(record, Broken))


def test_broken_zstd_data(tmp_path: Path) -> None:
    """As those of gzip; what a few bytes unpack to does not fill the memory."""
    frames = [pack_zstd([make_text("some text " * 50, number)]) for number in range(5)]
    frames[1] = frames[1][:30] + b"\xff\xff\xff" + frames[1][33:]
    frames[3] = frames[3][:-4] + bytes(4)
    path = tmp_path / "a.warc.zst"
    path.write_bytes(b"".join(frames) + bytes(1000))
    for step in (100, 1 << 20):
        found = read_spans(path, step)
        assert [record.id[-1] for record in found if isinstance(record, Record)] == ["0", "2", "4"]
        assert all("broken zstd data" in record.found for record in found if isinstance(record, Broken))
    path.write_bytes(frames[0] + frames[2][:-20])
    assert names(read_spans(path, 1 << 20)) == ["00000000", "the zstd data have no end"]
    path.write_bytes(zstandard.compress(bytes(1 << 28)))
    assert max(len(block) for block, _ in iter_unpacked(path, "zstd")) <= 1 << 25


def test_what_is_too_large_is_not_held(tmp_path: Path) -> None:
    """It is given without its content, packed or not; what follows is read."""
    records = [make_text("a" * 5000, 1), make_text("b", 2)]
    for name, data in {"a.warc": b"".join(records), "a.warc.gz": pack(records)}.items():
        (tmp_path / name).write_bytes(data)
        codec = "gzip" if name.endswith(".gz") else "none"
        found = list(SpanRecords(tmp_path / name, codec, Span(0, len(data), is_exact=True), 1000))
        assert [(record.id[-1], record.content) for record in found if isinstance(record, Record)] == [("1", None), ("2", b"b")]


def test_headers_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that begin as records do, and are none, are each looked through once."""
    num_searched = 0

    class Searched:
        def search(self, data: bytes, start: int, stop: int) -> re.Match[bytes] | None:
            nonlocal num_searched
            num_searched += max(0, stop - start)
            return HEADER_END.search(data, start, stop)

    monkeypatch.setattr(records, "_HEADER_END", Searched())
    data = b"WARC/1.0\n" * 50_000
    found = list(iter_records(cut(data + make_text("whole", 7), 1 << 16), LIMIT))
    assert names(found)[-1] == "00000007"
    assert {broken.found for broken in found if isinstance(broken, Broken)} == {"headers without an end"}
    assert num_searched < 2 * len(data)


def test_languages() -> None:
    """Three letters that have two become those; what is unknown stays."""
    assert [shorten_language(tag) for tag in ("zho", "zh-Hant", "jpn", "vec", "en_US")] == ["zh", "zh", "ja", "vec", "en"]
