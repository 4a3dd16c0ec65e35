"""The longest token that fits, again and again: how RWKV's World vocabulary reads text.

Exact and fast without a compiler: no token of such a vocabulary holds, say, a letter followed by a space. Between two bytes
that follow each other in no token, every token ends, so the text falls into short pieces that do not depend on each
other. Pieces recur as words do: Arrow finds the different ones, each is encoded once, and numpy puts the ids together.
"""

from __future__ import annotations

import re
import threading
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.arrays import to_numpy, to_texts, view_text
from whelp.tokenizer._arrow import Texts, cut_blocks
from whelp.tokenizer._threads import count_threads

Pieces = tuple[Any, npt.NDArray[np.int64], npt.NDArray[np.int64]]  # dictionary array; starts and documents in bytes

_BLOCK_BYTES = 4 << 20  # a block's working memory is some 20 times its text
_CACHE_PIECES = 1 << 20
_CACHED_BYTES = 256  # longer pieces do not recur


def find_neighbours(tokens: Iterable[bytes]) -> npt.NDArray[np.bool_]:
    """Which bytes follow each other in some token: bool, (65536,), at first * 256 + second."""
    follows = np.zeros(1 << 16, bool)
    joined = np.frombuffer(b"".join(tokens), np.uint8).astype(np.uint16)
    lengths = np.fromiter(map(len, tokens), np.int64)
    is_inside = np.ones(len(joined), bool)
    is_inside[np.cumsum(lengths) - 1] = False
    firsts = np.flatnonzero(is_inside)
    follows[(joined[firsts] << 8) | joined[firsts + 1]] = True
    return follows


class GreedyEngine:
    """Encodes by the longest match. `specials` (text -> id), if any, are found first, the longest at each place."""

    def __init__(self, ids: dict[bytes, int], specials: dict[str, int]) -> None:
        self._ids = ids
        tokens = list(ids)
        self._is_border = ~find_neighbours(tokens)
        lengths: dict[bytes, set[int]] = {}
        for token in tokens:
            lengths.setdefault(token[:2], set()).add(len(token))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}
        self._specials = {text: [token_id] for text, token_id in specials.items()}
        literals = sorted(map(re.escape, specials), key=len, reverse=True)
        self._special_pattern = re.compile(f"({'|'.join(literals)})") if literals else None
        self._lock = threading.Lock()
        self._forget()

    def encode_batch(self, strings: Texts) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        if self._special_pattern is not None:
            return self._encode_with_specials(strings.to_pylist())
        data, offsets = view_text(strings)
        blocks = [offsets[first : stop + 1] for first, stop in cut_blocks(offsets, _BLOCK_BYTES)]
        parts = [np.zeros(0, np.uint32)]
        ends = [np.zeros(1, np.int64)]
        for cut in self._iter_cut(data, blocks):
            ids, block_ends = self._encode_pieces(*cut)
            ends.append(block_ends + ends[-1][-1])
            parts.append(ids)
        return np.concatenate(parts), np.concatenate(ends)

    def encode(self, text: str) -> npt.NDArray[Any]:
        return self.encode_batch(to_texts([text]))[0]

    def _iter_cut(self, data: npt.NDArray[np.uint8], blocks: list[npt.NDArray[np.int64]]) -> Iterator[Pieces]:
        """Cut blocks of whole documents into pieces, several at once where there are cores: numpy and Arrow let go of Python."""
        num_threads = min(count_threads(), len(blocks))
        if num_threads < 2:
            yield from (self._cut(data, block) for block in blocks)
            return
        pending: deque[Future[Pieces]] = deque()
        with ThreadPoolExecutor(num_threads) as pool:
            for block in blocks:
                pending.append(pool.submit(self._cut, data, block))
                if len(pending) > num_threads:  # so many are cut while the pieces of one before become ids
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _cut(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Pieces:
        text = data[offsets[0] : offsets[-1]]
        documents = offsets - offsets[0]
        is_start = np.zeros(len(text) + 1, bool)
        if len(text):
            pairs = text[:-1].astype(np.uint16)
            pairs <<= 8
            pairs |= text[1:]
            np.take(self._is_border, pairs, out=is_start[1:-1])
        is_start[documents] = True
        starts = np.flatnonzero(is_start)  # of the pieces, and the end of the text
        buffers = [None, pa.py_buffer(starts), pa.py_buffer(np.ascontiguousarray(text))]
        pieces = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(starts) - 1, buffers).dictionary_encode()
        return pieces, starts, documents

    def _encode_pieces(
        self, pieces: Any, starts: npt.NDArray[np.int64], documents: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Ids of a block, and where each document's ids end."""
        if not len(pieces):
            return np.zeros(0, np.uint32), np.zeros(len(documents) - 1, np.int64)
        with self._lock:
            found = np.fromiter(map(self._find, pieces.dictionary.to_pylist()), np.int64)
            slot_starts, flat = np.frombuffer(self._starts, np.int64), np.frombuffer(self._flat, np.uint32)
            slots = found[to_numpy(pieces.indices)]
            counts = (slot_starts[1:] - slot_starts[:-1])[slots]
            ends = np.cumsum(counts)
            ids = flat[np.repeat(slot_starts[slots] - ends + counts, counts) + np.arange(ends[-1])]
            del slot_starts, flat  # so that the arrays can grow again
            if len(self._starts) > _CACHE_PIECES:
                self._forget()
        piece_ends = np.concatenate([np.zeros(1, np.int64), ends])
        return ids, piece_ends[np.searchsorted(starts, documents[1:])]

    def _find(self, piece: bytes) -> int:
        """The slot of a piece, encoded now if it is new."""
        slot = self._slots.get(piece)
        if slot is None:
            slot = len(self._starts) - 1
            self._flat.extend(self._match(piece))
            self._starts.append(len(self._flat))
            if len(piece) <= _CACHED_BYTES:
                self._slots[piece] = slot
        return slot

    def _match(self, text: bytes) -> list[int]:
        ids, lengths = self._ids, self._lengths
        found = []
        position, size = 0, len(text)
        while position < size:
            token_id = None
            for length in lengths.get(text[position : position + 2], ()):
                if length <= size - position:
                    token_id = ids.get(text[position : position + length])
                    if token_id is not None:
                        break
            if token_id is None:
                length = 1
                token_id = ids[text[position : position + 1]]
            found.append(token_id)
            position += length
        return found

    def _forget(self) -> None:
        self._slots: dict[bytes, int] = {}
        self._flat = array("I")  # ids of all pieces seen
        self._starts = array("q", [0])

    def _encode_with_specials(self, texts: Sequence[str]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        assert self._special_pattern is not None, "called where there are specials"
        found, ends = array("I"), array("q", [0])
        for text in texts:
            for part in self._special_pattern.split(text):
                found.extend(self._specials[part] if part in self._specials else self._match(part.encode()))
            ends.append(len(found))
        return np.array(found, np.uint32), np.array(ends, np.int64)
