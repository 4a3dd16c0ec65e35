"""Letters that are newer than one of the encoders: the ids are those of `tokenizers` all the same."""

from __future__ import annotations

import itertools
import json
import pickle
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from whelp.tokenizer import LearnConfig, learn
from whelp.tokenizer.encoding.new_letters import _RANGES, find_new

NEW = [chr(point) for first, last in _RANGES for point in sorted({first, (first + last) // 2, last})]
KNOWN = [*"a\u00e9\u20ac\u65e5\U0001f642\U00010900\U0001e900\U00020000\u1ab0\ua7cd\u0c5b", "\u2019s"]


def spell(character: str) -> str:
    """A text in which it matters whether a character is a letter, a number or a sign."""
    return f"a{character}a 1{character}1 .{character}. 's{character}'s\n{character} {character}A"


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "code", "o200k"])
def test_ids_are_those_of_the_reference(pattern):
    texts = pa.array([spell(character) for character in [*NEW, *KNOWN]] + ["", "plain"], pa.large_string())
    learned = learn([texts], LearnConfig(vocab_size=1024, pattern=pattern))
    reference = Tokenizer.from_str(json.dumps(learned.specification()))
    ids, offsets = learned.encode_batch(texts)
    expected = [encoding.ids for encoding in reference.encode_batch(texts.to_pylist(), add_special_tokens=False)]
    assert [ids[start:stop].tolist() for start, stop in itertools.pairwise(offsets)] == expected
    assert [learned.encode(text).tolist() for text in texts.to_pylist()] == expected
    assert learned.encode_batch(texts[3:5])[0].tolist() == [token for row in expected[3:5] for token in row]


def test_only_texts_with_new_letters_are_found():
    texts = pa.array([*NEW, *KNOWN, ""], pa.large_string())
    assert find_new(texts).tolist() == [True] * len(NEW) + [False] * (len(KNOWN) + 1)
    assert find_new(texts[len(NEW) - 1 : len(NEW) + 1]).tolist() == [True, False]
    assert find_new(pa.array(["", f"x{NEW[0]}", ""], pa.large_string())).tolist() == [False, True, False]
    assert not find_new(pa.array([], pa.large_string())).size


def test_other_texts_do_not_wait_for_the_reference(bpe):
    engine = pickle.loads(pickle.dumps(bpe))._engine(False)._engine._engine
    with mock.patch.object(engine, "_open_reference", side_effect=AssertionError("opened")):
        assert len(engine.encode_batch(pa.array(KNOWN, pa.large_string()))[0])
        with pytest.raises(AssertionError, match="opened"):
            engine.encode(NEW[0])
    assert np.array_equal(engine.encode_batch(pa.array([NEW[0]], pa.large_string()))[0], engine.encode(NEW[0]))
