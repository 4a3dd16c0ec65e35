"""Cut a stream of UTF-8 blocks into documents, without a Python object per document.

A splitter finds where documents start and end in a buffer; what it cannot decide yet stays in the buffer, which grows
only when a document is larger than a block. `iter_documents` turns the positions into Arrow text and line numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import find_byte, to_arrow
from whelp.corpus.columns import measure_texts

Positions = npt.NDArray[np.int64]

_BYTES_FOR_A_LINE = 1024  # in the time to look at one line by itself, so many bytes are looked at together
_SOME_INK = b"x"
_SHOWN_BYTES = 1 << 13  # of what is passed over
_NO_POSITIONS: Positions = np.zeros(0, np.int64)
_IS_INK = np.ones(256, np.bool_)
_IS_INK[list(b" \t\n\v\f\r")] = False


@dataclass(frozen=True)
class Documents:
    """Documents of one file: `texts` (large_string), where each starts: `lines` from 1, `offsets` in UTF-8 bytes.

    `is_empty` marks those of no text but white space.
    """

    texts: pa.LargeStringArray
    lines: Positions
    offsets: Positions
    is_empty: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LongDocument:
    """A document that is too long, and was passed over: the line where it starts, and how it begins."""

    line: int
    beginning: bytes


class Buffer:
    """Bytes that are looked through, and where their lines end; those are found once, when first asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    @cached_property
    def newlines(self) -> Positions:
        return find_byte(np.frombuffer(self.data, np.uint8), ord("\n"))

    def count_newlines(self, end: int) -> int:
        """How many there are before `end`."""
        if "newlines" in self.__dict__:
            return int(np.searchsorted(self.newlines, end))
        return self.data.count(b"\n", 0, end)

    def find_lines(self, is_last: bool) -> tuple[Positions, Positions, int]:
        """Return starts and ends (without the newline) of whole lines, and how many bytes they take."""
        newlines = self.newlines
        num_whole = int(newlines[-1]) + 1 if len(newlines) else 0
        starts = np.concatenate([np.zeros(1, np.int64), newlines + 1])
        if is_last and num_whole < len(self):
            return starts, np.append(newlines, len(self)), len(self)
        return starts[:-1], newlines, num_whole


class Splitter(Protocol):
    """Finds documents. One splitter serves one file, for it may remember where it is."""

    def split(self, buffer: Buffer, is_last: bool) -> tuple[Positions, Positions, int]:
        """Return starts and ends of the finished documents, and how many bytes are not needed again."""
        ...

    def shorten(self, rest: bytes, max_bytes: int) -> bytes | None:
        """What to go on with in place of a document that is not finished, and too long already, to find where it ends.

        None when it is not too long, or its end can only be found with all of it.
        """
        ...


class FileSplitter:
    """The whole file is one document."""

    def split(self, buffer: Buffer, is_last: bool) -> tuple[Positions, Positions, int]:
        if not is_last:
            return _NO_POSITIONS, _NO_POSITIONS, 0
        return np.zeros(1, np.int64), np.full(1, len(buffer), np.int64), len(buffer)

    def shorten(self, rest: bytes, max_bytes: int) -> bytes | None:
        return _SOME_INK


class LineSplitter:
    """Each line is a document; the line end is not part of it."""

    def split(self, buffer: Buffer, is_last: bool) -> tuple[Positions, Positions, int]:
        return buffer.find_lines(is_last)

    def shorten(self, rest: bytes, max_bytes: int) -> bytes | None:
        return _SOME_INK


class BlankLineSplitter:
    """Each run of lines that are not blank is a document. A line of ASCII white space only is blank."""

    def split(self, buffer: Buffer, is_last: bool) -> tuple[Positions, Positions, int]:
        starts, ends, num_whole = buffer.find_lines(is_last)
        if not len(starts):
            return starts, ends, num_whole
        has_ink = _find_ink(np.frombuffer(buffer.data, np.uint8), starts, ends)
        goes_on = np.zeros(len(starts) + 1, np.bool_)
        goes_on[1:] = has_ink
        document_starts = starts[has_ink & ~goes_on[:-1]]
        goes_on[:-1] = has_ink
        goes_on[-1] = False
        document_ends = ends[has_ink & ~goes_on[1:]]
        if is_last or not has_ink[-1]:
            return document_starts, document_ends, num_whole
        return document_starts[:-1], document_ends[:-1], int(document_starts[-1])

    def shorten(self, rest: bytes, max_bytes: int) -> bytes | None:
        start = rest.rfind(b"\n") + 1
        last_line = rest[start:]
        # a line that is blank so far may be the end; but a hundred million spaces without a newline are not waited for
        if (not last_line or last_line.isspace()) and start - 1 <= max_bytes and len(last_line) <= max_bytes:
            return None
        return _SOME_INK + b"\n" + (b" " if last_line.isspace() else _SOME_INK if last_line else b"")


class RegexSplitter:
    """What stands between two matches of `pattern` is a document.

    A match is final when `horizon_bytes` of text follow it, so a match, and whatever it looks at, must fit in there.
    """

    def __init__(self, pattern: str, horizon_bytes: int = 1 << 16) -> None:
        self._pattern, self._horizon_bytes = pattern, horizon_bytes
        self._context: tuple[int, int] | None = None  # start and end of the last final match, which is seen again

    def split(self, buffer: Buffer, is_last: bool) -> tuple[Positions, Positions, int]:
        match_starts, match_ends = _find_matches(buffer.data, self._pattern)
        final = len(match_starts)
        if not is_last:
            final = int(np.searchsorted(match_ends, len(buffer) - self._horizon_bytes, side="right"))
        starts = np.concatenate([np.zeros(1, np.int64), match_ends[:final]])
        ends = np.concatenate([match_starts[:final], np.full(1, len(buffer), np.int64)])
        if self._context is not None:
            seen = (int(match_starts[0]), int(match_ends[0])) if len(match_starts) else None
            if seen != self._context:
                raise PatternTooLong(self._horizon_bytes)
            starts, ends = starts[1:], ends[1:]
        if is_last:
            return starts, ends, len(buffer)
        if final == 0:
            return _NO_POSITIONS, _NO_POSITIONS, 0
        # Keep the last final match and one character before it: what stands left of a position decides ^ and \b there.
        match_start, match_end = int(match_starts[final - 1]), int(match_ends[final - 1])
        keep = match_start
        while keep > (0 if final == 1 else int(match_ends[final - 2])):
            keep -= 1
            if buffer.data[keep] & 0xC0 != 0x80:
                break
        self._context = (match_start - keep, match_end - keep)
        return starts[:-1], ends[:-1], keep

    def shorten(self, rest: bytes, max_bytes: int) -> bytes | None:
        return None  # what a pattern makes of a part of the text is not what it makes of the whole


class PatternTooLong(Exception):
    """A match changed when more text came: it depends on more text than `horizon_bytes`."""

    def __init__(self, horizon_bytes: int) -> None:
        super().__init__(horizon_bytes)
        self.horizon_bytes = horizon_bytes


def make_splitter(document: str, pattern: str | None) -> Splitter:
    """Choose the splitter for a way to cut documents: file, line, blank_line or regex."""
    if document == "regex":
        assert pattern is not None, "document is regex, but there is no pattern"
        return RegexSplitter(pattern)
    splitters: dict[str, type[Splitter]] = {"file": FileSplitter, "line": LineSplitter, "blank_line": BlankLineSplitter}
    return splitters[document]()


def iter_documents(
    blocks: Iterable[bytes], splitter: Splitter, max_bytes: int | None = None
) -> Iterator[Documents | LongDocument]:
    """Cut UTF-8 blocks of whole characters into documents, as soon as each is finished.

    A document of more than `max_bytes` is passed over, and about that much is held at most, where the splitter can find the end
    of what it does not see.

    >>> blocks = [b"a\\nb\\nc"]
    >>> [(found.texts.to_pylist(), found.lines.tolist()) for found in iter_documents(blocks, LineSplitter())]
    [(['a', 'b'], [1, 2]), (['c'], [3])]
    """
    most = 1 << 62 if max_bytes is None else max_bytes
    rest, line, offset = b"", 1, 0
    pending: list[bytes] = []
    num_pending = 0
    ended = is_passing = False
    remaining = iter(blocks)
    while not ended:
        block = next(remaining, None)
        ended = block is None
        if block is not None:
            pending.append(block)
            num_pending += len(block)
            # a long document: look again when the buffer has doubled, not at each block
            if num_pending < len(rest) and num_pending + len(rest) <= most:
                continue
        buffer = Buffer(b"".join([part for part in (rest, *pending) if part]))  # no copy where there is one part
        pending, num_pending, rest = [], 0, b""
        starts, ends, num_done = splitter.split(buffer, ended)
        if is_passing and len(starts):  # the end of what was passed over
            starts, ends, is_passing = starts[1:], ends[1:], False
        if len(starts):
            yield from _iter_short(buffer, starts, ends, line, offset, most)
        line += buffer.count_newlines(num_done)
        offset += num_done
        rest = buffer.data[num_done:]
        del buffer
        if len(rest) > most and (short := splitter.shorten(rest, most)) is not None:
            if not is_passing:
                yield LongDocument(line, rest[:_SHOWN_BYTES])
            is_passing = True
            line += rest.count(b"\n") - short.count(b"\n")
            offset += len(rest) - len(short)
            rest = short


def _iter_short(
    buffer: Buffer, starts: Positions, ends: Positions, line: int, offset: int, most: int
) -> Iterator[Documents | LongDocument]:
    """The documents of a buffer, in order, those that are too long apart."""
    is_long = ends - starts > most
    first = 0
    for index in [*np.flatnonzero(is_long).tolist(), len(starts)]:
        if first < index:
            yield _make_documents(buffer, starts[first:index], ends[first:index], line, offset)
        if index < len(starts):
            start = int(starts[index])
            yield LongDocument(
                line + buffer.count_newlines(start), buffer.data[start : min(int(ends[index]), start + _SHOWN_BYTES)]
            )
        first = index + 1


def _find_ink(data: npt.NDArray[np.uint8], starts: Positions, ends: Positions) -> npt.NDArray[np.bool_]:
    """Which lines hold more than ASCII white space."""
    is_filled = ends > starts
    has_ink = is_filled & (_IS_INK[data[np.minimum(starts, len(data) - 1)]] | _IS_INK[data[np.maximum(ends - 1, 0)]])
    doubtful = np.flatnonzero(is_filled & ~has_ink)  # white space at both ends: look at all of it
    if len(doubtful) * _BYTES_FOR_A_LINE > len(data):
        bounds = np.stack((starts[doubtful], ends[doubtful]), axis=1).ravel()
        is_ink = np.append(_IS_INK[data], False)  # one more, so that every bound is inside
        has_ink[doubtful] = np.logical_or.reduceat(is_ink, bounds)[::2]
    else:
        for index in doubtful:
            has_ink[index] = _IS_INK[data[starts[index] : ends[index]]].any()
    return has_ink


def _make_documents(buffer: Buffer, starts: Positions, ends: Positions, line: int, offset: int) -> Documents:
    if len(starts) == 1 and 2 * (ends[0] - starts[0]) > len(buffer):  # no copy of a long one
        lines = np.array([line + buffer.count_newlines(int(starts[0]))], np.int64)
        bounds = np.concatenate([starts, ends])
        texts = pa.LargeStringArray.from_buffers(1, pa.py_buffer(bounds), pa.py_buffer(buffer.data))
        return Documents(texts, lines, starts + offset, measure_texts(texts)[1])
    # Gaps and documents in turn are one text column over the buffer as it is; every second value is a document.
    bounds = np.empty(2 * len(starts) + 2, np.int64)
    bounds[0], bounds[-1] = 0, len(buffer)
    bounds[1:-1:2], bounds[2:-1:2] = starts, ends
    texts = pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(buffer.data))
    texts = texts.take(to_arrow(np.arange(1, len(bounds) - 1, 2)))
    if len(starts) == 1:
        lines = np.array([line + buffer.count_newlines(int(starts[0]))], np.int64)
    else:
        lines = line + np.searchsorted(buffer.newlines, starts).astype(np.int64)
    return Documents(texts, lines, starts + offset, measure_texts(texts)[1])


def _find_matches(buffer: bytes, pattern: str) -> tuple[Positions, Positions]:
    """Return starts and ends of the matches. Wraps each match in NULs, which no text holds, and looks for those."""
    bounds = np.array([0, len(buffer)], np.int64)
    text = pa.LargeStringArray.from_buffers(1, pa.py_buffer(bounds), pa.py_buffer(buffer))
    marked = pc.replace_substring_regex(text, pattern=f"({pattern})", replacement="\0\\1\0")
    nuls = np.flatnonzero(np.frombuffer(marked[0].as_buffer(), np.uint8) == 0).astype(np.int64, copy=False)
    positions = nuls - np.arange(len(nuls))
    return positions[0::2], positions[1::2]
