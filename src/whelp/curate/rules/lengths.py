"""How long a text is, how long its lines are, how much of it is letters and digits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whelp.curate.characters import ALPHANUMERIC
from whelp.curate.config import AlphanumericConfig, LengthConfig, LineLengthConfig
from whelp.curate.rules.outcome import Outcome, judge, share
from whelp.curate.texts import Texts


@dataclass(frozen=True)
class Length:
    """Characters of a text."""

    config: LengthConfig

    def apply(self, texts: Texts) -> Outcome:
        """Too short or too long."""
        most = self.config.max_characters
        is_long = texts.lengths > most if most >= 0 else np.zeros(len(texts), np.bool_)
        return judge(len(texts), [("too short", texts.lengths < self.config.min_characters), ("too long", is_long)])


@dataclass(frozen=True)
class Alphanumeric:
    """The share of letters and digits."""

    config: AlphanumericConfig

    def apply(self, texts: Texts) -> Outcome:
        """Too few."""
        found = share(texts.count(texts.has(ALPHANUMERIC)), texts.lengths)
        return judge(len(texts), [("few letters and digits", found < self.config.min_share)])


@dataclass(frozen=True)
class LineLengths:
    """Lines on average, and the longest, as `splitlines` cuts them."""

    config: LineLengthConfig

    def apply(self, texts: Texts) -> Outcome:
        """Too long."""
        lines = texts.wide_lines
        longest = np.zeros(len(texts), np.int64)
        np.maximum.at(longest, lines.owners, lines.lengths)
        mean = share(lines.sum(lines.lengths), lines.counts)
        checks = [("a very long line", longest > self.config.max_longest), ("long lines", mean > self.config.max_mean)]
        return judge(len(texts), checks)
