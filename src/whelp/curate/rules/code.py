"""Files of code that teach little: those a program wrote, configuration, tests, and what computes nothing (CodeParrot)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from whelp.curate.config import ConfigOrTestConfig, FewSignsOfCodeConfig, GeneratedCodeConfig
from whelp.curate.hashing import Places, mix
from whelp.curate.rules.outcome import Outcome, judge
from whelp.curate.texts import Mask, Segments, Texts, to_mask


@dataclass(frozen=True)
class GeneratedCode:
    """A file that says in its first lines that a program wrote it."""

    config: GeneratedCodeConfig

    def apply(self, texts: Texts) -> Outcome:
        """Generated."""
        head = _take_head(texts, self.config.look_at_lines)
        return judge(len(texts), [("generated code", _has_any(head, self.config.words))])


@dataclass(frozen=True)
class ConfigOrTest:
    """A file that is a test or a configuration, or that speaks of these all the time."""

    config: ConfigOrTestConfig

    def apply(self, texts: Texts) -> Outcome:
        """Configuration or test, of which a share is dropped."""
        config = self.config
        lowered = pc.ascii_lower(texts.array)
        most = np.floor(config.max_mentions_per_line * (texts.lines.counts - 1))
        says = _has_any(_take_head(texts, config.look_at_lines), config.words)
        for word in ("config", "test"):
            says |= _count(lowered, word) > most
        return judge(len(texts), [("configuration or test", says & _draw(texts, config.dropped_share, 1))])


@dataclass(frozen=True)
class FewSignsOfCode:
    """A Python file without definitions, loops or assignments."""

    config: FewSignsOfCodeConfig

    def apply(self, texts: Texts) -> Outcome:
        """No definition or loop (a share is dropped), few assignments."""
        config = self.config
        lacks = ~_has_any(texts.array, config.keywords) if config.keywords else np.zeros(len(texts), np.bool_)
        checks = [
            ("no definition or loop", lacks & _draw(texts, config.dropped_share, 2)),
            ("few assignments", _count(texts.array, "=") < config.min_assignments),
        ]
        return judge(len(texts), checks)


def _take_head(texts: Texts, num_lines: int) -> pa.LargeStringArray:
    """The first lines of each text."""
    lines = texts.wide_lines
    ends = np.cumsum(lines.counts)
    lasts = ends - lines.counts + np.minimum(lines.counts, num_lines) - 1
    stops = np.where(lines.counts > 0, lines.stops[np.maximum(lasts, 0)] if len(lines) else 0, texts.starts)
    return texts.take_segments(Segments(texts.starts, stops, np.arange(len(texts)), len(texts)))


def _has_any(array: pa.LargeStringArray, words: Sequence[str]) -> Mask:
    """Which texts have any of some words in them, whatever the case."""
    lowered = pc.ascii_lower(array)
    found = np.zeros(len(array), np.bool_)
    for word in words:
        found |= to_mask(pc.match_substring(lowered, word.lower()))
    return found


def _count(array: pa.LargeStringArray, word: str) -> Places:
    return np.asarray(pc.count_substring(array, word).to_numpy(zero_copy_only=False), np.int64)


def _draw(texts: Texts, dropped_share: float, purpose: int) -> Mask:
    """A share of the texts, drawn by what is in them: the same text always has the same lot."""
    hashes = mix(texts.line_prefix.hash_ranges(texts.starts, texts.stops) + np.uint64(purpose))
    return np.asarray((hashes >> np.uint64(11)).astype(np.float64) < dropped_share * 2.0**53)
