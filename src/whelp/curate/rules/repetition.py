"""Texts that repeat themselves: Gopher's shares of lines, paragraphs and runs of words (arXiv:2112.11446, table A1).

Decisions are those of datatrove's filter on the same words. Its counting of repeated runs goes through a text word by word;
here bounds that hold for whole arrays clear nearly every text, and only the others are counted so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from whelp.curate.config import RepetitionConfig
from whelp.curate.hashing import Hashes, Places, Prefix, find_repeats, find_runs, group
from whelp.curate.rules.outcome import Outcome, judge, share
from whelp.curate.texts import Mask, Segments, Texts

_FIRST_TOP, _FIRST_DUPLICATE = 2, 5  # words of the shortest runs
_ROUNDING = 1 - 1e-9  # bounds must clear no text that the exact division would not


@dataclass(frozen=True)
class Repetition:
    """Shares of what has stood before."""

    config: RepetitionConfig

    def apply(self, texts: Texts) -> Outcome:
        """The first of the shares that is too large."""
        config = self.config
        paragraphs, in_paragraphs = _share_repeated(texts, texts.paragraphs)
        lines, in_lines = _share_repeated(texts, texts.filled_lines)
        checks = [
            ("empty", texts.lengths == 0),
            ("repeated paragraphs", paragraphs > config.duplicate_paragraphs),
            ("characters in repeated paragraphs", in_paragraphs > config.duplicate_paragraph_characters),
            ("repeated lines", lines > config.duplicate_lines),
            ("characters in repeated lines", in_lines > config.duplicate_line_characters),
        ]
        is_open = ~np.logical_or.reduce([holds for _, holds in checks])
        words = _Words(texts)
        for number, most in enumerate(config.top_ngrams):
            holds = words.find_top(_FIRST_TOP + number, most, is_open)
            checks.append((f"one run of {_FIRST_TOP + number} words", holds))
            is_open &= ~holds
        is_open &= words.may_repeat(_FIRST_DUPLICATE, min(config.duplicate_ngrams, default=1.0))
        for number, most in enumerate(config.duplicate_ngrams):
            holds = words.find_repeated(_FIRST_DUPLICATE + number, most, is_open)
            checks.append((f"repeated runs of {_FIRST_DUPLICATE + number} words", holds))
            is_open &= ~holds
        return judge(len(texts), checks)


def _share_repeated(texts: Texts, pieces: Segments) -> tuple[np.ndarray, np.ndarray]:
    """Of each text, the share of pieces that have stood before, and of characters in them."""
    is_repeat = find_repeats(texts.line_prefix.hash_ranges(pieces.starts, pieces.stops), pieces.owners)
    return (
        share(pieces.sum(is_repeat), pieces.counts),
        share(pieces.sum(pieces.lengths * is_repeat), texts.lengths),
    )


class _Words:
    """The words of all texts, and what is asked about runs of them."""

    def __init__(self, texts: Texts) -> None:
        self._texts, self._words = texts, texts.words
        self._prefix = Prefix(texts.word_hashes)
        self._joined, self._ends = texts.word_prefix
        self._bounds = np.concatenate(([0], np.cumsum(self._words.counts)))

    def find_top(self, size: int, most: float, is_open: Mask) -> Mask:
        """Texts whose most frequent run of words, of those equally frequent the first, has too large a share of characters."""
        holds = np.zeros(len(self._texts), np.bool_)
        places = find_runs(self._words.owners, size, is_open)
        if not len(places):
            return holds
        owners = self._words.owners[places]
        hashes = self._prefix.hash_ranges(places, places + size)
        lengths = self._ends[places + size] - self._ends[places] + size - 1
        order, group_starts = group(hashes, owners)
        counts = np.diff(np.append(group_starts, len(order)))
        of_group = order[group_starts]
        is_large = counts * lengths[of_group] > most * _ROUNDING * self._texts.lengths[owners[of_group]]
        for number in np.unique(owners[of_group[is_large]]):
            first, end = np.searchsorted(owners, [number, number + 1])
            found = Counter(hashes[first:end].tolist())
            top, count = found.most_common(1)[0]
            length = lengths[first + int(np.argmax(hashes[first:end] == np.uint64(top)))]
            holds[number] = length * count / self._texts.lengths[number] > most
        return holds

    def may_repeat(self, size: int, most: float) -> Mask:
        """Texts where all words of runs that have stood before make more than a share of the characters.

        What a longer run covers is covered by shorter ones, so this bounds `find_repeated` of any size from here on.
        """
        places = find_runs(self._words.owners, size, np.ones(len(self._texts), np.bool_))
        is_repeat = find_repeats(self._hash_joined(places, size), self._words.owners[places])
        steps = np.zeros(len(self._words) + 1, np.int64)
        np.add.at(steps, places[is_repeat], 1)
        np.add.at(steps, places[is_repeat] + size, -1)
        is_covered = np.cumsum(steps[:-1]) > 0
        covered = self._words.sum(self._words.lengths * is_covered)
        return covered > most * _ROUNDING * self._texts.lengths

    def find_repeated(self, size: int, most: float, is_open: Mask) -> Mask:
        """Texts where runs that have stood before, none overlapping another, have too large a share of characters."""
        holds = np.zeros(len(self._texts), np.bool_)
        for number in np.flatnonzero(is_open):
            first, end = self._bounds[number], self._bounds[number + 1]
            places = np.arange(first, max(first, end - size + 1))
            hashes = self._hash_joined(places, size)
            lengths = self._ends[places + size] - self._ends[places]
            holds[number] = _count_repeated(hashes, lengths, size) / self._texts.lengths[number] > most
        return holds

    def _hash_joined(self, places: Places, size: int) -> Hashes:
        """Hashes of the characters of runs, words put together without anything between them."""
        return self._joined.hash_ranges(self._ends[places], self._ends[places + size])


def _count_repeated(hashes: Hashes, lengths: Places, size: int) -> int:
    """Characters in repeated runs: after one that has stood before, go on behind it, else by one word.

    Runs that come once decide nothing, so only the others are gone through.
    """
    order = np.argsort(hashes)
    is_equal = hashes[order[1:]] == hashes[order[:-1]]
    comes_again = np.zeros(len(hashes), np.bool_)
    comes_again[order[1:][is_equal]] = comes_again[order[:-1][is_equal]] = True
    places = np.flatnonzero(comes_again)
    seen: set[int] = set()
    count = next_place = 0
    for place, value, length in zip(places.tolist(), hashes[places].tolist(), lengths[places].tolist(), strict=True):
        if place < next_place:
            continue
        if value in seen:
            count += length
            next_place = place + size
        else:
            seen.add(value)
    return count
