"""How a dump is shared out among processes.

A dump that is not packed, or packed in many bzip2 streams (the `multistream` files, whose index is not needed: streams are
found by their first bytes), is cut into spans of the file; each process reads and unpacks its own. Of a single bzip2 stream the
blocks are unpacked by all processes, any other is unpacked here; then pages are handed out. Spans and pieces depend on the file
alone, so the documents are the same on any number of processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whelp.base.errors import SourceError
from whelp.base.processes import InOrder
from whelp.collect.dump.bzip2_blocks import iter_unpacked
from whelp.collect.dump.cut_pages import CutOff, Piece, iter_pieces
from whelp.collect.dump.stream import BLOCK_BYTES, Codec, iter_blocks, iter_bzip2_streams, iter_plain

_STREAM = re.compile(rb"BZh[1-9]1AY&SY")
_STREAM_BYTES = 10
_LOOK_BYTES = 64 << 20  # a file with one stream so far is taken for one that has no more
_SPAN_BYTES = {"bzip2": 1 << 19, "none": 2 * BLOCK_BYTES}
_FOOTER = b"</mediawiki>"


@dataclass(frozen=True)
class Span:
    """Bytes of the file whose pages one process reads."""

    start: int
    end: int
    is_last: bool


@dataclass(frozen=True)
class Share:
    """The work of one process at a time: a span, or pages that are unpacked already. `position`: how far it goes in the file."""

    work: Span | Piece
    position: int


def iter_shares(path: Path, codec: Codec, max_page_bytes: int, in_order: InOrder) -> Iterator[Share]:
    """The work, in the order of the file.

    Args:
        in_order: See `iter_unpacked`.

    Raises:
        SourceError: When the file is cut off or broken.
    """
    size = path.stat().st_size
    spans = _iter_plain_spans(size) if codec == "none" else _iter_stream_spans(path, size) if codec == "bzip2" else iter(())
    first = next(spans, None)
    if first is not None:
        yield Share(first, first.end)
        for span in spans:
            yield Share(span, span.end)
        return
    position, tail = 0, b""

    def follow() -> Iterator[tuple[bytes, bool]]:
        nonlocal position, tail
        for block in iter_unpacked(path, in_order) if codec == "bzip2" else iter_blocks(path, codec):
            position, tail = block.position, (tail + block.data[-64:])[-64:]
            yield block.data, True

    try:
        for piece in iter_pieces(follow(), max_page_bytes):
            yield Share(piece, position)
    except CutOff:
        raise _cut_off(path) from None
    _check_end(path, tail)


def _iter_plain_spans(size: int) -> Iterator[Span]:
    step = _SPAN_BYTES["none"]
    for start in range(0, size, step):
        yield Span(start, min(start + step, size), start + step >= size)


def _iter_stream_spans(path: Path, size: int) -> Iterator[Span]:
    """Spans of whole bzip2 streams; none when there is one stream."""
    start, step = 0, _SPAN_BYTES["bzip2"]
    for place in _iter_streams(path):
        if start == 0 and place > _LOOK_BYTES:
            return
        if place - start >= step:
            yield Span(start, place, False)
            start = place
    if start:
        yield Span(start, size, True)


def _iter_streams(path: Path) -> Iterator[int]:
    """Where bzip2 streams begin: at 80 bits that packed data hold by chance once in a million billion gigabytes."""
    held, position = b"", 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            data = held + block
            start = position - len(held)
            for match in _STREAM.finditer(data):
                yield start + match.start()
            position += len(block)
            held = data[-_STREAM_BYTES + 1 :]
            if position > _LOOK_BYTES and start == 0:
                yield position


def iter_span_pieces(path: Path, codec: Codec, span: Span, max_page_bytes: int) -> Iterator[Piece]:
    """The pages that begin in a span.

    Raises:
        SourceError: When the file is cut off or broken.
    """
    blocks = (iter_plain if codec == "none" else iter_bzip2_streams)(path, span.start, span.end)
    tail = b""

    def follow() -> Iterator[tuple[bytes, bool]]:
        nonlocal tail
        for block in blocks:
            tail = (tail + block.data[-64:])[-64:]
            yield block.data, block.position < span.end

    try:
        yield from iter_pieces(follow(), max_page_bytes)
    except CutOff:
        raise _cut_off(path) from None
    if span.is_last:
        _check_end(path, tail)


def _check_end(path: Path, tail: bytes) -> None:
    if not tail.rstrip().endswith(_FOOTER):
        raise _cut_off(path)


def _cut_off(path: Path) -> SourceError:
    return SourceError(
        path,
        "ends before its </mediawiki>: it is cut off",
        "a whole dump",
        "Get it again, and compare its checksum; what was read so far is kept only while the file stays the same.",
    )
