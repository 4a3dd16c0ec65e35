"""One id per word, per sign and per white-space character. To learn from and to compare with; bpe serves better."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from whelp.base.log import log
from whelp.tokenizer._arrow import Texts, iter_lists
from whelp.tokenizer._patterns import WORD_PATTERN
from whelp.tokenizer.config import LearnConfig
from whelp.tokenizer.learning.build import build_words
from whelp.tokenizer.vocabulary import Vocabulary


def learn_words(strings: Iterator[Texts], config: LearnConfig) -> Vocabulary:
    r"""Keep the most frequent pieces of `\w+|[^\w\s]|\s`, ties by text; then the control tokens.

    'It is.' -> 'It', ' ', 'is', '.'; the pieces joined are the text. With `unknown: error` a text with any other word
    cannot be encoded, which new text nearly always has; with `unknown: token` the word becomes `<unk>` and is lost.
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")
    trainer = trainers.WordLevelTrainer(vocab_size=1 << 31, min_frequency=0, show_progress=False)
    tokenizer.train_from_iterator(iter_lists(strings), trainer)
    ranks: dict[str, int] = json.loads(tokenizer.to_str())["model"]["vocab"]
    num_words = config.vocab_size - len(config.control_tokens())
    words = sorted(ranks, key=ranks.__getitem__)[:num_words]
    if len(words) < len(ranks) and config.unknown == "error":
        log.warning(
            "The vocabulary holds %d of the %d words of the text: a text with any other cannot be encoded. "
            "Take unknown: token, or a larger vocab_size.",
            len(words),
            len(ranks),
        )
    elif len(words) < num_words:
        log.warning("The text has only %d words: the vocabulary is smaller than %d.", len(words), config.vocab_size)
    return build_words(words, WORD_PATTERN, config, "a learned vocabulary of words")
