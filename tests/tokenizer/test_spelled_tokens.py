"""What each id adds to a text: the first, and any other; of every kind, added up, what `decode` gives."""

import itertools

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models

from whelp.base.errors import TokenizerError
from whelp.tokenizer import LearnConfig, Vocabulary, learn


def _check(vocabulary: Vocabulary) -> None:
    firsts, others = vocabulary.spell_tokens()
    assert len(firsts) == len(others) == vocabulary.size
    assert all(firsts[token_id] == others[token_id] == b"" for token_id in vocabulary.special_ids)
    random = np.random.default_rng(1)
    for _ in range(200):
        ids = random.integers(0, vocabulary.size, size=int(random.integers(1, 7))).tolist()
        kept = [token_id for token_id in ids if token_id not in vocabulary.special_ids]
        raw = b"".join([*(firsts[token_id] for token_id in kept[:1]), *(others[token_id] for token_id in kept[1:])])
        if "\ufffd" not in raw.decode(errors="replace"):
            assert raw.decode() == vocabulary.decode(ids)


def test_every_kind(vocabulary):
    """Ids that stand for bytes: the same everywhere."""
    _check(vocabulary)
    firsts, others = vocabulary.spell_tokens()
    assert firsts == others


def test_words_and_their_parts(texts):
    """WordPiece: a space before each word but the first, none before further parts."""
    vocabulary = learn([texts], LearnConfig(learn="wordpiece", vocab_size=300))
    _check(vocabulary)
    firsts, others = vocabulary.spell_tokens()
    part = next(token_id for token, token_id in vocabulary.specification()["model"]["vocab"].items() if token.startswith("##"))
    whole = next(token_id for token_id, text in enumerate(firsts) if text.isalpha())
    assert others[whole] == b" " + firsts[whole]
    assert others[part] == firsts[part].removeprefix(b"##")


def test_sentence_pieces(prefix_space_json):
    """A space that begins a text is none; parts of letters are bytes."""
    vocabulary = Vocabulary(prefix_space_json)
    _check(vocabulary)
    firsts, others = vocabulary.spell_tokens()
    ids = [vocabulary.id_of(token) for token in ("\u2581ab", "ab", "<0xC3>", "<0x41>")]
    assert [(firsts[token_id], others[token_id]) for token_id in ids] == [
        (b"ab", b" ab"),
        (b"ab", b"ab"),
        (b"\xc3", b"\xc3"),
        (b"A", b"A"),
    ]
    assert vocabulary.decode([ids[0], ids[0]]) == "ab ab"


def test_text_that_depends_on_its_neighbours():
    """It has no spelling; which vocabulary that is, is said."""
    letters = ["a", "b", "a</w>", "b</w>"]
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, [], end_of_word_suffix="</w>"))
    tokenizer.decoder = decoders.BPEDecoder()
    with pytest.raises(TokenizerError, match=r"^mine: the text of a token depends on the tokens around it"):
        Vocabulary(tokenizer.to_str(), name="mine").spell_tokens()


def test_the_decoder_is_built_once(prefix_space_json, monkeypatch):
    """However many ids come one by one."""
    vocabulary = Vocabulary(prefix_space_json)
    stream, num_built = vocabulary.stream(), itertools.count()
    build = Tokenizer.from_str
    monkeypatch.setattr("whelp.tokenizer.vocabulary.Tokenizer", _Counting(build, num_built))
    for _ in range(5):
        stream.push(vocabulary.id_of("ab"))
    assert next(num_built) == 1


class _Counting:
    def __init__(self, build, num_built):
        self._build, self._num_built = build, num_built

    def from_str(self, text):
        next(self._num_built)
        return self._build(text)
