"""Learn a vocabulary, of whichever kind."""

from __future__ import annotations

from collections.abc import Iterable

from whelp.base.log import log
from whelp.tokenizer._arrow import Texts
from whelp.tokenizer.bpe import learn_bpe
from whelp.tokenizer.chars import learn_chars
from whelp.tokenizer.config import LearnConfig
from whelp.tokenizer.retrain import retrain
from whelp.tokenizer.unigram import learn_unigram
from whelp.tokenizer.vocabulary import Vocabulary
from whelp.tokenizer.wordpiece import learn_wordpiece
from whelp.tokenizer.words import learn_words

_LEARNERS = {
    "bpe": learn_bpe,
    "unigram": learn_unigram,
    "wordpiece": learn_wordpiece,
    "chars": learn_chars,
    "words": learn_words,
}
_ROUND = 64  # the model's embedding has a multiple of so many rows


def learn(texts: Iterable[Texts], config: LearnConfig) -> Vocabulary:
    """Learn a vocabulary from Arrow string arrays, one row per document. The same rows give the same bytes.

    Raises: TokenizerError: When there is no text, or a row is null.
    """
    if config.vocab_size % _ROUND and (config.retrain or config.learn != "chars"):
        log.warning(
            "vocab_size %d is no multiple of %d: the embedding will have %d rows, and %d ids would use them all.",
            config.vocab_size,
            _ROUND,
            *[-(-config.vocab_size // _ROUND) * _ROUND] * 2,
        )
    return retrain(texts, config) if config.retrain else _LEARNERS[config.learn](texts, config)
