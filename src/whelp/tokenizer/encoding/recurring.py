"""Texts encoded in pieces that recur, as words do: each different piece is encoded once, and remembered.

A text is cut where its ids are those of the parts, one after the other. Arrow finds the different pieces, and numpy puts
the ids together. Threads take blocks of the text, and wait for each other only while new pieces are encoded. What is
remembered has a limit: where it is reached, all is forgotten.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.arrays import cut_runs, to_numpy, view_text
from whelp.tokenizer._arrow import Encoded, Texts
from whelp.tokenizer.encoding.engine import Engine
from whelp.tokenizer.encoding.threads import begin_anew_when_forked, count_threads

NewPieces = Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.int64]]]

_BLOCK_BYTES = 1 << 20  # a block's working memory is some 20 times its text
_CACHE_PIECES = 1 << 20
_CACHE_IDS = 1 << 23
_CACHED_BYTES = 256  # longer pieces do not recur


class RecurringEngine(Engine):
    """The part that is the same wherever texts are cut and however pieces are encoded: subclasses say that."""

    _slots: dict[bytes, int]  # piece -> slot
    _num_slots: int  # used, also of pieces that are not remembered
    _starts: npt.NDArray[np.int64]  # where the ids of each slot start in `_flat`, and the last ones end
    _flat: npt.NDArray[np.uint32]

    def __init__(self) -> None:
        begin_anew_when_forked(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._forget()

    def _find_starts(self, text: npt.NDArray[np.uint8], documents: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether a piece may start at each byte, (bytes + 1,); `documents` are where documents start and the last one ends."""
        raise NotImplementedError

    def _encode_new(self, pieces: Texts, texts: list[bytes], numbers: npt.NDArray[np.int64]) -> NewPieces:
        """Encode those `numbers` of different pieces, in any order: some of the numbers, their ids, and how many each has."""
        raise NotImplementedError

    def _encode_otherwise(self, strings: Texts, different_share: float) -> Encoded | None:
        """Encode documents in which `different_share` of the bytes are different pieces not in pieces; None: in pieces."""
        return None

    def encode_batch(self, strings: Texts) -> Encoded:
        data, offsets = view_text(strings)
        blocks = [offsets[first : stop + 1] for first, stop in cut_runs(offsets, _BLOCK_BYTES)]
        parts = [np.zeros(0, np.uint32)]
        ends = [np.zeros(1, np.int64)]
        for ids, block_ends in self._iter_encoded(data, blocks):
            ends.append(block_ends + ends[-1][-1])
            parts.append(ids)
        return np.concatenate(parts), np.concatenate(ends)

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
        is_start = self._find_starts(text, documents)
        is_start[documents] = True
        starts = np.flatnonzero(is_start)
        pieces = _cut(text, starts).dictionary_encode()
        strings = pa.LargeStringArray.from_buffers(len(documents) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
        otherwise = self._encode_otherwise(strings, int(view_text(pieces.dictionary)[1][-1]) / len(text))
        if otherwise is not None:
            return otherwise[0], otherwise[1][1:]
        with self._lock:
            found = self._find(pieces.dictionary)
            slot_starts, flat = self._starts, self._flat
            if self._num_slots > _CACHE_PIECES or len(flat) > _CACHE_IDS:
                self._forget()
        slots = found[to_numpy(pieces.indices)]
        firsts = slot_starts[slots]
        counts = slot_starts[slots + 1] - firsts
        ends = np.cumsum(counts)
        ids = flat[np.repeat(firsts - ends + counts, counts) + np.arange(ends[-1])]
        piece_ends = np.concatenate([np.zeros(1, np.int64), ends])
        return ids, piece_ends[np.searchsorted(starts, documents[1:])]

    def _find(self, pieces: Texts) -> npt.NDArray[np.int64]:
        """The slots of different pieces; new ones are encoded now."""
        texts = pieces.to_pylist()
        found = np.fromiter(map(self._slots.get, texts, itertools.repeat(-1)), np.int64, len(texts))
        new = np.flatnonzero(found < 0)
        if len(new):
            for numbers, ids, counts in self._encode_new(pieces, texts, new):
                found[numbers] = self._append(ids, counts)
            _, offsets = view_text(pieces)
            kept = new[np.diff(offsets)[new] <= _CACHED_BYTES]
            self._slots.update(zip([texts[number] for number in kept.tolist()], found[kept].tolist(), strict=True))
        return found

    def _append(self, ids: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """New slots with these ids. Arrays that are full are copied, never resized: other threads may still read them."""
        first, num_ids = self._num_slots, int(self._starts[self._num_slots])
        end = first + len(counts)
        if end >= len(self._starts):
            self._starts = np.concatenate([self._starts, np.zeros(end, np.int64)])
        if num_ids + len(ids) > len(self._flat):
            self._flat = np.concatenate([self._flat, np.zeros(num_ids + len(ids), np.uint32)])
        self._starts[first + 1 : end + 1] = num_ids + np.cumsum(counts)
        self._flat[num_ids : num_ids + len(ids)] = ids
        self._num_slots = end  # at last: an interrupt before this has changed nothing
        return np.arange(first, end)

    def _forget(self) -> None:
        self._slots, self._num_slots, self._starts, self._flat = {}, 0, np.zeros(1, np.int64), np.zeros(0, np.uint32)


def _cut(text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> Any:
    buffers = [None, pa.py_buffer(starts), pa.py_buffer(np.ascontiguousarray(text))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(starts) - 1, buffers)
