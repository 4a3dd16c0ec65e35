"""Records of a web archive in bytes that are not packed; broken places are said, and passed over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

VERSION = re.compile(rb"WARC/[01]\.\d{1,2}[ \t]*\r?\n")
CUT_OFF = "cut off"
BROKEN_RECORD = "broken record"
_VERSION_BYTES = 32
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_HEADER_END_BYTES = 4
_HEADER_BYTES = 1 << 12
MAX_HEADER_BYTES = 1 << 18
_MOST_DIGITS = 16
_LINE_ENDS = b"\r\n"
_SIGN = b"WARC/"
_BORDER_BYTES = 64  # in which the next record begins


@dataclass(frozen=True, slots=True)
class Record:
    """A record.

    Attributes:
        offset: Where it begins in the bytes.
        headers: By name in lower case; of a name that comes twice the first.
        content: Its block; None where that is larger than was asked for.
    """

    offset: int
    headers: dict[str, str]
    content: bytes | None

    @property
    def kind(self) -> str:
        """`response`, `conversion`, `warcinfo`, ..., in lower case."""
        return self.headers.get("warc-type", "").lower()

    @property
    def media_type(self) -> str:
        """What its block is: `application/http`."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def url(self) -> str:
        """What it is of; empty where it does not say."""
        return self.headers.get("warc-target-uri", "").strip("<> ")

    @property
    def id(self) -> str:
        """The name of the record itself, without brackets: `urn:uuid:...`."""
        return self.headers.get("warc-record-id", "").strip("<> ")


@dataclass(frozen=True, slots=True)
class Broken:
    """A place that is no whole record: `kind` to count by (`CUT_OFF`, `BROKEN_RECORD`), `found` for people."""

    offset: int
    kind: str
    found: str


class BrokenDataError(Exception):
    """The bytes cannot be read any further: they are packed, and what is packed is broken or cut off."""

    def __init__(self, kind: str, found: str) -> None:
        super().__init__(kind, found)
        self.kind, self.found = kind, found


def parse_headers(block: bytes) -> dict[str, str]:
    r"""Lines of `Name: value`, by name in lower case; lines that begin with a blank go on with the one before.

    >>> parse_headers(b"A-B: c\r\nD:e\r\n f\r\nno header\r\na-b: later")
    {'a-b': 'c', 'd': 'e f'}
    """
    headers: dict[str, str] = {}
    last = ""
    for line in block.decode("utf-8", "replace").split("\n"):
        if line[:1] in (" ", "\t") and last:
            headers[last] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        last = name.strip().lower() if colon else ""
        if last and last not in headers:
            headers[last] = value.strip()
        else:
            last = ""
    return headers


class _Window:
    """Blocks as one run of bytes, of which those before `at` are done with."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._base = 0
        self._endless = 0  # the place up to which no header ends: what begins as a record may stand there many times
        self._is_ended = False
        self.data, self.at = b"", 0
        self.problem: BrokenDataError | None = None

    @property
    def position(self) -> int:
        return self._base + self.at

    def fill(self, num_bytes: int) -> bool:
        """Whether so many bytes are there, from `at` on; they are, unless the blocks end."""
        missing = self.at + num_bytes - len(self.data)
        if missing <= 0 or self._is_ended:
            return missing <= 0
        parts = [self.data[self.at :]]
        self._base, self.at = self._base + self.at, 0
        while missing > 0 and (block := self._next_block()):
            parts.append(block)
            missing -= len(block)
        self.data = b"".join(parts)
        return missing <= 0

    def _next_block(self) -> bytes:
        if self._is_ended:
            return b""
        try:
            for block in self._blocks:
                if block:
                    return block
        except BrokenDataError as error:
            self.problem = error
        self._is_ended = True
        return b""

    def skip_line_ends(self) -> None:
        while self.fill(1):
            here = self.data[self.at : self.at + 16]
            num_ends = len(here) - len(here.lstrip(_LINE_ENDS))
            self.at += num_ends
            if num_ends < len(here):
                return

    def begins_record(self) -> bool:
        self.fill(_VERSION_BYTES)
        return VERSION.match(self.data, self.at) is not None

    def skip(self, num_bytes: int) -> bool:
        """Pass over bytes without holding them; whether there were so many."""
        while num_bytes:
            if not self.fill(1):
                return False
            step = min(num_bytes, len(self.data) - self.at)
            self.at, num_bytes = self.at + step, num_bytes - step
        return True

    def find_header_end(self) -> int | None:
        num_bytes = _HEADER_BYTES
        while True:
            is_more = self.fill(num_bytes)
            stop = min(self.at + num_bytes, len(self.data))
            match = _HEADER_END.search(self.data, max(self.at, self._endless - self._base), stop)
            if match is not None:
                return match.end()
            self._endless = max(self._endless, self._base + stop - _HEADER_END_BYTES)
            if not is_more or num_bytes >= MAX_HEADER_BYTES:
                return None
            num_bytes *= 4

    def seek_record(self) -> bool:
        """Go to the next line that begins as a record does, behind the one at `at`."""
        start = self.at + 1
        while True:
            match = _find_line(self.data, start)
            if match is not None:
                self.at = match
                return True
            self.at = max(start - 1, len(self.data) - _VERSION_BYTES)
            kept = len(self.data) - self.at
            if not self.fill(kept + 1):
                self.at = len(self.data)
                return False
            start = self.at


def _find_line(data: bytes, start: int) -> int | None:
    place = data.find(b"\nWARC/", max(0, start - 1))
    while place >= 0:
        if VERSION.match(data, place + 1) is not None:
            return place + 1
        place = data.find(b"\nWARC/", place + 1)
    return None


def iter_records(
    blocks: Iterable[bytes], max_content_bytes: int, *, count_bytes: Callable[[], int] | None = None, ends_whole: bool = False
) -> Iterator[Record | Broken]:
    """The records of an archive, in order.

    Memory: one block and one record. What follows a place that is no record is passed over up to the next line that begins as one.

    Args:
        max_content_bytes: A record with a larger block is given without it.
        count_bytes: Says how many bytes there are: what a large record that goes on beyond them holds is not passed over.
        ends_whole: The bytes are known to end as they should, so that a record which goes on beyond them says a wrong length.
    """
    window = _Window(blocks)
    while True:
        window.skip_line_ends()
        offset = window.position
        if not window.fill(1):
            if window.problem is not None:
                yield Broken(offset, window.problem.kind, window.problem.found)
            return
        found = _read_record(window, offset, max_content_bytes, count_bytes, ends_whole=ends_whole)
        yield found
        if isinstance(found, Broken) and not window.seek_record():
            return


def _read_record(
    window: _Window, offset: int, max_content_bytes: int, count_bytes: Callable[[], int] | None, *, ends_whole: bool
) -> Record | Broken:
    """The record at a place. After a broken one the window stands where the search for the next may begin."""

    def cut_off() -> Broken:
        if window.problem is not None:
            return Broken(offset, window.problem.kind, window.problem.found)
        return Broken(offset, BROKEN_RECORD, "a wrong length") if ends_whole else Broken(offset, CUT_OFF, "it has no end")

    if not window.begins_record():
        is_begun = window.data.startswith(_SIGN, window.at) or _SIGN.startswith(window.data[window.at :])
        if is_begun and not window.fill(_VERSION_BYTES):
            return cut_off()
        return Broken(offset, BROKEN_RECORD, "no record where one should begin")
    end = window.find_header_end()
    if end is None:
        is_endless = window.fill(MAX_HEADER_BYTES)
        return Broken(offset, BROKEN_RECORD, "headers without an end") if is_endless else cut_off()
    headers = parse_headers(window.data[window.at : end])
    digits = headers.get("content-length", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) < _MOST_DIGITS):
        return Broken(offset, BROKEN_RECORD, "no Content-Length")
    length = int(digits)
    window.at = end
    if length > max_content_bytes:
        if count_bytes is not None and window.position + length > count_bytes():
            return cut_off()
        return Record(offset, headers, None) if window.skip(length) else cut_off()
    if not window.fill(length):
        return cut_off()
    is_last = not window.fill(length + _BORDER_BYTES)
    start = window.at
    behind = window.data[start + length : start + length + _BORDER_BYTES].lstrip(_LINE_ENDS)[: len(_SIGN)]
    if not _SIGN.startswith(behind):  # too short, or too long
        return Broken(offset, BROKEN_RECORD, f"a wrong length: {behind!r} follows it")
    if is_last and window.problem is not None:
        return cut_off()
    window.at += length
    return Record(offset, headers, window.data[start : start + length])
