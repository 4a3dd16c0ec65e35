"""The longest token that fits: RWKV World's way, on small vocabularies, against an obvious encoder."""

import itertools
import json
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from whelp.base.errors import TokenizerError
from whelp.tokenizer import Vocabulary, load_tokenizer
from whelp.tokenizer.encoding import greedy, recurring
from whelp.tokenizer.encoding.greedy import GreedyEngine
from whelp.tokenizer.world import make_world_json, read_world

from .test_names import write_world

BYTES = {bytes([byte]): byte + 1 for byte in range(256)}


def encode_obviously(ids: dict[bytes, int], text: bytes) -> list[int]:
    """The longest prefix that is a token, again and again."""
    found = []
    while text:
        length = next(length for length in range(len(text), 0, -1) if text[:length] in ids)
        found.append(ids[text[:length]])
        text = text[length:]
    return found


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.lists(st.text("aab \né日", min_size=2, max_size=6).map(str.encode), max_size=8, unique=True),
    cuts=st.lists(st.binary(min_size=2, max_size=3), max_size=3, unique=True),
    rows=st.lists(st.text("aab \né日\u0301x", max_size=30), max_size=5),
)
def test_ids_equal_the_obvious_encoders(tokens, cuts, rows):
    """Whatever the tokens, halves of characters among them: the greedy ids, in batches and one by one, and from the JSON."""
    ids = {**BYTES, **{token: 257 + number for number, token in enumerate(dict.fromkeys([*tokens, *cuts]))}}
    expected = [encode_obviously(ids, row.encode()) for row in rows]
    for fewest, longest in ((1, 64), (1, 3), (64, 64)):  # pieces read by the trie: all, the short ones, none
        with mock.patch.multiple(greedy, _TRIE_PIECES=fewest, _TRIE_BYTES=longest):
            engine = GreedyEngine(ids, {})
            found, offsets = engine.encode_batch(pa.array(rows, pa.large_string()))
            assert [found[start:end].tolist() for start, end in itertools.pairwise(offsets)] == expected
            assert [engine.encode(row).tolist() for row in rows] == expected
    elsewhere = Tokenizer.from_str(make_world_json(ids))
    assert [encoding.ids for encoding in elsewhere.encode_batch(rows)] == expected


def test_blocks_threads_and_a_full_cache(monkeypatch):
    """Many blocks, on several threads, with a cache that is emptied all the time, change nothing."""
    ids = {**BYTES, b"the": 257, b" cat": 258, b"\n\n": 259}
    rows = [f"the cat {number}\n\n the" * (number % 5) for number in range(400)]
    strings = pa.array(rows, pa.large_string())
    expected, expected_offsets = GreedyEngine(ids, {}).encode_batch(strings)
    monkeypatch.setattr(recurring, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(recurring, "_CACHE_PIECES", 3)
    for threads in ("1", "3"):
        monkeypatch.setenv("RAYON_NUM_THREADS", threads)
        found, offsets = GreedyEngine(ids, {}).encode_batch(strings)
        assert found.tolist() == expected.tolist()
        assert offsets.tolist() == expected_offsets.tolist()
    sliced = GreedyEngine(ids, {}).encode_batch(strings.slice(3, 5))
    assert sliced[0].tolist() == expected[expected_offsets[3] : expected_offsets[8]].tolist()


def test_the_file_and_the_folder(tmp_path):
    """Both line ends, text and bytes literals; ids up to a multiple of 64; the folder opens with the same ids; control text stays text."""
    path = write_world(tmp_path / "rwkv_vocab_v20230424.txt", ["日本".encode(), b"\xe6\x97", b" 'x\"", b"\\n"])
    unix = load_tokenizer(path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    vocabulary = load_tokenizer(tmp_path)
    assert vocabulary.fingerprint == unix.fingerprint
    assert (vocabulary.size, vocabulary.eos_id, vocabulary.kind, vocabulary.is_byte_exact) == (320, 0, "greedy", True)
    text = "日本 日月 'x\" \\n <|endoftext|><|reserved_270|>"
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert vocabulary.token_bytes[ids].sum() == len(text.encode())
    vocabulary.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.encode(text).tolist() == ids.tolist()
    with_special = again.encode("a<|endoftext|>b", allow_special=True)
    assert with_special.tolist() == [ord("a") + 1, 0, ord("b") + 1]
    assert again.decode(with_special, skip_special=False) == "a<|endoftext|>b"
    reference = Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    assert reference.encode("a<|endoftext|>b").ids == with_special.tolist()
    stream = again.stream()
    assert "".join([*map(stream.push, ids.tolist()), stream.finish()]) == text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("300 'ab'", r"line 257 is \"300 'ab'\", but expected an id, a text and its number of bytes, such as 34 '!' 1"),
        ("300 'ab' 3", "line 257 is"),
        ("300 ab 2", "line 257 is"),
        ("300 'ab", "line 257 is"),
        ("0 'ab' 2", "line 257 is"),
        ("70000 'ab' 2", "line 257 is"),
        ("300 12 2", "line 257 is"),
        ("300 open('planted','w') 4", "line 257 is"),
        ("300 'a' 1", "line 257 has the token b'a' a second time"),
        ("30 'ab' 2", "line 257 has the id 30 a second time"),
    ],
)
def test_broken_files(line, message, tmp_path, monkeypatch):
    """Each mistake is named with its line; a line is read, never run."""
    monkeypatch.chdir(tmp_path)
    path = write_world(tmp_path / "world.txt", [])
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"world\.txt: " + message):
        load_tokenizer(path)
    assert not (tmp_path / "planted").exists()


def test_a_file_without_all_bytes(tmp_path):
    """A vocabulary smaller than its alphabet cannot write every text."""
    path = tmp_path / "world.txt"
    path.write_text("1 'a' 1\n2 'b' 1\n")
    with pytest.raises(TokenizerError, match=r"254 of the 256 single bytes are missing, the first is b'\\x00'"):
        load_tokenizer(path)
    path.write_bytes(b"1 'a' 1\n\xff\xfe")
    with pytest.raises(TokenizerError, match=r"not UTF-8 text \(byte 8\)"):
        read_world(path)


def test_it_is_not_a_wordpiece(tmp_path):
    """WordPiece with a prefix is another kind."""
    specification = json.loads(make_world_json(BYTES))
    specification["model"]["continuing_subword_prefix"] = "##"
    assert Vocabulary(json.dumps(specification)).kind == "wordpiece"
