"""Encode, decode, save: promises of every vocabulary."""

import importlib.util
import itertools
import json
import os
import pickle
import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from whelp.base.errors import TokenizerError
from whelp.tokenizer import LearnConfig, Vocabulary, _cache, learn
from whelp.tokenizer.encoding.engines import PatternEngine

from .samples import make_fuzzed

NASTY = [
    "",
    " ",
    "\n\n  x",
    "\x00\x7f\ufeff\u2028",
    "e\u0301\u0327 \u1e9b\u0323 한국어",
    "👩‍👩‍👧‍👦 1234567",
    "  def f():\n\t\tpass  ",
    "ſ'S İ",
]
LITERALS = ["<|endoftext|>", "a <|endoftext|> b", "<|pad|><|endoftext|><unk>", "<|endoftext|", " <|pad|> "]


def _reference(vocabulary: Vocabulary, folder) -> Tokenizer:
    vocabulary.save(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.text(max_size=60), max_size=5))
def test_bpe_round_trips_any_text(bpe, rows):
    """decode(encode(x)) == x, and token bytes sum to the text's bytes."""
    ids, offsets = bpe.encode_batch(pa.array(rows, pa.large_string()))
    assert len(offsets) == len(rows) + 1
    for row, text in enumerate(rows):
        part = ids[offsets[row] : offsets[row + 1]]
        assert bpe.decode(part) == text
        assert bpe.decode_bytes(part) == text.encode()
        assert bpe.token_bytes[part].sum() == len(text.encode())


def test_known_text_round_trips(vocabulary, texts):
    """Every kind gives back the text that it was learned from; batch and single encoding agree."""
    ids, offsets = vocabulary.encode_batch(texts)
    assert (ids.dtype, offsets.dtype, offsets[0], offsets[-1]) == (np.uint16, np.int64, 0, len(ids))
    for row, text in enumerate(texts.to_pylist()):
        part = ids[offsets[row] : offsets[row + 1]]
        assert vocabulary.decode(part) == text
        assert vocabulary.token_bytes[part].sum() == len(text.encode())
        assert vocabulary.encode(text).tolist() == part.tolist()


def test_ids_equal_the_saved_file_in_tokenizers(vocabulary, texts, tmp_path):
    """tokenizers.Tokenizer.from_file gives the same ids and the same text."""
    reference = _reference(vocabulary, tmp_path)
    rows = texts.to_pylist() + (NASTY + LITERALS if vocabulary.kind == "bpe" else [])
    ids, offsets = vocabulary.encode_batch(pa.array(rows))
    expected = [encoding.ids for encoding in reference.encode_batch(rows, add_special_tokens=False)]
    assert [ids[start:end].tolist() for start, end in itertools.pairwise(offsets)] == expected
    assert [reference.decode(row) for row in expected] == rows


def test_saved_folder_opens_in_transformers(vocabulary, texts, tmp_path):
    """AutoTokenizer gives the same ids, text and control tokens, beside a model's config.json too."""
    transformers = pytest.importorskip("transformers", reason="install whelp[hf] to compare with transformers")
    vocabulary.save(tmp_path)
    for model_type in (None, "gpt2", "qwen3"):
        if model_type:
            (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
        for text in texts.to_pylist():
            ids = vocabulary.encode(text).tolist()
            assert tokenizer(text)["input_ids"] == ids
            assert tokenizer.decode(ids) == text
        assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (vocabulary.eos_id, vocabulary.pad_id)
        assert tokenizer.decode([vocabulary.eos_id], skip_special_tokens=True) == ""
        assert len(tokenizer) == vocabulary.size


@pytest.mark.parametrize("text", LITERALS)
def test_control_text_is_plain_text(bpe, text):
    """What a user types is never a control token, and comes back."""
    ids = bpe.encode(text)
    assert not bpe.special_ids & set(ids.tolist())
    assert bpe.decode(ids) == text


def test_allow_special(vocabulary):
    """Asked for, control text becomes the control token; decode leaves it out unless asked."""
    ids = vocabulary.encode("the<|endoftext|>the", allow_special=True)
    assert vocabulary.eos_id in ids.tolist()
    assert vocabulary.decode(ids) == "thethe"
    assert vocabulary.decode(ids, skip_special=False) == "the<|endoftext|>the"
    assert vocabulary.decode_bytes(ids, skip_special=False) == b"the<|endoftext|>the"


def test_arrow_types_and_slices_give_the_same_ids(bpe, texts):
    """string, large_string, string_view, dictionary, slices and chunks are all the same text."""
    ids, offsets = bpe.encode_batch(texts)
    chunks = pa.chunked_array([texts.slice(0, 2), texts.slice(2)])
    padded = pa.concat_arrays([texts, texts]).slice(2, 5)
    rotated = [*texts.to_pylist()[2:], *texts.to_pylist()[:2]]
    for same in (texts.cast(pa.string()), texts.cast(pa.string_view()), chunks, texts.dictionary_encode()):
        again, again_offsets = bpe.encode_batch(same)
        assert again.tolist() == ids.tolist()
        assert again_offsets.tolist() == offsets.tolist()
    assert bpe.encode_batch(padded)[0].tolist() == bpe.encode_batch(pa.array(rotated))[0].tolist()
    assert bpe.encode_batch(padded)[1][0] == 0


def test_no_rows(vocabulary):
    """An empty array gives no ids and one offset."""
    for empty in (pa.array([], pa.string()), pa.chunked_array([], pa.large_string())):
        ids, offsets = vocabulary.encode_batch(empty)
        assert (ids.dtype, ids.tolist(), offsets.tolist()) == (np.uint16, [], [0])
    assert vocabulary.decode([]) == ""


def test_null_rows_are_an_error(bpe):
    """A null is not an empty text."""
    with pytest.raises(TokenizerError, match="texts: row 2 is null, but expected text in every row"):
        bpe.encode_batch(pa.chunked_array([["a", "b"], [None]]))
    with pytest.raises(TokenizerError, match="row 0 is null"):
        bpe.encode_batch(pa.array([None]))


def test_half_a_surrogate_is_an_error(bpe):
    """A lone surrogate is named with its place."""
    with pytest.raises(TokenizerError, match=r"character 2 is half a surrogate pair \(U\+D800\), but expected Unicode text"):
        bpe.encode("ab\ud800")


def test_ids_outside_the_vocabulary(vocabulary):
    """Neither a large nor a negative id wraps around."""
    for wrong in (vocabulary.size, -1):
        with pytest.raises(TokenizerError, match=f"there is no id {wrong}, but expected 0 to {vocabulary.size - 1}"):
            vocabulary.decode([0, wrong])


def test_decode_replaces_only_what_is_no_utf8(bpe):
    """Half a character becomes U+FFFD; decode_bytes keeps it; display shows it."""
    first, second = 0x00, 0xC3
    assert bpe.decode([ord("a"), second, ord("b")]) == "a\ufffdb"
    assert bpe.decode_bytes([second]) == b"\xc3"
    assert bpe.token_text(second) == "\\xc3"
    assert (bpe.token_text(first), bpe.token_text(bpe.eos_id)) == ("\x00", "<|endoftext|>")


def test_ids_are_wide_only_where_they_must_be():
    """Above 65,536 ids, 32 bits."""
    rows = pa.array([" ".join(f"w{number}" for number in range(70_000))])
    large = learn([rows], LearnConfig(learn="words", vocab_size=70_010))
    assert (large.size, large.encode("w69999 w1").dtype) == (70_003, np.uint32)
    assert large.decode(large.encode("w69999 w1")) == "w69999 w1"


def test_pickle_keeps_everything(vocabulary):
    """A vocabulary travels to worker processes."""
    vocabulary.encode("the")
    again = pickle.loads(pickle.dumps(vocabulary))
    assert (again.fingerprint, again.size, again.special_ids) == (
        vocabulary.fingerprint,
        vocabulary.size,
        vocabulary.special_ids,
    )
    assert again.encode("the").tolist() == vocabulary.encode("the").tolist()


@pytest.mark.parametrize("allow_special", [False, True])
@pytest.mark.parametrize("flag", ["single_word", "lstrip", "rstrip"])
def test_added_tokens_are_compared(bpe, flag, allow_special):
    """Also one behind many control tokens, of which not all are: what is of a word, or white space, encoders see differently."""
    tokenizer = Tokenizer.from_str(bpe.to_json())
    tokenizer.add_special_tokens([AddedToken(f"<|reserved_{number}|>", normalized=False) for number in range(80)])
    tokenizer.add_tokens([AddedToken("alone", normalized=False, **{flag: True})])
    vocabulary = Vocabulary(tokenizer.to_str())
    rng = random.Random(flag)
    beside = ["", *"a1_-é\u0301\u0903\u20dd\u200c\u200d  \n\t\x1c\x85\u00a0\u180e\u200b\u3000"]
    texts = ["".join(rng.choice(beside) + rng.choice(["alone", ""]) for _ in range(8)) for _ in range(2000)]
    ids, offsets = vocabulary.encode_batch(pa.array(texts), allow_special=allow_special)
    expected = tokenizer.encode_batch(texts, add_special_tokens=False)
    assert [ids[start:end].tolist() for start, end in itertools.pairwise(offsets)] == [encoding.ids for encoding in expected]


def test_fast_encoder_that_differs_is_not_used(bpe, texts, monkeypatch, warnings_logged):
    """A wrong or broken fast encoder costs speed and a warning, never an id."""
    from whelp.tokenizer.encoding import choose, engines

    monkeypatch.setattr(choose, "_FAST", {"gigatoken": engines.FastEngine})
    expected = bpe.encode_batch(texts)[0].tolist()
    honest = engines.FastEngine.encode_batch

    def lie(self, strings):
        ids, offsets = honest(self, strings)
        return np.where(ids == ord(" "), 0, ids).astype(ids.dtype), offsets

    monkeypatch.setattr(engines.FastEngine, "encode_batch", lie)
    assert pickle.loads(pickle.dumps(bpe)).encode_batch(texts)[0].tolist() == expected
    assert "the fast encoder differs from the reference at" in warnings_logged.text
    monkeypatch.setattr(engines.FastEngine, "__init__", lambda self, specification: 1 / 0)
    assert pickle.loads(pickle.dumps(bpe)).encode_batch(texts)[0].tolist() == expected
    assert "the fast encoder cannot read it (division by zero)" in warnings_logged.text


def test_fast_encoder_is_used(bpe, warnings_logged):
    """Our own vocabularies pass the comparison."""
    from whelp.tokenizer.encoding.engines import FastEngine

    fresh = pickle.loads(pickle.dumps(bpe))
    fresh.encode("a")
    fresh.encode("a", allow_special=True)
    assert all(isinstance(engine._engine._engine._fast, FastEngine) for engine in fresh._engines.values())
    assert not warnings_logged.records


@pytest.mark.parametrize(
    "pattern", [r"\w+|[^\w\s]+|\s+", r" ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", r"(?i)the|\b\w{1,3}\b"]
)
def test_patterns_of_ones_own_encode_fast(pattern, texts, warnings_logged):
    """Another fast encoder reads them, with the ids of the reference."""
    pytest.importorskip("fastokens", reason='pip install "whelp[patterns]"')
    own = learn([texts], LearnConfig(vocab_size=320, pattern="regex", pattern_regex=pattern))
    rows = [*make_fuzzed(7, 300), *texts.to_pylist(), "a\U00010940b"]
    ids, offsets = own.encode_batch(pa.array(rows, pa.large_string()))
    reference = own._reference(False)
    expected = [encoding.ids for encoding in reference.encode_batch(rows, add_special_tokens=False)]
    assert [ids[start:end].tolist() for start, end in itertools.pairwise(offsets)] == expected
    assert [own.encode(row).tolist() for row in rows[:20]] == expected[:20]
    assert isinstance(own._engine(False)._fast, PatternEngine)
    assert own.encode("the<|endoftext|>", allow_special=True)[-1] == own.eos_id
    assert "encoding with the slow one" not in warnings_logged.text


def test_without_the_package_for_patterns_the_notice_says_how_to_get_it(texts, monkeypatch, warnings_logged):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastokens" else found(name))
    own = learn([texts], LearnConfig(vocab_size=300, pattern="regex", pattern_regex=r"\w+|\W"))
    assert own.decode(own.encode("the cat")) == "the cat"
    assert 'pip install "whelp[patterns]"' in warnings_logged.text


def test_threads_share_one_encoder(bpe, monkeypatch):
    expected = bpe.encode("abc abc").tolist()
    opened = []
    open_one = Vocabulary._open_engine

    def open_slowly(self, allow_special):
        opened.append(allow_special)
        time.sleep(0.05)
        return open_one(self, allow_special)

    monkeypatch.setattr(Vocabulary, "_open_engine", open_slowly)
    fresh = pickle.loads(pickle.dumps(bpe))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fresh.encode("abc abc").tolist(), range(4)))
    assert found == [expected] * 4
    assert opened == [False]


def test_fingerprint_of_a_large_vocabulary_is_kept(bpe, tmp_path, monkeypatch):
    expected = pickle.loads(pickle.dumps(bpe)).fingerprint
    monkeypatch.setenv("WHELP_CACHE", str(tmp_path))
    monkeypatch.setattr("whelp.tokenizer.vocabulary._KEPT_FROM_CHARACTERS", 0)
    for _ in range(2):
        assert pickle.loads(pickle.dumps(bpe)).fingerprint == expected
    assert len(list(tmp_path.glob("*.fingerprint"))) == 1
    other = Vocabulary(bpe.to_json(), name=bpe.name)  # without an end-of-text token
    assert other.fingerprint != expected


def test_what_several_processes_keep_at_once(tmp_path, monkeypatch):
    """Another keeps the same before the first is done: neither writes into the file of the other, which a third may read."""
    monkeypatch.setenv("WHELP_CACHE", str(tmp_path))
    found = []

    def sync(_):
        monkeypatch.setattr(os, "fsync", lambda _: None)
        _cache.keep("x", "second")
        found.append(_cache.read_cached("x"))

    monkeypatch.setattr(os, "fsync", sync)
    _cache.keep("x", "first")
    assert [*found, _cache.read_cached("x")] == ["second", "first"]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_other_kinds(prefix_space_json, tmp_path):
    """A vocabulary that is not byte-level encodes and decodes as in tokenizers; truncation in the file is ignored."""
    other = Vocabulary(prefix_space_json, eos_token="</s>", unk_token="<unk>", bos_token="<s>")
    reference = Tokenizer.from_str(prefix_space_json)
    reference.no_truncation()
    assert (other.kind, other.eos_id, other.pad_id) == ("other", 2, None)
    for text in ("ab a b", "a 日本 ab", "b"):
        ids = other.encode(text)
        assert ids.tolist() == reference.encode(text, add_special_tokens=False).ids
        assert other.decode(ids) == text
        assert other.token_bytes[ids].sum() == len(text.encode()) + 1  # an estimate: it counts the prefix space
    assert not other.special_ids & set(other.encode("a</s><s>").tolist())
    assert 2 in other.encode("a</s>", allow_special=True).tolist()


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.text(st.sampled_from("aeé> \u0301\u0327\u0338\u1ac6\u11f0\u1100\u1161\u1121\u1168\u1112\u2126"), max_size=12),
        max_size=4,
    )
)
def test_normalized_vocabulary_equals_the_reference(bpe, rows):
    """A vocabulary with an NFC normalizer, as in GPT-NeoX and Qwen, gives the reference's ids for any combining marks."""
    specification = {**bpe._specification, "normalizer": {"type": "NFC"}}
    vocabulary = Vocabulary(json.dumps(specification), eos_token="<|endoftext|>")
    reference = Tokenizer.from_str(json.dumps(specification))
    ids, offsets = vocabulary.encode_batch(pa.array(rows, pa.string()))
    for row, text in enumerate(rows):
        part = ids[offsets[row] : offsets[row + 1]].tolist()
        assert part == reference.encode(text).ids == vocabulary.encode(text).tolist()
        assert vocabulary.decode(part) == reference.normalizer.normalize_str(text)
