"""How long a text is, how long its lines are, how much of it is letters and digits."""

from __future__ import annotations

import numpy as np

from whelp.curate.characters import ALPHANUMERIC
from whelp.curate.config import AlphanumericConfig, LengthConfig, LineLengthConfig
from whelp.curate.rules.outcome import Outcome, judge, share
from whelp.curate.texts import Texts


class Length:
    """Characters of a text."""

    def __init__(self, config: LengthConfig) -> None:
        self._config = config

    def apply(self, texts: Texts) -> Outcome:
        """Too short or too long."""
        most = self._config.max_characters
        is_long = texts.lengths > most if most >= 0 else np.zeros(len(texts), np.bool_)
        return judge(len(texts), [("too short", texts.lengths < self._config.min_characters), ("too long", is_long)])


class Alphanumeric:
    """The share of letters and digits."""

    def __init__(self, config: AlphanumericConfig) -> None:
        self._config = config

    def apply(self, texts: Texts) -> Outcome:
        """Too few."""
        found = share(texts.count(texts.has(ALPHANUMERIC)), texts.lengths)
        return judge(len(texts), [("few letters and digits", found < self._config.min_share)])


class LineLengths:
    """Lines on average, and the longest, as `splitlines` cuts them."""

    def __init__(self, config: LineLengthConfig) -> None:
        self._config = config

    def apply(self, texts: Texts) -> Outcome:
        """Too long."""
        lines = texts.wide_lines
        longest = np.zeros(len(texts), np.int64)
        np.maximum.at(longest, lines.owners, lines.lengths)
        mean = share(lines.sum(lines.lengths), lines.counts)
        checks = [("a very long line", longest > self._config.max_longest), ("long lines", mean > self._config.max_mean)]
        return judge(len(texts), checks)
