"""A batch cut into pieces for several threads has the ids of the whole, in order."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from whelp.tokenizer import Vocabulary
from whelp.tokenizer.encoding import pieces
from whelp.tokenizer.encoding.pieces import PiecewiseEngine, cut_evenly, take

from .samples import make_fuzzed

ROWS = ["", "", *make_fuzzed(11, 400), "new \U00010940 letter", "", "the end", ""]


class Watched:
    """An engine that notes what it is asked for, and how many ask at once."""

    def __init__(self, engine: PiecewiseEngine) -> None:
        self.engine, self.asked, self.most, self._now = engine, [], 0, 0
        self._lock = threading.Lock()

    def encode_batch(self, strings):
        with self._lock:
            self.asked.append(strings.to_pylist())
            self._now += 1
            self.most = max(self.most, self._now)
        encoded = self.engine.encode_batch(strings)
        with self._lock:
            self._now -= 1
        return encoded


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_pieces_give_the_ids_of_the_whole(bpe: Vocabulary, monkeypatch: pytest.MonkeyPatch, threads: int):
    """Whatever the number of threads, for a slice too, and while other threads encode with the same vocabulary."""
    texts = pa.array(["before", *ROWS, "behind"], pa.large_string())[1:-1]
    whole = bpe._engine(False)._engine._engine
    expected_ids, expected_ends = whole.encode_batch(texts)
    monkeypatch.setenv("RAYON_NUM_THREADS", str(threads))
    monkeypatch.setattr(pieces, "_PIECE_BYTES", 2 * max(len(row.encode()) for row in ROWS))
    watched = Watched(whole)
    engine = PiecewiseEngine(watched, np.uint16)
    with ThreadPoolExecutor(3) as callers:
        for ids, ends in callers.map(engine.encode_batch, [texts] * 3):
            assert (ids.dtype, ends.dtype) == (np.uint16, np.int64)
            assert np.array_equal(ids, expected_ids)
            assert np.array_equal(ends, expected_ends)
    assert len(watched.asked) > 3 * threads
    assert sorted(itertools.chain.from_iterable(watched.asked)) == sorted(ROWS * 3)
    assert watched.most <= threads


def test_a_second_caller_keeps_to_its_share_of_threads(bpe: Vocabulary, monkeypatch: pytest.MonkeyPatch):
    """Alone, a caller has small pieces for two threads; beside another, large ones for one; alone again, both threads once more."""
    monkeypatch.setattr(pieces, "_PIECE_BYTES", 100)
    monkeypatch.setenv("RAYON_NUM_THREADS", "2")
    may_end = threading.Event()

    class Held(Watched):
        def encode_batch(self, strings):
            if strings[0].as_py() == "held":
                assert may_end.wait(60)
            return super().encode_batch(strings)

    held = Held(bpe._engine(False)._engine._engine)
    engine = PiecewiseEngine(held, np.uint16)
    rows = [f"{number:04d} five" for number in range(60)]
    texts = pa.array(rows, pa.large_string())
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(engine.encode_batch, pa.array(["held", *["a" * 9] * 59], pa.large_string()))
        while engine._num_callers == 0:
            pass
        held.asked.clear()
        engine.encode_batch(texts)
        beside = [asked for asked in held.asked if asked[0] in rows]
        may_end.set()
        first.result()
    held.asked.clear()
    engine.encode_batch(texts)

    offsets = np.arange(0, 9 * 61, 9)
    for asked, share in ((beside, 1), (held.asked, 2)):
        borders = cut_evenly(offsets, share)
        assert sorted(asked) == [rows[first:stop] for first, stop in itertools.pairwise(borders)]


def test_a_long_text_that_cannot_be_cut_is_left_to_the_encoder(bpe: Vocabulary, monkeypatch: pytest.MonkeyPatch):
    """It divides such a one among its own threads, which must not wait for ours."""
    monkeypatch.setattr(pieces, "_PIECE_BYTES", 100)
    monkeypatch.setenv("RAYON_NUM_THREADS", "2")
    watched = Watched(bpe._engine(False)._engine._engine)
    rows = ["short", "long " * 100, "short"]
    ids, ends = PiecewiseEngine(watched, np.uint32).encode_batch(pa.array(rows, pa.large_string()))
    assert watched.asked == [rows]
    assert [bpe.decode(ids[start:end]) for start, end in itertools.pairwise(ends)] == rows


def test_an_error_of_a_piece_is_raised(bpe: Vocabulary, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pieces, "_PIECE_BYTES", 10)
    monkeypatch.setenv("RAYON_NUM_THREADS", "2")

    class Failing:
        def encode_batch(self, strings):
            if "wrong" in strings.to_pylist():
                raise ValueError("of the fourth")
            return np.zeros(len(strings), np.uint32), np.arange(len(strings) + 1)

    with pytest.raises(ValueError, match="of the fourth"):
        PiecewiseEngine(Failing(), np.uint16).encode_batch(pa.array(["a" * 8] * 3 + ["wrong"] + ["b" * 8], pa.large_string()))


def test_pieces_are_taken_once_and_neighbours_together():
    """A thread that is through takes from the end of the longest queue."""
    queues = [deque(range(3)), deque(range(3, 9)), deque(range(9, 12))]
    assert [take(queues[0], queues) for _ in range(5)] == [0, 1, 2, 8, 7]
    rest = []
    while (number := take(queues[2], queues)) is not None:
        rest.append(number)
    assert (sorted(rest), rest[:3]) == ([3, 4, 5, 6, 9, 10, 11], [9, 10, 11])
    assert take(queues[1], queues) is None


def test_no_piece_is_empty_or_out_of_order():
    generator = np.random.default_rng(5)
    for threads in (1, 3, 8):
        lengths = generator.integers(0, 1 << 18, 200) * generator.integers(0, 2, 200)
        offsets = 77 + np.concatenate([[0], np.cumsum(lengths)])
        borders = cut_evenly(offsets, threads)
        sizes = np.diff(offsets[borders])
        assert (borders[0], borders[-1]) == (0, 200)
        assert sizes.min() > 0
        assert sizes.max() <= pieces._PIECE_BYTES + (1 << 18)
        assert len(borders) - 1 == -(-(len(borders) - 1) // threads) * threads
