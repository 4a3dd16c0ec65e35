"""Where a large file can be cut: between documents, so that the parts, laid end to end, are the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Border = Literal["line", "blank_line"]
_BORDERS = {"line": re.compile(rb"\n"), "blank_line": re.compile(rb"\n(?:[ \t\r]*\n)+")}


@dataclass(frozen=True)
class Slice:
    """Bytes of one part, in order; `part` counts from 0. `num_borders`: how many documents they hold."""

    part: int
    data: bytes
    num_borders: int


class DocumentTooLarge(Exception):
    """A document is larger than a part may be: `num_bytes`, or more."""

    def __init__(self, position: int, num_bytes: int) -> None:
        super().__init__(position, num_bytes)
        self.position, self.num_bytes = position, num_bytes


def iter_documents(blocks: Iterable[bytes], border: Border, most: int) -> Iterator[bytes]:
    """Runs of whole documents, each with the line feeds that end it; as large as the blocks give them.

    Raises:
        DocumentTooLarge: When one is larger than `most`.
    """
    pattern = _BORDERS[border]
    held, position = b"", 0
    for block in blocks:
        data = held + block
        if border == "line":
            cut = data.rfind(b"\n") + 1
        else:  # a run of blank lines may go on in the next block
            ends = [match.end() for match in pattern.finditer(data)]
            while ends and not data[ends[-1] :].strip(b" \t\r"):
                ends.pop()
            cut = ends[-1] if ends else 0
        if cut:
            yield data[:cut]
            position += cut
        held = data[cut:]
        if len(held) > most + len(block):
            raise DocumentTooLarge(position, len(held))
    if held:
        yield held


def iter_slices(
    blocks: Iterable[bytes], border: Border, *, max_bytes: int | None = None, ends: Iterable[int] = ()
) -> Iterator[Slice]:
    """Cut at borders of documents: before a part would be larger than `max_bytes`, or after each place of `ends` in the file.

    Raises:
        DocumentTooLarge: When a document is larger than `max_bytes`.
    """
    pattern = _BORDERS[border]
    places = iter(ends)
    next_end = next(places, None)
    part, size, position = 0, 0, 0  # `size` of the part so far, `position` in the file
    for run in iter_documents(blocks, border, max_bytes if max_bytes is not None else 1 << 62):
        start, previous, num_borders = 0, 0, 0
        for end in _iter_ends(run, pattern):
            length = end - previous
            if max_bytes is not None and length > max_bytes:
                raise DocumentTooLarge(position + previous, length)
            is_full = max_bytes is not None and size + (end - start) > max_bytes
            middle = position + previous + length // 2  # a part may end on either side of a place: on the nearer one
            is_passed = next_end is not None and middle >= next_end and size + (previous - start) > 0
            if is_full or is_passed:
                if previous > start:
                    yield Slice(part, run[start:previous], num_borders)
                part, size, start, num_borders = part + 1, 0, previous, 0
                while next_end is not None and middle >= next_end:
                    next_end = next(places, None)
            previous, num_borders = end, num_borders + 1
        yield Slice(part, run[start:], num_borders)
        size, position = size + len(run) - start, position + len(run)


def _iter_ends(run: bytes, pattern: re.Pattern[bytes]) -> Iterator[int]:
    end = 0
    for match in pattern.finditer(run):
        end = match.end()
        yield end
    if end < len(run):
        yield len(run)
