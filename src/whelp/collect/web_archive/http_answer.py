"""What a server said, as an archive keeps it: status, headers, and the body without what it was packed in on its way."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from whelp.base.warc import parse_headers
from whelp.base.warc.records import MAX_HEADER_BYTES
from whelp.collect.answers import Answer
from whelp.collect.gunzip import BoundedBody, TooLargeError
from whelp.collect.left_out import LeftOut

_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})\b[^\n]*\n?")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_LINE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_READ_BYTES = 1 << 16
_AS_IT_IS = ("", "identity", "none", "utf-8", "binary")


def read_head(content: bytes, url: str) -> Answer:
    """Read status and headers; the body is as it came.

    Raises:
        LeftOut: When it is no answer of HTTP, or its headers have no end.
    """
    line = _STATUS_LINE.match(content)
    if line is None:
        raise LeftOut("no answer of HTTP")
    end = _HEADER_END.search(content, line.end() - 2, line.end() + MAX_HEADER_BYTES)
    if end is None and len(content) > line.end() + MAX_HEADER_BYTES:
        raise LeftOut("headers without an end")
    head = content[line.end() : end.start() if end else len(content)]
    return Answer(
        url=url, status=int(line[1]), headers=parse_headers(head.strip(b"\r\n")), body=content[end.end() :] if end else b""
    )


def unpack_body(answer: Answer, max_bytes: int) -> bytes:
    """The body without chunks (`Transfer-Encoding`) and packing (`Content-Encoding`).

    Crawlers often keep the headers and unpack the body: what does not look like what its header says is taken as it is. Of a body that
    breaks off, what came is given.

    Raises:
        LeftOut: When it unpacks to more than `max_bytes`, or cannot be unpacked.
    """
    body = answer.body
    if "chunked" in answer.headers.get("transfer-encoding", "").lower():
        body = _join_chunks(body)
    for name in reversed(answer.headers.get("content-encoding", "").lower().split(",")):
        unpack = _UNPACKERS.get(name.strip())
        if unpack is not None:
            body = unpack(body, max_bytes)
        elif name.strip() not in _AS_IT_IS:
            raise LeftOut("packed in another way than gzip, deflate, br or zstd")
    return body


def _join_chunks(body: bytes) -> bytes:
    parts: list[bytes] = []
    place = 0
    while (line := _CHUNK_LINE.match(body, place)) is not None:
        length = int(line[1], 16)
        if not length:
            return b"".join(parts)
        parts.append(body[line.end() : line.end() + length])
        place = line.end() + length
        place += 2 if body[place : place + 2] == b"\r\n" else body[place : place + 1] == b"\n"
    return b"".join(parts) if place else body  # without a first chunk the crawler has joined them


def _unpack_gzip(body: bytes, max_bytes: int) -> bytes:
    return _feed(body, max_bytes) if body.startswith(b"\x1f\x8b") else body


def _unpack_deflate(body: bytes, max_bytes: int) -> bytes:
    is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    if is_zlib:
        return _feed(body, max_bytes)
    return body if body.lstrip()[:1] == b"<" else _feed(body, max_bytes, is_raw=True)


def _feed(body: bytes, max_bytes: int, *, is_raw: bool = False) -> bytes:
    unpacked = BoundedBody(max_bytes, is_gzip=not is_raw, is_raw=is_raw)
    try:
        unpacked.add(body)
    except TooLargeError:
        raise _too_large(max_bytes) from None
    except zlib.error:
        pass
    return _check(unpacked.so_far, body)


def _unpack_with(codec: str) -> Callable[[bytes, int], bytes]:
    def unpack(body: bytes, max_bytes: int) -> bytes:
        import pyarrow as pa

        parts: list[bytes] = []
        num_bytes = 0
        try:
            stream = pa.CompressedInputStream(pa.BufferReader(body), codec)
            while part := stream.read(_READ_BYTES):
                parts.append(part)
                num_bytes += len(part)
                if num_bytes > max_bytes:
                    raise _too_large(max_bytes)
        except (pa.ArrowException, OSError):
            if not parts and body.lstrip()[:1] == b"<":
                return body
        return _check(b"".join(parts), body)

    return unpack


def _check(unpacked: bytes, body: bytes) -> bytes:
    if body and not unpacked:
        raise LeftOut("a body that cannot be unpacked")
    return unpacked


def _too_large(max_bytes: int) -> LeftOut:
    return LeftOut(f"larger than {max_bytes:,} bytes")


_UNPACKERS = {
    "gzip": _unpack_gzip,
    "x-gzip": _unpack_gzip,
    "deflate": _unpack_deflate,
    "br": _unpack_with("brotli"),
    "zstd": _unpack_with("zstd"),
}
