"""Byte-level BPE: what is learned."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import gigatoken
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from whelp.base.errors import TokenizerError
from whelp.tokenizer import LearnConfig, Vocabulary, learn


def _merges(vocabulary: Vocabulary, folder) -> list[tuple[str, str]]:
    vocabulary.save(folder)
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    return [tuple(pair) for pair in merges]


def _reference_merges(rows: list[str], num_merges: int) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        rows, trainers.BpeTrainer(vocab_size=256 + num_merges, initial_alphabet=alphabet, show_progress=False)
    )
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


@pytest.mark.parametrize("num_merges", [1, 100, 300])
def test_merges_equal_the_reference_trainers(tmp_path, texts, num_merges):
    """The merges are those of tokenizers' BpeTrainer, in order, ties included."""
    rows = [f"{text} number {number} of {number * 7919}" for number in range(50) for text in texts.to_pylist()]
    vocabulary = learn([pa.array(rows[:100]), pa.array(rows[100:])], LearnConfig(vocab_size=258 + num_merges))
    assert vocabulary.size == 258 + num_merges
    assert _merges(vocabulary, tmp_path) == _reference_merges(rows, num_merges)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.text("aab é", min_size=1, max_size=30), min_size=1, max_size=3), num_merges=st.integers(0, 12))
def test_merges_equal_the_reference_where_little_is_left(tmp_path_factory, rows, num_merges):
    """Tiny texts with runs of one letter, with and without anything left to merge: still the reference's merges."""
    vocabulary = learn([pa.array(rows)], LearnConfig(vocab_size=258 + num_merges))
    assert _merges(vocabulary, tmp_path_factory.mktemp("v")) == _reference_merges(rows, num_merges)


def test_layout_of_ids(bpe):
    """Bytes are 0..255, control tokens come last, and the pad is not the end token."""
    assert bpe.token_bytes[:256].tolist() == [1] * 256
    assert (bpe.size, bpe.eos_id, bpe.pad_id, bpe.unk_id, bpe.bos_id) == (320, 318, 319, None, 318)
    assert bpe.special_ids == {318, 319}


def test_learning_is_deterministic_and_ignores_batch_borders(texts):
    """The same rows in other batches give the same vocabulary."""
    config = LearnConfig(vocab_size=300)
    one, two = learn([texts], config), learn([texts.slice(0, 2), texts.slice(2).cast(pa.string())], config)
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != learn([texts], LearnConfig(vocab_size=301)).fingerprint


def test_no_merge_crosses_documents(tmp_path, warnings_logged):
    """Neighbours in different documents are not neighbours."""
    vocabulary = learn([pa.array(["xy", "zw"] * 50)], LearnConfig(vocab_size=300))
    assert _merges(vocabulary, tmp_path) == [("x", "y"), ("z", "w")]


def test_control_text_in_the_corpus_is_learned_as_text(tmp_path, warnings_logged):
    """A corpus that spells the end token gets merges from its letters."""
    vocabulary = learn([pa.array(["<|endoftext|>"] * 9)], LearnConfig(vocab_size=300))
    assert ("<", "|") in _merges(vocabulary, tmp_path)


def test_small_corpus_gives_a_smaller_vocabulary_and_says_so(warnings_logged):
    """A vocabulary that cannot be filled is smaller, with a warning."""
    assert learn([pa.array(["abab"])], LearnConfig(vocab_size=4096)).size < 270
    assert "too small for a vocabulary of 4096" in warnings_logged.text


def test_max_bytes_is_a_budget_that_cuts_at_a_character(warnings_logged):
    """Only the first bytes are learned from, and half a character is left out."""
    rows = pa.array(["aé", "éé", "zz"])
    whole = learn([pa.array(["aé", "é"])], LearnConfig(learn="chars"))
    assert learn([rows], LearnConfig(learn="chars", max_bytes=6)).fingerprint == whole.fingerprint
    assert learn([rows.slice(0, 1), rows.slice(1)], LearnConfig(learn="chars", max_bytes=6)).fingerprint == whole.fingerprint


def test_the_trainer_does_not_print(capfd, texts):
    """Standard output stays free for results."""
    learn([texts], LearnConfig(vocab_size=270))
    assert capfd.readouterr() == ("", "")


def test_threads_that_learn_at_once_leave_standard_output(capfd, texts, monkeypatch):
    """Whichever ends last: what is printed after both is seen."""
    both, first_is_over, train = threading.Barrier(2), threading.Event(), gigatoken.train_bpe

    def train_beside(*arguments, **options):
        is_second = both.wait(timeout=60) == 1
        if is_second:
            assert first_is_over.wait(timeout=60)
        return train(*arguments, **options)

    monkeypatch.setattr(gigatoken, "train_bpe", train_beside)

    def learn_one():
        learn([texts], LearnConfig(vocab_size=270))
        first_is_over.set()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(learn_one), pool.submit(learn_one)]:
            future.result()
    os.write(1, b"said")
    os.write(2, b"warned")
    assert capfd.readouterr() == ("said", "warned")


@pytest.mark.parametrize(
    "config",
    [LearnConfig(pattern=p, learn=k) for k, p in [("bpe", "gpt2"), ("bpe", "gpt4"), ("chars", "gpt2"), ("words", "gpt2")]],
)
def test_empty_corpus(config):
    """No text is an error, for every kind."""
    for batches in ([], [pa.array([], pa.string())], [pa.array(["", ""])]):
        with pytest.raises(TokenizerError, match=r"there is no text, but expected some\. Check the source"):
            learn(batches, config)


def test_nulls_and_other_types_are_named():
    """A null row and a column of numbers are errors that say so."""
    with pytest.raises(TokenizerError, match="row 1 is null, but expected text in every row"):
        learn([pa.array(["a", None])], LearnConfig())
    with pytest.raises(TokenizerError, match="the column is of type int64, but expected strings"):
        learn([pa.array([1, 2])], LearnConfig())
