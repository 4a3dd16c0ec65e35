"""Which words a text holds, and how often: the yardstick by which vocabularies are compared.

A word is a run of letters, marks, digits and underscores (and of the joiners of Persian and Hindi), with the one space
before it where it has one. Writing without spaces has no such words: there a run goes from sign to sign.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import view_text
from whelp.tokenizer._arrow import Texts, as_strings, code_points

_JOINERS = "_\u200c\u200d"
_MOST_PARTS = 32  # batches counted before they are put together


@dataclass(frozen=True, kw_only=True)
class WordTable:
    """Distinct words, the most frequent first, and how often each occurs in each group.

    `words` is a large_string array and `counts` counts over all groups. Entry i of the three others says that word
    `word_index[i]` occurs `group_count[i]` times in group `group_index[i]`.
    """

    words: Texts
    counts: npt.NDArray[np.int64]
    word_index: npt.NDArray[np.int64]
    group_index: npt.NDArray[np.int64]
    group_count: npt.NDArray[np.int64]


class WordCounter:
    """Count words batch by batch; memory grows with the distinct words alone."""

    def __init__(self) -> None:
        self._parts = [_make_counts(pa.array([], pa.large_string()), np.zeros(0, np.int64))]

    def add(self, texts: Texts, groups: npt.NDArray[np.int64]) -> None:
        """Count the words of some documents; `groups` has a number for each document."""
        words, documents = find_words(texts)
        self._parts.append(_add_up([_make_counts(words, groups[documents])]))
        if len(self._parts) > _MOST_PARTS:
            self._parts = [_add_up(self._parts)]

    def finish(self) -> WordTable:
        """Put the batches together. Ties go by the words' bytes, so the same text gives the same table."""
        grouped = _add_up(self._parts)
        totals = grouped.group_by("word").aggregate([("count", "sum")])
        totals = totals.sort_by([("count_sum", "descending"), ("word", "ascending")])
        words = pa.concat_arrays([pa.array([], pa.large_string()), *totals["word"].chunks])
        word_index = pc.index_in(grouped["word"], words)
        return WordTable(
            words=words,
            counts=totals["count_sum"].to_numpy(),
            word_index=word_index.to_numpy().astype(np.int64),
            group_index=grouped["group"].to_numpy(),
            group_count=grouped["count"].to_numpy(),
        )


def _make_counts(words: Texts, groups: npt.NDArray[np.int64]) -> Any:
    return pa.table({"word": words, "group": groups, "count": np.ones(len(words), np.int64)})


def _add_up(parts: list[Any]) -> Any:
    """One row for each word of each group."""
    added = pa.concat_tables(parts).group_by(["word", "group"]).aggregate([("count", "sum")])
    return pa.table({"word": added["word"], "group": added["group"], "count": added["count_sum"]})


def find_words(texts: Texts) -> tuple[Texts, npt.NDArray[np.int64]]:
    """Give every word of a batch, in order, and which document each is of.   ['a b_1, c'] -> ['a', ' b_1', ' c'], [0, 0, 0]"""
    strings = as_strings(texts)
    points, offsets = code_points(strings)
    if not len(points):
        return pa.array([], pa.large_string()), np.zeros(0, np.int64)
    is_word = _word_characters()[points]
    begins_document = np.zeros(len(points) + 1, bool)
    begins_document[offsets] = True
    after_other = np.concatenate([[True], ~is_word[:-1]])
    before_other = np.concatenate([~is_word[1:], [True]])
    starts = np.flatnonzero(is_word & (after_other | begins_document[:-1]))
    ends = np.flatnonzero(is_word & (before_other | begins_document[1:])) + 1
    documents = np.searchsorted(offsets, starts, side="right") - 1
    starts -= (starts > 0) & (points[starts - 1] == ord(" ")) & ~begins_document[starts]
    return _cut(strings, points, starts, ends), documents


def _cut(strings: Texts, points: npt.NDArray[np.uint32], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Texts:
    """Strings from `starts` to `ends`, which count characters of the whole batch."""
    data, byte_offsets = view_text(strings)
    borders = np.stack([starts, ends], axis=1).ravel()  # words and what stands between them take turns
    if len(points) != byte_offsets[-1] - byte_offsets[0]:  # not ASCII alone: characters have one to four bytes
        widths = (1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)).astype(np.int64)
        borders = np.concatenate([[0], np.cumsum(widths)])[borders]
    borders = borders + byte_offsets[0]
    if not len(borders):
        return pa.array([], pa.large_string())
    pieces = pa.LargeStringArray.from_buffers(len(borders) - 1, pa.py_buffer(borders), pa.py_buffer(data))
    return pieces.take(pa.array(np.arange(0, len(pieces), 2)))


@cache
def _word_characters() -> npt.NDArray[np.bool_]:
    """Whether each code point may stand in a word."""
    table = np.fromiter((unicodedata.category(chr(point))[0] in "LMN" for point in range(0x110000)), bool, 0x110000)
    table[[ord(character) for character in _JOINERS]] = True
    return table
