"""Learn a vocabulary, of whichever kind."""

from __future__ import annotations

from collections.abc import Iterable

from whelp.tokenizer._arrow import Texts
from whelp.tokenizer.bpe import learn_bpe
from whelp.tokenizer.chars import learn_chars
from whelp.tokenizer.config import LearnConfig
from whelp.tokenizer.vocabulary import Vocabulary
from whelp.tokenizer.words import learn_words

_LEARNERS = {"bpe": learn_bpe, "chars": learn_chars, "words": learn_words}


def learn(texts: Iterable[Texts], config: LearnConfig) -> Vocabulary:
    """Learn a vocabulary from Arrow string arrays, one row per document.

    Raises: TokenizerError: When there is no text, or a row is null.
    """
    return _LEARNERS[config.learn](texts, config)
