"""A long text is encoded in parts, to the ids of the whole."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from whelp.base.arrays import to_texts
from whelp.tokenizer import Vocabulary
from whelp.tokenizer.encoding.long_texts import PartwiseEngine, can_cut, find_border

from .samples import make_fuzzed

WORDS = [
    "the",
    " ",
    "  ",
    "\n",
    "a",
    "I'll",
    "don't",
    "12",
    "3.5",
    "é",
    "e\u0301",
    "日本",
    "🙂",
    "_x",
    "<|endoftext|>",
    "\t",
    "B2",
]


def make_long_texts(seed: int) -> list[str]:
    """Words, spaces and marks in any order; some of many parts, some without a place to cut at, some empty."""
    chosen = random.Random(seed)
    long = ["".join(chosen.choices(WORDS, k=chosen.randint(0, 4000))) for _ in range(12)]
    return ["", *long, " ".join(make_fuzzed(seed, 200)), "日" * 900, "", " a" * 700, ""]


class Watched:
    """An engine that notes the texts it is asked for."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.asked = engine, []

    def encode_batch(self, strings):
        self.asked.append(strings.to_pylist())
        return self.engine.encode_batch(strings)


@pytest.mark.parametrize("part_bytes", [1, 17, 500])
@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
def test_parts_have_the_ids_of_the_whole(bpe: Vocabulary, monkeypatch: pytest.MonkeyPatch, part_bytes: int, block_bytes: int):
    monkeypatch.setattr("whelp.tokenizer.encoding.long_texts._BLOCK_BYTES", block_bytes)
    rows = make_long_texts(part_bytes)
    texts = pa.array(["before it", *rows, "behind it"], pa.large_string())[1:-1]
    reference = bpe._reference(False)
    expected = [encoding.ids for encoding in reference.encode_batch(rows, add_special_tokens=False)]
    watched = Watched(bpe._engine(False)._engine)
    ids, ends = PartwiseEngine(watched, part_bytes).encode_batch(texts)
    assert (ends.dtype, ends[0], len(ends)) == (np.int64, 0, len(rows) + 1)
    assert [ids[start:end].tolist() for start, end in itertools.pairwise(ends)] == expected
    asked = list(itertools.chain.from_iterable(watched.asked))
    assert "".join(asked) == "".join(rows)
    assert len(asked) > len(rows)
    assert (len(watched.asked) > 1) is (block_bytes == 100)


def test_short_texts_go_on_as_they_are(bpe: Vocabulary):
    watched = Watched(bpe._engine(False)._engine)
    texts = to_texts(["a b c", "", "d e"])
    PartwiseEngine(watched, 5).encode_batch(texts)
    PartwiseEngine(watched, 5).encode_batch(texts[:0])
    assert watched.asked == [["a b c", "", "d e"], []]


def test_every_border_is_found_and_no_other():
    text = "a b  c d1 e_ f. g é h\n i 2 3 4k k"
    data = np.frombuffer(text.encode(), np.uint8)
    expected = [
        place
        for place in range(1, len(data) - 1)
        if chr(data[place]) == " " and chr(data[place - 1]) in "abcd1ehi234k" and chr(data[place + 1]) in "abcdefghik"
    ]
    found, place = [], 1
    while (place := find_border(data, place, len(data))) is not None:
        found.append(place)
        place += 1
    assert found == expected
    assert find_border(data, 1, 2) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"normalizer": {"type": "NFC"}}, True),
        ({"normalizer": {"type": "Prepend", "prepend": "_"}}, False),
        ({"pre_tokenizer": None}, False),
        ({"pre_tokenizer": {"type": "ByteLevel", "use_regex": False}}, False),
        ({"model": {"type": "BPE", "byte_fallback": True}}, False),
        ({"added_tokens": [{"content": "  "}, {"content": "<a>"}]}, True),
        ({"added_tokens": [{"content": "two words"}]}, False),
        ({"added_tokens": [{"content": "<a>", "rstrip": True}]}, False),
    ],
)
def test_who_can_be_cut(change: dict[str, Any], expected: bool):
    split = {"type": "Split", "pattern": {"Regex": r"\w+"}}
    before = {"type": "Sequence", "pretokenizers": [split, {"type": "ByteLevel", "use_regex": False}]}
    assert can_cut({"model": {"type": "BPE"}, "added_tokens": [], "pre_tokenizer": before, **change}) is expected


_MEASURE = """
import sys
import numpy as np, pyarrow as pa
from whelp.tokenizer import Vocabulary
from pathlib import Path
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
vocabulary = Vocabulary(Path(sys.argv[1]).read_text())
vocabulary.encode_batch(pa.array([" word" * 1_000_000], pa.large_string()))
text = np.frombuffer(b" a few words more than that" * 3_000_000, np.uint8)
texts = pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(text)])), pa.py_buffer(text))
before = peak()
ids, _ = vocabulary.encode_batch(texts)
print(peak() - before, ids.nbytes / 2**20, text.nbytes / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_long_text_takes_little_more_memory_than_its_ids(bpe: Vocabulary, tmp_path):
    (tmp_path / "tokenizer.json").write_text(bpe.to_json())
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / "tokenizer.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, ids, text = map(float, done.stdout.split())
    assert text > 70
    assert grown < 2.5 * ids  # them, and one block of parts with what its encoding takes; in one piece it was 4 times
