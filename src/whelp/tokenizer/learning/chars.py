"""One id per character. Small vocabularies, long sequences; no way to write a character it has never seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from whelp.tokenizer._arrow import Texts, code_points
from whelp.tokenizer._patterns import CHARACTER_PATTERN
from whelp.tokenizer.config import LearnConfig
from whelp.tokenizer.learning.build import build_words
from whelp.tokenizer.vocabulary import Vocabulary


def learn_chars(strings: Iterator[Texts], config: LearnConfig) -> Vocabulary:
    """Give every character (Unicode code point) of the text an id, in code point order; then the control tokens.

    With `unknown: error` a character it has never seen cannot be encoded; with `unknown: token` it becomes `<unk>` and is
    lost. A letter and its combining accent are two characters.
    """
    is_seen = np.zeros(0x110000, bool)
    for batch in strings:
        is_seen[code_points(batch)[0]] = True
    characters = [chr(point) for point in np.flatnonzero(is_seen)]
    return build_words(characters, CHARACTER_PATTERN, config, "a learned vocabulary of characters")
