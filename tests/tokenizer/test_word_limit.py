"""The memory of words of the fast encoder has a limit, and no id depends on it."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

from whelp.base.arrays import to_texts
from whelp.base.machine import count_own_bytes, return_freed_memory
from whelp.tokenizer import Vocabulary
from whelp.tokenizer.encoding import word_limit
from whelp.tokenizer.encoding.engines import FastEngine
from whelp.tokenizer.encoding.word_limit import WordLimit

from .samples import make_fuzzed

MEGABYTE = 1 << 20


def watch(monkeypatch: pytest.MonkeyPatch, own: list[int | None]) -> list[str]:
    """Let the system say these numbers, one after the other; note what it is asked to do."""
    told: list[str] = []
    monkeypatch.setattr(word_limit, "count_own_bytes", lambda: own.pop(0))
    monkeypatch.setattr(word_limit, "return_freed_memory", lambda: told.append("returned"))
    return told


def test_when_it_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freed memory is given back first; only where that is not enough the encoder is opened anew."""
    told = watch(monkeypatch, [100, 150, 140, 1150, 900, 950, 1250, 1150, 1150, 700, 710, 1090, 1095])
    limit = WordLimit(growth_bytes=1000, look_bytes=10)  # 1,100 at the most
    assert not limit.is_reached(9)  # nothing is looked at
    assert not limit.is_reached(1)  # 150, then 140: usual is now 640
    assert told == ["returned"]
    assert not limit.is_reached(10)  # 1,150, then 900: enough; usual is now 1,400
    assert not limit.is_reached(10)  # 950
    assert not limit.is_reached(10)  # 1,250
    assert told == ["returned"] * 2
    limit._usual = 0.0
    assert limit.is_reached(10)  # 1,150, and it stays that
    assert not limit.is_reached(10)  # just opened: what is held is not the encoder's
    assert not limit.is_reached(10)  # 1,090
    assert len(told) == 4


def test_where_the_system_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then text is counted."""
    watch(monkeypatch, [None] * 10)
    limit = WordLimit()
    gigabyte = 1 << 30
    assert [limit.is_reached(gigabyte // 2) for _ in range(5)] == [False, True, False, True, False]


def test_same_ids(monkeypatch: pytest.MonkeyPatch, bpe: Vocabulary) -> None:
    """An encoder that is opened anew after every text, on several threads, gives the ids of one that never is."""
    specification = json.dumps(bpe._encoding_specification())
    texts = to_texts(make_fuzzed(5, 60))
    expected = FastEngine(specification).encode_batch(texts)
    forgetful = FastEngine(specification)
    opened: list[Any] = []
    monkeypatch.setattr(forgetful._limit, "is_reached", lambda num_bytes: len(opened) < 6)
    open_engine = forgetful._open
    monkeypatch.setattr(forgetful, "_open", lambda: opened.append(open_engine()) or opened[-1])

    def encode() -> None:
        for _ in range(3):
            for one, other in zip(forgetful.encode_batch(texts), expected, strict=True):
                assert np.array_equal(one, other)

    threads = [threading.Thread(target=encode) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    encode()
    assert len(opened) >= 6


def test_memory_is_measured() -> None:
    """On Linux the process's own memory is known, and what is freed goes back."""
    return_freed_memory()  # else what is asked for may come from what is kept
    before = count_own_bytes()
    if before is None:
        pytest.skip("this system does not say how much memory a process holds: only Linux is asked")
    block = np.ones(256 * MEGABYTE, np.uint8)
    held = count_own_bytes()
    assert held is not None
    assert held - before > 128 * MEGABYTE
    del block
    return_freed_memory()
    after = count_own_bytes()
    assert after is not None
    assert held - after > 128 * MEGABYTE
