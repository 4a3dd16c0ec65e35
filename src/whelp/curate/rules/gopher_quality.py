"""Texts that are not prose: Gopher's rules of quality (arXiv:2112.11446, section A1), decided as datatrove does.

One rule differs unless `symbols_are_words` is set: which share of words has a letter is asked of words that are no symbols.
"""

from __future__ import annotations

import numpy as np

from whelp.curate.characters import LETTER, SPACE
from whelp.curate.config import GopherQualityConfig
from whelp.curate.hashing import Places, hash_words
from whelp.curate.rules.outcome import Outcome, judge, share
from whelp.curate.texts import Mask, Segments, Texts


class GopherQuality:
    """Number and length of words, symbols, bullets, ellipses, stop words."""

    def __init__(self, config: GopherQualityConfig) -> None:
        self._config = config
        self._stop_words = hash_words(sorted(set(config.stop_words)))

    def apply(self, texts: Texts) -> Outcome:
        """The first of the bounds that a text is beyond."""
        config, words, lines = self._config, texts.words, texts.wide_lines
        is_real = ~texts.is_symbol_word
        num_real = words.sum(is_real)
        mean_length = share(words.sum(words.lengths * is_real), num_real)
        letters = np.flatnonzero(texts.has(LETTER))
        has_letter = np.searchsorted(letters, words.starts) < np.searchsorted(letters, words.stops)
        bullets, ellipses = _find_bullets(texts, lines), _find_ellipses(texts, lines)
        num_words = words.counts if config.symbols_are_words else num_real
        none = np.zeros(len(texts), np.bool_)
        num_ellipses = _count_ellipses(texts) + texts.count_points("…")
        checks = [
            ("few words", num_real < config.min_words),
            ("many words", num_real > config.max_words if config.max_words else none),
            ("short words", mean_length < config.min_mean_word_length),
            ("long words", mean_length > config.max_mean_word_length),
            ("many #", share(texts.count_points("#"), words.counts) > config.max_symbols_per_word),
            ("many ellipses", share(num_ellipses, words.counts) > config.max_symbols_per_word),
            ("bullets", share(lines.sum(bullets), lines.counts) > config.max_bullet_lines),
            ("lines that end with an ellipsis", share(lines.sum(ellipses), lines.counts) > config.max_ellipsis_lines),
            ("words without letters", share(words.sum(has_letter), num_words) < config.min_alphabetic_words),
            ("few stop words", self._count_stop_words(texts) < config.min_stop_words),
        ]
        return judge(len(texts), checks)

    def _count_stop_words(self, texts: Texts) -> Places:
        """How many different stop words each text has."""
        count = np.zeros(len(texts), np.int64)
        for stop_word in self._stop_words:
            owners = texts.words.owners[texts.word_hashes == stop_word]
            count += np.bincount(owners, minlength=len(texts)) > 0
        return count


def _count_ellipses(texts: Texts) -> Places:
    """How often each text has three dots, none counted twice."""
    is_dots = texts.is_any(".")[np.minimum(texts.words.starts, max(0, len(texts.points) - 1))] if len(texts.points) else None
    if is_dots is None:
        return np.zeros(len(texts), np.int64)
    return texts.words.sum(texts.words.lengths // 3 * is_dots)


def _find_bullets(texts: Texts, lines: Segments) -> Mask:
    """Lines whose first character, white space aside, is a bullet or a hyphen."""
    places = texts.first_place(lines, texts.has(SPACE))
    return (places >= 0) & texts.is_any("•-")[places] if len(texts.points) else np.zeros(len(lines), np.bool_)


def _find_ellipses(texts: Texts, lines: Segments) -> Mask:
    """Lines that end with an ellipsis or three dots, white space aside."""
    if not len(texts.points):
        return np.zeros(len(lines), np.bool_)
    places = texts.last_place(lines, texts.has(SPACE))
    is_dot = texts.is_any(".")
    three = (
        (places - 2 >= lines.starts) & is_dot[places] & is_dot[np.maximum(places - 1, 0)] & is_dot[np.maximum(places - 2, 0)]
    )
    return (places >= 0) & (three | texts.is_any("…")[places])
