"""Vocabularies of characters and of words."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whelp.base.errors import TokenizerError
from whelp.tokenizer import LearnConfig, learn


def test_characters_are_sorted(texts):
    """One id per character in code point order, then the control tokens."""
    chars = learn([pa.array(["cab\n", "é日"])], LearnConfig(learn="chars"))
    assert [chars.token_text(token_id) for token_id in range(chars.size)] == [*"\nabcé日", "<|endoftext|>", "<|pad|>"]
    assert chars.encode("abba").tolist() == [1, 2, 2, 1]
    assert (chars.kind, chars.eos_id, chars.pad_id, chars.unk_id) == ("chars", 6, 7, None)


def test_unknown_character_is_named_with_its_place():
    """The error says which character, where, and what to do."""
    chars = learn([pa.array(["abc "])], LearnConfig(learn="chars"))
    with pytest.raises(TokenizerError) as caught:
        chars.encode_batch(pa.array(["", "abc", "a bß"]))
    assert str(caught.value) == (
        "document 2, character 3: 'ß' (U+00DF) is not among the 4 characters of this vocabulary. Learn it from this text too, "
        "learn with unknown: token, or choose learn: bpe, which can write every text."
    )


def test_unknown_word_is_named_with_its_place():
    """The error says which word, where, and what to do."""
    words = learn([pa.array(["the cat, the dog"])], LearnConfig(learn="words", vocab_size=100))
    with pytest.raises(TokenizerError, match=r"document 1, character 4: 'bird' is not in this vocabulary of words\. Learn it"):
        words.encode_batch(pa.array(["the cat", "the bird"]))


@pytest.mark.parametrize("kind", ["chars", "words"])
def test_a_single_text_has_no_number(kind):
    """A prompt is not called document 0."""
    vocabulary = learn([pa.array(["the cat"])], LearnConfig(learn=kind, vocab_size=100))
    with pytest.raises(TokenizerError, match=r"^text, character 4: 'ß+' "):
        vocabulary.encode("the ß")


@pytest.mark.parametrize("kind", ["chars", "words"])
def test_unknown_token(kind, tmp_path):
    """With unknown: token the unknown becomes <unk>, which decode leaves out; the literal <unk> stays text."""
    vocabulary = learn([pa.array(["the cat <unk>"])], LearnConfig(learn=kind, vocab_size=100, unknown="token"))
    ids = vocabulary.encode("the é cat").tolist()
    assert ids.count(vocabulary.unk_id) == 1
    assert vocabulary.decode(ids) == "the  cat"
    assert vocabulary.decode(ids, skip_special=False) == "the <unk> cat"
    assert vocabulary.token_bytes[vocabulary.unk_id] == 0
    literal = vocabulary.encode("the <unk>")
    assert vocabulary.unk_id not in literal
    assert vocabulary.decode(literal) == "the <unk>"


def test_words_keep_the_most_frequent(warnings_logged):
    """Frequency decides, then the text; what does not fit is warned of."""
    words = learn([pa.array(["b a c c"])], LearnConfig(learn="words", vocab_size=5))
    assert [words.token_text(token_id) for token_id in range(3)] == [" ", "c", "a"]
    assert "holds 3 of the 4 words of the text" in warnings_logged.text


@settings(max_examples=100, deadline=None)
@given(text=st.text(min_size=1, max_size=60))
def test_every_text_round_trips_in_its_own_vocabulary(text):
    """Pieces joined are the text, whatever the characters; ids equal the reference's."""
    for kind in ("chars", "words"):
        vocabulary = learn([pa.array([text])], LearnConfig(learn=kind, vocab_size=100))
        ids = vocabulary.encode(text)
        assert vocabulary.decode(ids) == text
        assert ids.tolist() == vocabulary._reference(False).encode(text).ids
        assert vocabulary.token_bytes[ids].sum() == len(text.encode())
