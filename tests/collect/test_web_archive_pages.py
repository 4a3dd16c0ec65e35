"""Pages of web archives: however they are packed, cut off, encoded or broken, and in whatever way one defeats its reader."""

from __future__ import annotations

import gzip
import os
import time
import zlib
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest

from archives import make_http, make_page, make_record, make_response
from whelp.base.charsets import decode_page
from whelp.collect.answers import Answer
from whelp.collect.left_out import LeftOut
from whelp.collect.page_text import PageText
from whelp.collect.web_archive import page
from whelp.collect.web_archive.convert import _work as work

from .test_web_archive import WORDS, collect, write

HTML = "Content-Type: text/html"


def chunk(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x; name=x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PAGE = make_page(WORDS).encode()
CHUNKED, GZIP = "Transfer-Encoding: chunked", "Content-Encoding: gzip"
BODIES = {
    "chunks": (chunk(PAGE, 100), CHUNKED),
    "chunks joined by the crawler": (PAGE, CHUNKED),
    "chunks without the last": (chunk(PAGE, 100).removesuffix(b"0\r\n\r\n"), CHUNKED),
    "gzip": (gzip.compress(PAGE), GZIP),
    "gzip of several members": (gzip.compress(PAGE[:500]) + gzip.compress(PAGE[500:]), "Content-Encoding: x-gzip"),
    "gzip unpacked by the crawler": (PAGE, GZIP),
    "gzip in chunks": (chunk(gzip.compress(PAGE), 64), f"{CHUNKED}\r\n{GZIP}"),
    "deflate": (zlib.compress(PAGE), "Content-Encoding: deflate"),
    "deflate without its frame": (raw_deflate(PAGE), "Content-Encoding: deflate"),
    "deflate unpacked by the crawler": (PAGE, "Content-Encoding: deflate"),
    "br": (pa.compress(PAGE, "brotli", asbytes=True), "Content-Encoding: br"),
    "br unpacked by the crawler": (PAGE, "Content-Encoding: br"),
    "zstd": (pa.compress(PAGE, "zstd", asbytes=True), "Content-Encoding: zstd"),
    "twice": (gzip.compress(zlib.compress(PAGE)), "Content-Encoding: deflate, gzip"),
    "not at all": (PAGE, "Content-Encoding: identity"),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(name: str, tmp_path: Path) -> None:
    """However a body came, its page is read."""
    body, header = BODIES[name]
    path = write(tmp_path, "a.warc", [make_record("response", make_http(body, HTML, *header.split("\r\n")))])
    _, [document] = collect(tmp_path / "out.jsonl", path, extract="page")
    assert document["text"].count(WORDS) == 4


BR = "Content-Encoding: br"
BAD_BODIES = {
    "larger than 20,000 bytes": [
        (gzip.compress(bytes(50_000)), GZIP),
        (pa.compress(bytes(50_000), "brotli", asbytes=True), BR),
    ],
    "a body that cannot be unpacked": [(b"\x1f\x8b\x08broken", GZIP), (b"\xff\xff broken", BR)],
    "packed in another way than gzip, deflate, br or zstd": [(b"?", "Content-Encoding: compress")],
}


@pytest.mark.parametrize("reason", BAD_BODIES)
def test_bodies_that_are_left_out(reason: str, tmp_path: Path) -> None:
    """Bombs, broken and unknown packings cost themselves."""
    records = [make_record("response", make_http(body, HTML, header)) for body, header in BAD_BODIES[reason]]
    path = write(tmp_path, "a.warc", [*records, make_response(WORDS)])
    result, _ = collect(tmp_path / "out.jsonl", path, extract="page", max_record_bytes=20_000)
    assert result.num_records == {reason: len(records), "kept": 1}


def test_an_answer_that_is_all_headers(tmp_path: Path) -> None:
    """It is not taken apart line by line."""
    endless = b"HTTP/1.1 200 OK\r\nA: b\r\n" + b" c\n" * 100_000
    path = write(tmp_path, "a.warc", [make_record("response", endless), make_response(WORDS)])
    assert collect(tmp_path / "out.jsonl", path)[0].num_records == {"headers without an end": 1, "kept": 1}


def test_a_body_that_breaks_off(tmp_path: Path) -> None:
    """What came is read, and it is counted that a crawler cut it."""
    page = make_page(WORDS * 300).encode()
    records = [
        make_record("response", make_http(page[:5000]), headers={"WARC-Truncated": "length"}),
        make_record("response", make_http(gzip.compress(page, 0)[:70_000], GZIP, HTML), headers={"WARC-Truncated": "time"}),
    ]
    result, documents = collect(tmp_path / "out.jsonl", write(tmp_path, "a.warc.gz", records), extract="page")
    assert [document["text"].count(WORDS) > 50 for document in documents] == [True, True]
    assert result.notes == {"pages that the crawler cut off": 2}


def test_a_page_that_breaks_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out, and does not end the work on all others."""

    def read_html(html: str) -> Any:
        raise AssertionError(html)

    monkeypatch.setattr(page, "read_html", read_html)
    answer = Answer(url="https://example.org", status=200, headers={"content-type": "text/html"}, body=b"a")
    with pytest.raises(LeftOut, match=r"the page cannot be parsed \(AssertionError\)"):
        page.extract(answer, "page")


def hang_or_extract(answer: Answer, how: Literal["article", "page"]) -> PageText:
    """As some pages have it that nobody thought of."""
    if b"hang" in answer.body:
        time.sleep(600)
    if b"kill" in answer.body:
        os.abort()
    return page.extract(answer, how)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_page_without_end(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds nothing up: after a while it is left out, and counted; the others are read."""
    monkeypatch.setattr(page, "extract", hang_or_extract)
    monkeypatch.setattr("whelp.collect.web_archive.convert._work", work_with_bad_pages)
    records = [make_response(words, number) for number, words in enumerate(("one", "hang", "two", "kill", "three"))]
    path = write(tmp_path, "a.warc", records)
    result, documents = collect(tmp_path / "out.jsonl", path, extract="page", max_page_seconds=3, workers=workers)
    assert [document["url"][-1] for document in documents] == ["0", "2", "4"]
    assert result.num_records == {
        "kept": 3,
        "the page takes more than 3 seconds": 1,
        "the page breaks its reader": 1,
    }


def work_with_bad_pages(task: Any) -> Any:
    """In any process."""
    page.extract = hang_or_extract
    return work(task)


RUSSIAN, JAPANESE, CZECH = "Щенок это молодая собака", "吾輩は猫である。名前はまだ無い。", "Žluťoučký kůň"
AUTUMN = "К осени она выросла, окрепла и научилась охотиться вместе с матерью."
CHARSETS = {
    "named by the server": (RUSSIAN, "koi8-r", "text/html; charset=KOI8-R", ""),
    "named by the page": (RUSSIAN, "cp1251", "text/html", '<meta charset="windows-1251">'),
    "by the name that browsers know": (JAPANESE, "cp932", "text/html; charset=x-sjis", ""),
    "Latin-1, which is Windows-1252": ("“Café”", "cp1252", "text/html; charset=iso-8859-1", ""),
    "GB2312, which is more": ("朱镕基", "gb18030", "text/html; charset=gb2312", ""),
    "UTF-8, whatever is said": (CZECH, "utf-8", "text/html; charset=windows-1250", '<meta charset="iso-8859-2">'),
    "not UTF-8, whatever is said": (CZECH, "iso-8859-2", "text/html; charset=utf-8", '<meta charset="iso-8859-2">'),
    "named by nobody": (
        f"{RUSSIAN}, которая родилась весной. {AUTUMN}",
        "cp1251",
        "text/html",
        "",
    ),
    "named by nobody, in Latin letters": ("Größe und Fähigkeit", "cp1252", "text/html", ""),
}


@pytest.mark.parametrize("name", CHARSETS)
def test_charsets(name: str, tmp_path: Path) -> None:
    """The characters are found, whatever the server and the page say of them."""
    words, encoding, media_type, meta = CHARSETS[name]
    page = make_page(words).replace("<head>", f"<head>{meta}")
    record = make_record("response", make_http(page.encode(encoding), f"Content-Type: {media_type}"))
    _, [document] = collect(tmp_path / "out.jsonl", write(tmp_path, "a.warc", [record]), extract="page")
    assert document["text"].count(words) == 4


def test_utf8_with_a_broken_place() -> None:
    """A page cut within a character, or with one that is broken, stays UTF-8, whatever the server says."""
    data = f"{CZECH} {RUSSIAN}".encode()
    assert decode_page(data[:-1], "windows-1250") == f"{CZECH} {RUSSIAN}"[:-1] + "\ufffd"
