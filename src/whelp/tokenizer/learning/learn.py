"""Learn a vocabulary, of whichever kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from whelp.base.arrays import view_text
from whelp.base.log import log
from whelp.tokenizer._arrow import Texts, iter_strings
from whelp.tokenizer.config import LearnConfig
from whelp.tokenizer.learning.bpe import learn_bpe
from whelp.tokenizer.learning.build import no_text
from whelp.tokenizer.learning.chars import learn_chars
from whelp.tokenizer.learning.retrain import retrain
from whelp.tokenizer.learning.unigram import learn_unigram
from whelp.tokenizer.learning.wordpiece import learn_wordpiece
from whelp.tokenizer.learning.words import learn_words
from whelp.tokenizer.vocabulary import Vocabulary

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

    It is smaller than `vocab_size` where the text has no more to learn; a warning says so.

    Raises: TokenizerError: When there is no text, or a row is null.
    """
    if config.vocab_size % _ROUND and (config.retrain or config.learn != "chars"):
        log.warning(
            "vocab_size %d is no multiple of %d: the embedding will have %d rows, and %d ids would use them all.",
            config.vocab_size,
            _ROUND,
            *[-(-config.vocab_size // _ROUND) * _ROUND] * 2,
        )
    strings = _iter_text(texts, config)
    vocabulary = retrain(strings, config) if config.retrain else _LEARNERS[config.learn](strings, config)
    if vocabulary.size < config.vocab_size and (config.retrain or config.learn not in ("chars", "words")):
        log.warning("The text is too small for a vocabulary of %d: it has %d ids.", config.vocab_size, vocabulary.size)
    return vocabulary


def _iter_text(texts: Iterable[Texts], config: LearnConfig) -> Iterator[Texts]:
    """The text to learn from, as large_string arrays.

    Raises: TokenizerError: At the end, when there was none.
    """
    num_bytes = 0
    for strings in iter_strings(texts, config.max_bytes, config.max_documents):
        _, offsets = view_text(strings)
        num_bytes += int(offsets[-1] - offsets[0])
        yield strings
    if not num_bytes:
        raise no_text()
