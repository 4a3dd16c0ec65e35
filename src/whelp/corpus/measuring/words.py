"""Words and runs of words.

A word is a run of letters, marks, digits, underscores and apostrophes, in lower case, without apostrophes and underscores at
its ends. Writing without spaces has no such words: there a run goes from sign to sign.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.mix_bits import mix
from whelp.corpus.measuring.hashes import Hashes, Texts, hash_texts
from whelp.corpus.measuring.tally import Counts, Tally, count_keys

Ids = npt.NDArray[np.int64]

MOST_WORDS = (1 << 21) - 1  # so that three ids fit 63 bits
LONGEST_WORD_BYTES = 64
_ID_BITS = 21
_NUM_CURVE_POINTS = 120
_BETWEEN_WORDS = r"[^\pL\pM\pN_'\x{200c}\x{200d}]+"


def split_words(texts: Texts) -> tuple[Texts, Ids]:
    """The words of a large_string array, in order, and where those of each text begin (texts + 1).

    >>> words, offsets = split_words(pa.array(["Don't _stop_, Eve’s 2 cats!", "", "ok"], pa.large_string()))
    >>> words.to_pylist(), offsets.tolist()
    (["don't", 'stop', "eve's", '2', 'cats', 'ok'], [0, 5, 5, 6])
    """
    plain = pc.replace_substring(pc.utf8_lower(texts), "\u2019", "'")
    lists = pc.split_pattern_regex(plain, _BETWEEN_WORDS)
    words = pc.utf8_trim(lists.values, "'_")
    is_word = pc.greater(pc.binary_length(words), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(is_word)])[lists.offsets.to_numpy()]
    return words.filter(pa.array(is_word)), offsets


class WordTable:
    """Distinct words in the order of their coming, counted exactly.

    Memory is bounded: when there are `max_words`, further words count as `num_other`, as do words longer than 64 bytes.
    """

    def __init__(self, *, max_words: int = MOST_WORDS) -> None:
        self.num_words = 0
        self._max_words = max_words
        self._hashes = np.zeros(0, np.uint64)  # sorted
        self._ids = np.zeros(0, np.int64)  # of these; from 1 on, 0 being all other words
        self._counts = np.zeros(1024, np.int64)
        self._chunks: list[Texts] = []

    @property
    def num_distinct(self) -> int:
        """How many words have an entry."""
        return len(self._ids)

    @property
    def num_other(self) -> int:
        """Occurrences of words without an entry."""
        return int(self._counts[0])

    @property
    def words(self) -> Texts:
        """All entries: a large_string array. The word of id 1 comes first."""
        return pa.concat_arrays([pa.array([], pa.large_string()), *self._chunks])

    @property
    def counts(self) -> Counts:
        """How often each of `words` occurs."""
        return self._counts[1 : self.num_distinct + 1]

    def add(self, texts: Texts) -> tuple[Ids, Ids]:
        """Count the words of some texts; their ids in order, and where those of each text begin."""
        words, offsets = split_words(texts)
        encoded = words.dictionary_encode()
        ids = self._find_or_enter(encoded.dictionary)[encoded.indices.to_numpy()]
        self.num_words += len(ids)
        if self.num_distinct >= len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros(self.num_distinct + 1, np.int64)])
        self._counts += np.bincount(ids, minlength=len(self._counts))
        return ids, offsets

    def _find_or_enter(self, words: Texts) -> Ids:
        """The id of each of some words that differ."""
        hashes = hash_texts(words)
        ids = np.zeros(len(words), np.int64)
        if len(self._hashes):
            places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
            ids = np.where(self._hashes[places] == hashes, self._ids[places], 0)
        is_short = pc.binary_length(words).to_numpy() <= LONGEST_WORD_BYTES
        new = np.flatnonzero((ids == 0) & is_short)[: self._max_words - self.num_distinct]
        if len(new):
            ids[new] = np.arange(self.num_distinct + 1, self.num_distinct + len(new) + 1)
            self._chunks.append(words.take(pa.array(new)))
            if len(self._chunks) > 64:
                self._chunks = [self.words]
            self._hashes = np.concatenate([self._hashes, hashes[new]])
            self._ids = np.concatenate([self._ids, ids[new]])
            order = np.argsort(self._hashes, kind="stable")
            self._hashes, self._ids = self._hashes[order], self._ids[order]
        return ids

    def most_frequent(self, most: int) -> list[dict[str, Any]]:
        """The most frequent words, each with `text` and `count`; ties go by the order of coming."""
        order = np.argsort(-self.counts, kind="stable")[:most]
        texts = self.words.take(pa.array(order)).to_pylist()
        return [{"text": text, "count": int(count)} for text, count in zip(texts, self.counts[order], strict=True)]

    def rank_frequency(self) -> list[tuple[int, int]]:
        """(rank, occurrences), the most frequent word first, thinned to an even spread of ranks on a logarithmic axis."""
        ordered = -np.sort(-self.counts)
        if not len(ordered):
            return []
        ranks = np.unique(np.geomspace(1, len(ordered), _NUM_CURVE_POINTS).round().astype(np.int64))
        return [(int(rank), int(ordered[rank - 1])) for rank in ranks]


class NgramCounter:
    """Runs of `size` words, which may reach over punctuation, but not over the border of a document."""

    def __init__(self, size: int) -> None:
        assert size >= 2, size
        self.size = size
        is_packed = size * _ID_BITS < 64  # then the key says which words they are
        self._tally = Tally(None if is_packed else pa.binary(4 * size))

    def add(self, ids: Ids, offsets: Ids) -> None:
        """Count the runs of some documents; those with a word that has no entry are left out."""
        num_runs = len(ids) - self.size + 1
        if num_runs < 1:
            return
        documents = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        others = np.concatenate([[0], np.cumsum(ids == 0)])
        is_run = (documents[: -self.size + 1] == documents[self.size - 1 :]) & (others[self.size :] == others[: -self.size])
        starts = np.flatnonzero(is_run)
        columns = [ids[starts + place].astype(np.uint64) for place in range(self.size)]
        if self._tally.has_payload:
            keys, counts, first = count_keys(_hash_runs(columns))
            rows = np.stack([column[first] for column in columns], axis=1).astype("<i4")
            payload = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * self.size), len(rows), [None, pa.py_buffer(rows)])
            self._tally.add(keys, counts, payload)
        else:
            packed = np.zeros(len(starts), np.uint64)
            for column in columns:
                packed = (packed << np.uint64(_ID_BITS)) | column
            keys, counts = np.unique(packed, return_counts=True)
            self._tally.add(keys, counts.astype(np.int64))

    def most_frequent(self, most: int, words: Texts) -> list[dict[str, Any]]:
        """The most frequent runs, each with `text` and `count`."""
        keys, counts, payload = self._tally.top(most)
        if payload is not None:
            rows = [np.frombuffer(row, "<i4") for row in payload.to_pylist()]
        else:
            mask = np.uint64((1 << _ID_BITS) - 1)
            rows = [(keys >> np.uint64(_ID_BITS * place)) & mask for place in range(self.size - 1, -1, -1)]
            rows = list(np.stack(rows, axis=1)) if len(keys) else []
        return [
            {"text": " ".join(words[int(number) - 1].as_py() for number in row), "count": int(count)}
            for row, count in zip(rows, counts, strict=True)
        ]

    @property
    def num_missing(self) -> int:
        """By how much a count may be too low at most."""
        return self._tally.num_missing


def _hash_runs(columns: list[Hashes]) -> Hashes:
    keys = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        keys = mix(keys + column)
    return keys
