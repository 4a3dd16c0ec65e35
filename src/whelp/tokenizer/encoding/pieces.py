"""Many documents, encoded in pieces that stay in the processor's cache, several pieces at once.

Encoding is so fast that what stands around it counts: looking for new characters, normalizing, narrowing ids to 16 bits, and
asking the system for fresh memory for ids of 32 bits. By pieces, each of these finds in the cache what the one before has left
there, on every thread.
"""

from __future__ import annotations

import itertools
import multiprocessing
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.base.arrays import view_text
from whelp.tokenizer._arrow import Encoded, Texts
from whelp.tokenizer.encoding.engine import Engine
from whelp.tokenizer.encoding.threads import count_threads

_PIECE_BYTES = 1 << 21  # up to here the fast encoder stays on the thread that calls it; a call costs as much as 50 kB of text
_TAIL_PIECES = 3  # what the last piece of a thread is cut into: at the end, threads wait for each other no longer than for one


class PiecewiseEngine(Engine):
    """`engine` on pieces of a batch; ids come as `id_type`. The ids are the same however it is cut."""

    def __init__(self, engine: Engine, id_type: type[np.uint16] | type[np.uint32]) -> None:
        self._engine, self._id_type = engine, id_type
        # The encoder has a memory of words for each thread: one thread more would wait for a free one, and keep a core busy.
        self._free = threading.BoundedSemaphore(count_threads())
        self._lock = threading.Lock()
        self._num_callers = 0

    def encode(self, text: str) -> npt.NDArray[Any]:
        return self._engine.encode(text)

    def encode_batch(self, strings: Texts) -> Encoded:
        with self._lock:
            self._num_callers += 1
        try:
            return self._encode_batch(strings)
        finally:
            with self._lock:
                self._num_callers -= 1

    def _encode_batch(self, strings: Texts) -> Encoded:
        _, offsets = view_text(strings)
        borders = cut_evenly(offsets, self._count_own_threads())
        if len(borders) == 2 or np.diff(offsets).max() > _PIECE_BYTES:  # which the encoder itself divides among threads
            return self._encode_piece(strings)
        pieces = [strings.slice(first, stop - first) for first, stop in itertools.pairwise(borders)]
        encoded: list[Encoded] = []
        while rest := pieces[len(encoded) :]:
            num_threads = min(self._count_own_threads(), len(rest))
            if num_threads == 1:
                encoded.append(self._encode_when_free(rest[0]))
            else:
                encoded += self._encode_at_once(rest, num_threads)
        starts = np.cumsum([0, *(len(ids) for ids, _ in encoded)])
        ends = [piece_ends[1:] + start for (_, piece_ends), start in zip(encoded, starts, strict=False)]
        return np.concatenate([ids for ids, _ in encoded]), np.concatenate([np.zeros(1, np.int64), *ends])

    def _count_own_threads(self) -> int:
        """A caller's share: with as many callers as threads each keeps to its own, in fewer and larger pieces."""
        return 1 if multiprocessing.parent_process() else max(1, count_threads() // max(1, self._num_callers))

    def _encode_piece(self, piece: Texts) -> Encoded:
        ids, ends = self._engine.encode_batch(piece)
        return ids.astype(self._id_type, copy=False), ends

    def _encode_when_free(self, piece: Texts) -> Encoded:
        with self._free:
            return self._encode_piece(piece)

    def _encode_at_once(self, pieces: list[Texts], num_threads: int) -> list[Encoded]:
        """Each thread goes through a part of its own, then helps others: neighbours have words in common."""
        queues = [deque(part.tolist()) for part in np.array_split(np.arange(len(pieces)), num_threads)]
        encoded: dict[int, Encoded] = {}

        def work(own: deque[int]) -> None:
            while (number := take(own, queues)) is not None:
                encoded[number] = self._encode_when_free(pieces[number])

        with ThreadPoolExecutor(num_threads - 1) as pool:
            others = [pool.submit(work, queue) for queue in queues[1:]]
            work(queues[0])  # this thread, too
            for other in others:
                other.result()
        return [encoded[number] for number in range(len(pieces))]


def take(own: deque[int], queues: list[deque[int]]) -> int | None:
    """The next of one's own, else the last of who has the most left; None when there is nothing left.

    >>> take(deque(), [deque([1]), deque([2, 3])])
    3
    """
    try:
        return own.popleft()
    except IndexError:
        pass
    while longest := max(queues, key=len):
        try:
            return longest.pop()
        except IndexError:  # another thread was faster
            continue
    return None


def cut_evenly(offsets: npt.NDArray[np.int64], num_threads: int) -> list[int]:
    """Where to cut documents so that each thread has equally many pieces, of much the same size, and smaller ones at its end.

    >>> cut_evenly(np.arange(0, 17) << 19, num_threads=1)
    [0, 4, 8, 12, 16]
    >>> cut_evenly(np.arange(0, 25) << 18, num_threads=2)
    [0, 6, 8, 10, 12, 18, 20, 22, 24]
    """
    num_bytes = int(offsets[-1] - offsets[0])
    if num_bytes <= _PIECE_BYTES:
        return [0, len(offsets) - 1]
    num_pieces = -(-num_bytes // (_PIECE_BYTES * num_threads))  # of each thread
    starts = np.arange(num_pieces, dtype=np.float64)
    if num_threads > 1:
        starts = np.concatenate([starts[:-1], num_pieces - 1 + np.arange(_TAIL_PIECES) / _TAIL_PIECES])
    shares = (np.arange(num_threads)[:, None] + starts / num_pieces).ravel() / num_threads
    places = offsets[0] + (num_bytes * shares).astype(np.int64)
    borders: list[int] = np.unique([*np.searchsorted(offsets, places), len(offsets) - 1]).tolist()
    return borders
