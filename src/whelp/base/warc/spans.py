"""Spans of a file: the records that begin in each, so that processes share a file out without reading it before.

An archive is packed record by record, each a member of its own (of gzip, or a frame of zstd), or not packed. Where the first record
of a span begins is found by its first bytes. Those may also stand within a record (an archive in an archive, a page about archives),
so whoever reads spans in order compares: a span must begin where the one before ends, and is read again from there where it does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from whelp.base.errors import say_first_line
from whelp.base.warc.packings import Codec, Packing, find_packing
from whelp.base.warc.records import (
    BROKEN_RECORD,
    CUT_OFF,
    VERSION,
    Broken,
    BrokenDataError,
    Record,
    iter_records,
)

BLOCK_BYTES = 1 << 20
_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class Span:
    """Bytes of a file. `is_exact`: a record begins at its start; else the first behind it is looked for."""

    start: int
    end: int
    is_exact: bool = False


class SpanRecords:
    """The records that begin in a span, to be gone through once.

    Attributes:
        begin: Where the first of them begins; None where none does.
        end: Once all are read, where the first behind the span begins, or the file ends.
    """

    def __init__(self, path: Path, codec: Codec, span: Span, max_content_bytes: int) -> None:
        self._path, self._codec, self._span, self._max_content_bytes = path, codec, span, max_content_bytes
        self.begin: int | None = None
        self.end = span.end

    def __iter__(self) -> Iterator[Record | Broken]:
        with open(self._path, "rb", buffering=BLOCK_BYTES) as file:
            start, stop = self._span.start, self._span.end
            packing = None if self._codec == "none" else find_packing(file, self._codec)
            if self._span.is_exact:
                place: int | None = start
            else:
                place = _find_plain(file, start, stop) if packing is None else _find_member(file, packing, start, stop)
            if place is None:
                return
            self.begin = place
            yield from self._iter_plain(file, place) if packing is None else self._iter_members(file, packing, place)

    def _iter_members(self, file: IO[bytes], packing: Packing, place: int) -> Iterator[Record | Broken]:
        while place < self._span.end:
            member = _Member(file, packing, place)
            for found in iter_records(member, self._max_content_bytes, ends_whole=True):
                yield _at(found, place)
            behind = member.end if member.end is not None else _find_member(file, packing, place + 1, None)
            place = file.seek(0, 2) if behind is None or member.is_last else behind
        self.end = place

    def _iter_plain(self, file: IO[bytes], place: int) -> Iterator[Record | Broken]:
        num_bytes = file.seek(0, 2) - place
        file.seek(place)
        blocks = iter(lambda: file.read(BLOCK_BYTES), b"")
        for found in iter_records(blocks, self._max_content_bytes, count_bytes=lambda: num_bytes):
            if place + found.offset >= self._span.end:
                self.end = place + found.offset
                return
            yield _at(found, place)
        self.end = max(self._span.end, file.seek(0, 2))


def is_packed_by_record(path: Path, codec: Codec) -> bool:
    """Whether the first member of a packed file that holds records holds one, as it should, and not all of them."""
    with open(path, "rb") as file:
        for member in _iter_members(file, codec):
            num_records = sum(1 for _ in islice(iter_records(member, 0), 2))
            if num_records:
                return num_records == 1
    return True


def iter_unpacked(path: Path, codec: Codec) -> Iterator[tuple[bytes, int]]:
    """The bytes of a packed file, with how far the file itself was read for them.

    Raises:
        BrokenDataError: When it is cut off, or broken.
    """
    with open(path, "rb") as file:
        for member in _iter_members(file, codec):
            for block in member:
                yield block, member.position


def count_unpacked(path: Path, codec: Codec) -> int:
    """How many bytes `iter_unpacked` gives, of broken data up to where they break."""
    num_bytes = 0
    with contextlib.suppress(BrokenDataError):
        for block, _ in iter_unpacked(path, codec):
            num_bytes += len(block)
    return num_bytes


def _iter_members(file: IO[bytes], codec: Codec) -> Iterator[_Member]:
    """Each is to be gone through before the next is asked for."""
    packing = find_packing(file, codec)
    place: int | None = 0
    while place is not None:
        member = _Member(file, packing, place)
        yield member
        place = None if member.is_last else member.end


def _at(found: Record | Broken, place: int) -> Record | Broken:
    if isinstance(found, Record):
        return Record(place + found.offset, found.headers, found.content)
    return Broken(place + found.offset, found.kind, found.found)


class _Member:
    """One member, unpacked block by block.

    Attributes:
        end: Where it ends, once that is known; `is_last` when nothing but padding follows.
    """

    def __init__(self, file: IO[bytes], packing: Packing, place: int) -> None:
        self._file, self._packing, self._place = file, packing, place
        self.position = place
        self.end: int | None = None
        self.is_last = False

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self._place)
        unpacker = self._packing.begin()
        packed = b""
        while not unpacker.eof:
            if not packed and not (packed := self._file.read(_READ_BYTES)):
                raise BrokenDataError(CUT_OFF, f"the {self._packing.name} data have no end")
            self.position = self._file.tell()
            try:
                block = unpacker.decompress(packed, BLOCK_BYTES)
            except self._packing.error as error:
                raise BrokenDataError(BROKEN_RECORD, f"broken {self._packing.name} data ({say_first_line(error)})") from None
            packed = unpacker.unconsumed_tail
            if block:
                yield block
        self.end = self.position = self._file.tell() - len(unpacker.unused_data)
        self.is_last = self._is_padding(unpacker.unused_data)

    def _is_padding(self, behind: bytes) -> bool:
        """Whether nothing but zeros follows, up to the end of the file."""
        while behind[:1] in (b"", b"\0"):
            if behind.strip(b"\0"):
                return False
            behind = self._file.read(_READ_BYTES)
            if not behind:
                return True
        return False


def _find_member(file: IO[bytes], packing: Packing, start: int, stop: int | None) -> int | None:
    """Where the first member of a record begins, from `start` on and before `stop`."""
    for place in _find_all(file, packing.magic, start, stop):
        file.seek(place)
        try:
            head = packing.begin().decompress(file.read(packing.shown_bytes), 64)
        except packing.error:
            continue
        if VERSION.match(head.lstrip(b"\r\n")) is not None:
            return place
    return None


def _find_plain(file: IO[bytes], start: int, stop: int | None) -> int | None:
    """Where the first record begins, from `start` on and before `stop`."""
    for place in _find_all(file, b"\nWARC/", max(0, start - 1), None if stop is None else stop - 1):
        file.seek(place + 1)
        if VERSION.match(file.read(64)) is not None:
            return place + 1
    return None


def _find_all(file: IO[bytes], sign: bytes, start: int, stop: int | None) -> Iterator[int]:
    held, base = b"", start
    file.seek(start)
    while stop is None or base < stop:
        file.seek(base + len(held))
        block = file.read(BLOCK_BYTES)
        if not block:
            return
        data = held + block
        place = data.find(sign)
        while place >= 0 and (stop is None or base + place < stop):
            yield base + place
            place = data.find(sign, place + 1)
        held = data[-len(sign) + 1 :]
        base += len(data) - len(held)
