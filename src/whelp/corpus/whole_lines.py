"""Blocks of whole lines of a file, in little more memory than the lines themselves; a line that is too long is passed over."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from whelp.corpus.rows import MOST_RAW_CHARACTERS

Data = bytes | bytearray
LONG_LINE_BYTES = 1 << 24  # from here on pieces of a line are put together as they come
_SHOWN_BYTES = 4 * MOST_RAW_CHARACTERS


@dataclass(frozen=True)
class LongLine:
    """A line that is too long for a row: how it begins."""

    beginning: bytes

    def say(self) -> str:
        """The beginning, to be shown."""
        return self.beginning.decode(errors="backslashreplace")


def iter_blocks(stream: Any, block_bytes: int) -> Iterator[bytes]:
    while block := stream.read(block_bytes):
        yield block


def iter_whole_lines(blocks: Iterator[bytes], max_line_bytes: int) -> Iterator[Data | LongLine]:
    """Blocks of whole lines; a line of more than `max_line_bytes` is passed over, and no more than that of it is ever held."""
    pending: list[Data] = []
    num_pending = 0
    rest = b""  # what follows a line that was passed over
    is_first = True
    while block := rest or next(blocks, b""):
        rest = b""
        pending.append(block)
        end = block.rfind(b"\n") + 1
        if not end:
            num_pending += len(block)
            if num_pending > max_line_bytes:
                yield LongLine(bytes(strip_mark(pending[0][:_SHOWN_BYTES])))
                is_first = False
                pending.clear()
                num_pending = 0
                rest = _skip_line(blocks)
            elif num_pending > LONG_LINE_BYTES:
                pending = [_gather(pending)]
            continue
        pending[-1] = block[:end]
        if num_pending + end > max_line_bytes:  # perhaps one of them is
            yield from _cut_at_long(_join(pending), max_line_bytes, is_first=is_first)
        else:
            yield strip_mark(_join(pending)) if is_first else _join(pending)  # no name here: who reads it lets it go
        is_first = False
        pending.append(block[end:])
        num_pending = len(pending[0])
    if num_pending > max_line_bytes:
        yield LongLine(bytes(strip_mark(pending[0][:_SHOWN_BYTES])))
    elif any(pending):
        yield strip_mark(_join(pending)) if is_first else _join(pending)


def _skip_line(blocks: Iterator[bytes]) -> bytes:
    """Read on to the end of the line; what was read behind it."""
    for block in blocks:
        end = block.find(b"\n") + 1
        if end:
            return bytes(block[end:])
    return b""


def _cut_at_long(lines: Data, max_line_bytes: int, *, is_first: bool) -> Iterator[Data | LongLine]:
    """Whole lines, cut where one is too long."""
    start = 0  # of what was not given yet
    place = 0
    while len(lines) - place > max_line_bytes:
        # the last line that may still be the end of a short one begins behind the last newline within reach
        newline = lines.rfind(b"\n", place, place + max_line_bytes + 1)
        if newline >= 0:
            place = newline + 1
            continue
        if place > start:
            yield strip_mark(lines[start:place]) if is_first and not start else lines[start:place]
        yield LongLine(bytes(strip_mark(lines[place : place + _SHOWN_BYTES])).partition(b"\n")[0])
        start = place = lines.find(b"\n", place) + 1 or len(lines)
    if start < len(lines):
        yield strip_mark(lines) if is_first and not start else lines[start:] if start else lines


def _gather(pieces: list[Data]) -> bytearray:
    """Put pieces of a long line to the end of the first, which grows in place: they and the line never lie in memory both."""
    first = pieces[0] if isinstance(pieces[0], bytearray) else bytearray(pieces[0])
    for piece in pieces[1:]:
        first += piece
    return first


def _join(pieces: list[Data]) -> Data:
    """Lines of their pieces, which are let go: no second copy lives on while the lines are read."""
    joined: Data = _gather(pieces) if isinstance(pieces[0], bytearray) else b"".join(pieces)
    pieces.clear()
    return joined


def strip_mark(data: Data) -> Data:
    return data[len(codecs.BOM_UTF8) :] if data.startswith(codecs.BOM_UTF8) else data
