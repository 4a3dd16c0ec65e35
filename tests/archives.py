"""Web archives made by hand, record by record, as crawlers write them."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from typing import Literal

import zstandard

DATE = "2026-01-20T10:11:12Z"


def make_record(
    kind: str,
    content: bytes,
    url: str = "https://example.org/",
    *,
    number: int = 0,
    headers: dict[str, str] | None = None,
    media_type: str | None = None,
) -> bytes:
    """One record; `headers` replace those it would have."""
    usual = {"response": "application/http; msgtype=response", "request": "application/http; msgtype=request"}
    lines = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:{number:08d}>",
        "WARC-Date": DATE,
        "WARC-Target-URI": url,
        "Content-Type": media_type or usual.get(kind, "text/plain"),
        "Content-Length": str(len(content)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"WARC/1.0\r\n{head}\r\n".encode() + content + b"\r\n\r\n"


def make_http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """What a server says: HTML, unless headers say otherwise."""
    said = headers or ("Content-Type: text/html; charset=utf-8",)
    return "\r\n".join([f"HTTP/1.1 {status}", *said, "", ""]).encode() + body


def make_page(words: str, *, language: str = "en", title: str = "A page") -> str:
    """HTML with an article, and what stands around one."""
    paragraphs = "".join(
        f"<p>{words} Paragraph {number} of a page says a little more than the one before.</p>" for number in range(4)
    )
    return (
        f'<!doctype html><html lang="{language}"><head><title>{title}</title></head><body><nav><a href="/">Home menu</a></nav>'
        f"<article><h1>{title}</h1>{paragraphs}</article><footer>Imprint</footer></body></html>"
    )


def make_response(words: str, number: int = 0, **options: str) -> bytes:
    """A page, with where it is from."""
    return make_record(
        "response", make_http(make_page(words, **options).encode()), f"https://example.org/{number}", number=number
    )


def make_text(text: str, number: int = 0, *, url: str = "", languages: str | None = "eng", **options: str) -> bytes:
    """A record of WET."""
    said = {} if languages is None else {"WARC-Identified-Content-Language": languages}
    return make_record(
        "conversion", text.encode(), url or f"https://example.org/{number}", number=number, headers={**said, **options}
    )


INFO = make_record("warcinfo", b"software: by hand\r\n", "", media_type="application/warc-fields")


def pack(records: Iterable[bytes]) -> bytes:
    """Each a gzip member, as the format asks for."""
    return b"".join(gzip.compress(record, mtime=0) for record in records)


def pack_zstd(records: Iterable[bytes], dictionary: Literal["none", "raw", "packed"] = "none") -> bytes:
    """Each a zstd frame; with a dictionary before them, as the Internet Archive's crawlers have it."""
    if dictionary == "none":
        packer = zstandard.ZstdCompressor(write_checksum=True)
        return b"".join(map(packer.compress, records))
    trained = zstandard.train_dictionary(2048, [make_response(f"Words of a page, {number}.", number) for number in range(300)])
    data = trained.as_bytes() if dictionary == "raw" else zstandard.compress(trained.as_bytes())
    packer = zstandard.ZstdCompressor(dict_data=trained, write_checksum=True)
    return b"\x5d\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data + b"".join(map(packer.compress, records))
