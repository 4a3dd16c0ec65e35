"""Find whole pages in the bytes of a dump, without reading XML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_OPEN, _CLOSE = b"<page>", b"</page>"  # neither can stand in the text of a page, where < is written &lt;
PIECE_BYTES = 1 << 20


class CutOff(Exception):
    """The bytes end inside a page."""


@dataclass(frozen=True)
class Piece:
    """Pages, end to end, as bytes; and how many were left out before them because they are too large."""

    pages: bytes
    num_too_large: int = 0


def iter_pieces(blocks: Iterator[tuple[bytes, bool]], max_page_bytes: int) -> Iterator[Piece]:
    """Cut pages out of blocks, about a megabyte at a time.

    Each block says whether it is one's own. A page belongs to whoever owns its first byte: the last page is read to its end
    in blocks that follow, and no page is begun there. An empty block that is another's asks whether one is needed at all.

    Raises:
        CutOff: When the last page has no end.
    """
    buffer, own = b"", 0  # `own`: how many bytes of the buffer may begin a page
    ready: list[bytes] = []
    num_ready = num_too_large = 0
    is_inside = is_too_large = False
    for data, is_own in blocks:
        buffer += data
        own += len(data) if is_own else 0
        position = 0
        while True:
            if not is_inside:
                start = buffer.find(_OPEN, position)
                if start < 0 or start >= own:
                    position = max(position, len(buffer) - _count_begun(buffer))
                    break
                is_inside, position = True, start
            end = buffer.find(_CLOSE, position)
            if end < 0:
                if is_too_large or len(buffer) - position > max_page_bytes:
                    is_too_large, position = True, max(position, len(buffer) - len(_CLOSE) + 1)
                break
            end += len(_CLOSE)
            if is_too_large or end - position > max_page_bytes:
                num_too_large += 1
            else:
                ready.append(buffer[position:end])
                num_ready += end - position
            is_inside = is_too_large = False
            position = end
            if num_ready >= PIECE_BYTES:
                yield Piece(b"".join(ready), num_too_large)
                ready, num_ready, num_too_large = [], 0, 0
        buffer, own = buffer[position:], max(0, own - position)
        if not is_own and not is_inside and not own:
            break
    if is_inside:
        raise CutOff
    if ready or num_too_large:
        yield Piece(b"".join(ready), num_too_large)


def _count_begun(buffer: bytes) -> int:
    """How many of the last bytes may be the beginning of a tag whose rest follows."""
    return next((size for size in range(len(_OPEN) - 1, 0, -1) if buffer.endswith(_OPEN[:size])), 0)
