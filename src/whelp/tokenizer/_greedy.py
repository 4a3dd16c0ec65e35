"""The longest token that fits, again and again: how RWKV's World vocabulary reads text.

Exact and fast without a compiler: no token of such a vocabulary holds, say, a letter followed by a space. Between two bytes
that follow each other in no token, every token ends, so the text falls into short pieces that do not depend on each
other. Pieces recur as words do: Arrow finds the different ones, a trie reads all new ones at once, and numpy puts the ids
together. Threads take blocks of the text, and wait for each other only while new pieces are read.
"""

from __future__ import annotations

import itertools
import re
import threading
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.arrays import to_numpy, to_texts, view_text
from whelp.tokenizer._arrow import Texts, cut_blocks
from whelp.tokenizer._threads import count_threads
from whelp.tokenizer._trie import Trie

Encoded = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]  # ids; where those of each document end

_BLOCK_BYTES = 1 << 20  # a block's working memory is some 20 times its text
_CACHE_PIECES = 1 << 20
_CACHED_BYTES = 256  # longer pieces do not recur
_TRIE_BYTES = 64  # longer pieces would make the trie take many steps for few pieces
_TRIE_PIECES = 64  # fewer are read sooner one by one


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

    _slots: dict[bytes, int]  # piece -> slot
    _starts: npt.NDArray[np.int64]  # where the ids of each slot start in `_flat`, and the last ones end
    _flat: npt.NDArray[np.uint32]

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
        for ids, block_ends in self._iter_encoded(data, blocks):
            ends.append(block_ends + ends[-1][-1])
            parts.append(ids)
        return np.concatenate(parts), np.concatenate(ends)

    def encode(self, text: str) -> npt.NDArray[Any]:
        return self.encode_batch(to_texts([text]))[0]

    def _iter_encoded(self, data: npt.NDArray[np.uint8], blocks: list[npt.NDArray[np.int64]]) -> Iterator[Encoded]:
        """Encode blocks of whole documents, several at once where there are cores: numpy and Arrow let go of Python."""
        num_threads = min(count_threads(), len(blocks))
        if num_threads < 2:
            yield from (self._encode_block(data, block) for block in blocks)
            return
        pending: deque[Future[Encoded]] = deque()
        with ThreadPoolExecutor(num_threads) as pool:
            for block in blocks:
                pending.append(pool.submit(self._encode_block, data, block))
                if len(pending) > num_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _encode_block(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Encoded:
        text = data[offsets[0] : offsets[-1]]
        documents = offsets - offsets[0]
        if not len(text):
            return np.zeros(0, np.uint32), np.zeros(len(documents) - 1, np.int64)
        pieces, starts = self._cut(text, documents)
        with self._lock:
            found = self._find(pieces.dictionary)
            slot_starts, flat = self._starts, self._flat
            if self._num_slots > _CACHE_PIECES:
                self._forget()
        slots = found[to_numpy(pieces.indices)]
        firsts = slot_starts[slots]
        counts = slot_starts[slots + 1] - firsts
        ends = np.cumsum(counts)
        ids = flat[np.repeat(firsts - ends + counts, counts) + np.arange(ends[-1])]
        piece_ends = np.concatenate([np.zeros(1, np.int64), ends])
        return ids, piece_ends[np.searchsorted(starts, documents[1:])]

    def _cut(self, text: npt.NDArray[np.uint8], documents: npt.NDArray[np.int64]) -> tuple[Any, npt.NDArray[np.int64]]:
        """The pieces as a dictionary array, and where they start (and the last one ends)."""
        is_start = np.zeros(len(text) + 1, bool)
        pairs = text[:-1].astype(np.uint16)
        pairs <<= 8
        pairs |= text[1:]
        np.take(self._is_border, pairs, out=is_start[1:-1])
        is_start[documents] = True
        starts = np.flatnonzero(is_start)
        buffers = [None, pa.py_buffer(starts), pa.py_buffer(np.ascontiguousarray(text))]
        pieces = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(starts) - 1, buffers)
        return pieces.dictionary_encode(), starts

    @cached_property
    def _trie(self) -> Trie:
        return Trie(self._ids)

    def _find(self, pieces: Any) -> npt.NDArray[np.int64]:
        """The slots of different pieces; new ones are encoded now."""
        texts = pieces.to_pylist()
        found = np.fromiter(map(self._slots.get, texts, itertools.repeat(-1)), np.int64, len(texts))
        data, offsets = view_text(pieces)
        is_new = found < 0
        is_short = np.diff(offsets) <= _TRIE_BYTES
        short = np.flatnonzero(is_new & is_short)
        if len(short) < _TRIE_PIECES:
            short = short[:0]
        else:
            ids, counts = self._trie.match(data, offsets[short], offsets[short + 1])
            found[short] = self._append(ids, counts)
        others = np.flatnonzero(found < 0)
        if len(others):
            lists = [self._match(texts[number]) for number in others.tolist()]
            counts = np.fromiter(map(len, lists), np.int64, len(lists))
            found[others] = self._append(np.fromiter(itertools.chain.from_iterable(lists), np.uint32), counts)
        new = np.flatnonzero(is_new & (np.diff(offsets) <= _CACHED_BYTES)).tolist()
        self._slots.update(zip([texts[number] for number in new], found[new].tolist(), strict=True))
        return found

    def _append(self, ids: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """New slots with these ids. Arrays that are full are copied, never resized: other threads may still read them."""
        first, num_ids = self._num_slots, int(self._starts[self._num_slots])
        self._num_slots += len(counts)
        if self._num_slots >= len(self._starts):
            self._starts = np.concatenate([self._starts, np.zeros(self._num_slots, np.int64)])
        if num_ids + len(ids) > len(self._flat):
            self._flat = np.concatenate([self._flat, np.zeros(num_ids + len(ids), np.uint32)])
        self._starts[first + 1 : self._num_slots + 1] = num_ids + np.cumsum(counts)
        self._flat[num_ids : num_ids + len(ids)] = ids
        return np.arange(first, self._num_slots)

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
        self._slots, self._num_slots = {}, 0
        self._starts, self._flat = np.zeros(1, np.int64), np.zeros(0, np.uint32)

    def _encode_with_specials(self, texts: Sequence[str]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        assert self._special_pattern is not None, "called where there are specials"
        found, ends = array("I"), array("q", [0])
        for text in texts:
            for part in self._special_pattern.split(text):
                found.extend(self._specials[part] if part in self._specials else self._match(part.encode()))
            ends.append(len(found))
        return np.array(found, np.uint32), np.array(ends, np.int64)
