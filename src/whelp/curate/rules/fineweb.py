"""Lists and menus: FineWeb's rules (arXiv:2406.17557), decided as datatrove does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whelp.curate.characters import SENTENCE_END, SPACE
from whelp.curate.config import FineWebConfig
from whelp.curate.hashing import find_repeats
from whelp.curate.rules.outcome import Outcome, judge, share
from whelp.curate.texts import Texts


@dataclass(frozen=True)
class FineWeb:
    """Lines that end no sentence, short lines, lines that repeat, newlines."""

    config: FineWebConfig

    def apply(self, texts: Texts) -> Outcome:
        """The first of the bounds that a text is beyond."""
        config = self.config
        lines = texts.lines.choose(texts.first_place(texts.lines, texts.has(SPACE)) >= 0)
        is_end = texts.has(SENTENCE_END)
        punctuated = share(lines.sum(is_end[lines.stops - 1]), lines.counts)
        short = share(lines.sum(lines.lengths <= config.short_line_characters), lines.counts)
        is_repeat = find_repeats(texts.line_prefix.hash_ranges(lines.starts, lines.stops), lines.owners)
        newlines = texts.lines.counts - 1
        repeated = share(lines.sum(lines.lengths * is_repeat), texts.lengths - newlines)
        num_words = np.maximum(texts.words.counts, 1)
        checks = [
            ("empty", lines.counts == 0),
            ("lines without an end", punctuated < config.min_punctuated_lines),
            ("short lines", short > config.max_short_lines),
            ("characters in repeated lines", repeated > config.max_duplicate_line_characters),
            ("newlines", newlines / num_words > config.max_newlines_per_word),
        ]
        return judge(len(texts), checks)
