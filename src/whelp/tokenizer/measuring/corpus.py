"""How good a vocabulary is for a text: what it costs, what it splits, what it never uses.

    measured = measure_corpus([make_tolerant(gpt2), make_tolerant(mine)], batches, ["eng", "deu"])
    measured.uses[0].total.bytes_per_token, measured.uses[0].groups[1].tokens_per_word

One pass over the text, flat arrays only. Measured as in Rust et al. 2021 (arXiv:2012.15613): fertility is tokens per word,
a continued word is one of more than one token. Here every distinct word is encoded on its own, with the space before it,
and counts as often as it occurs; a token of nothing but that space is not counted as the word's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.tokenizer._arrow import Texts, as_strings
from whelp.tokenizer.measuring.tolerant import Tolerant
from whelp.tokenizer.measuring.word_counts import WordCounter, WordTable
from whelp.tokenizer.vocabulary import Vocabulary

Batch = tuple[Texts, npt.NDArray[np.int64]]  # documents, and the number of each one's group

_NUM_CURVE_POINTS = 120
_SAMPLES_PER_BATCH, _MOST_SAMPLES, _SAMPLE_CHARACTERS = 32, 128, 2000
_SHARES = (0.5, 0.9, 0.99, 0.999)
_NUM_LISTED = 12
_NUM_WORDS_LOOKED_AT = 2000


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What a vocabulary makes of a text, or of one group of it. Shares of nothing are 0."""

    name: str
    num_documents: int
    num_bytes: int
    num_characters: int
    num_tokens: int
    num_unknown: int
    num_words: int
    bytes_per_token: float
    characters_per_token: float
    tokens_per_word: float
    continued_words_share: float
    unknown_share: float


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a vocabulary makes of a corpus.

    Attributes:
        num_ordinary: Ids that text can become: no control tokens, no holes.
        never_used_share: Of these, the share that the corpus never needs.
        rarely_used_share: Of these, the share that occurs less than 100 times; the never used are among them.
        num_kept, num_sampled: Of so many sampled documents (up to their first 2,000 characters), how many decode to
            exactly themselves.
        rank_frequency: (rank, occurrences) of the ids, from the most frequent; thinned to an even spread of ranks on a
            logarithmic axis.
        coverage: (k, share of all tokens that the k most frequent ids make up), at the same ranks.
        ids_for_share: How many ids make up 50 %, 90 %, 99 % and 99.9 % of all tokens.
        longest: The longest tokens that occur, each with `id`, `text`, `bytes` and `count`.
    """

    total: Totals
    groups: list[Totals]
    num_ordinary: int
    num_used: int
    never_used_share: float
    rarely_used_share: float
    num_kept: int
    num_sampled: int
    rank_frequency: list[tuple[int, int]]
    coverage: list[tuple[int, float]]
    ids_for_share: dict[str, int]
    longest: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What `measure_corpus` found: a `Use` for each vocabulary, and the most frequent words that some of them splits."""

    uses: list[Use]
    num_distinct_words: int
    split_words: list[dict[str, Any]]


class Meter:
    """One vocabulary, held against a corpus batch by batch. What it cannot write counts as unknown and is no error."""

    def __init__(self, tolerant: Tolerant, num_groups: int) -> None:
        self.vocabulary, self.writer, self.unk_id = tolerant.vocabulary, tolerant.writer, tolerant.unk_id
        self._counts = np.zeros(self.writer.size, np.int64)
        self._group_tokens = np.zeros(num_groups, np.int64)
        self._group_unknown = np.zeros(num_groups, np.int64)
        self._num_kept = self._num_sampled = 0

    def add(self, texts: Texts, groups: npt.NDArray[np.int64]) -> None:
        """Encode some documents."""
        ids, offsets = self.writer.encode_batch(texts)
        self._counts += np.bincount(ids, minlength=len(self._counts))
        self._group_tokens += _sum_by_group(groups, np.diff(offsets), len(self._group_tokens))
        if self.unk_id is not None:
            unknown = np.concatenate([[0], np.cumsum(ids == self.unk_id)])[offsets]
            self._group_unknown += _sum_by_group(groups, np.diff(unknown), len(self._group_tokens))
        self._sample(texts)

    def _sample(self, texts: Texts) -> None:
        room = min(_SAMPLES_PER_BATCH, _MOST_SAMPLES - self._num_sampled, len(texts))
        rows = np.linspace(0, len(texts) - 1, max(room, 0)).astype(np.int64)
        sample = pc.utf8_slice_codeunits(texts.take(pa.array(rows)), 0, _SAMPLE_CHARACTERS)
        ids, offsets = self.writer.encode_batch(sample)
        for row, text in enumerate(sample.to_pylist()):
            self._num_kept += self.writer.decode(ids[offsets[row] : offsets[row + 1]]) == text
            self._num_sampled += 1

    def finish(self, words: WordTable, names: Sequence[str], sizes: npt.NDArray[np.int64]) -> Use:
        """Give the numbers. `sizes` has the documents, bytes and characters of each group: (3, groups)."""
        num_groups = len(names)
        word_tokens = self.count_word_tokens(words.words)
        weights = words.group_count
        num_words = _sum_by_group(words.group_index, weights, num_groups)
        num_word_tokens = _sum_by_group(words.group_index, weights * word_tokens[words.word_index], num_groups)
        num_continued = _sum_by_group(words.group_index, weights * (word_tokens[words.word_index] > 1), num_groups)
        columns = np.vstack([sizes, self._group_tokens, self._group_unknown, num_words, num_word_tokens, num_continued])
        is_ordinary = find_ordinary(self.vocabulary)
        counts = self._counts[: self.vocabulary.size]
        by_rank = np.sort(self._counts[self._counts > 0])[::-1]
        covered = np.cumsum(by_rank) / max(by_rank.sum(), 1)
        ranks = _spread(len(by_rank))
        return Use(
            total=_make_totals("all", columns.sum(axis=1)),
            groups=[_make_totals(name, columns[:, number]) for number, name in enumerate(names)],
            num_ordinary=int(is_ordinary.sum()),
            num_used=int((counts[is_ordinary] > 0).sum()),
            never_used_share=_divide((counts[is_ordinary] == 0).sum(), is_ordinary.sum()),
            rarely_used_share=_divide((counts[is_ordinary] < 100).sum(), is_ordinary.sum()),
            num_kept=self._num_kept,
            num_sampled=self._num_sampled,
            rank_frequency=[(int(rank), int(by_rank[rank - 1])) for rank in ranks],
            coverage=[(int(rank), float(covered[rank - 1])) for rank in ranks],
            ids_for_share={f"{share:.1%}": int(np.searchsorted(covered, share) + 1) for share in _SHARES} if len(ranks) else {},
            longest=self._find_longest(counts, is_ordinary),
        )

    def count_word_tokens(self, words: Texts) -> npt.NDArray[np.int64]:
        """How many tokens hold some of each word: the space before a word, alone, does not."""
        ids, offsets = self.writer.encode_batch(words)
        short = np.flatnonzero((self.writer.token_bytes > 0) & (self.writer.token_bytes <= 3)).tolist()
        is_space = np.zeros(self.writer.size, bool)
        is_space[[token_id for token_id in short if not self.writer.token_text(token_id).strip(" ")]] = True
        return np.diff(np.concatenate([[0], np.cumsum(~is_space[ids])])[offsets])

    def _find_longest(self, counts: npt.NDArray[np.int64], is_ordinary: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
        lengths = np.where(is_ordinary & (counts > 0), self.vocabulary.token_bytes, 0)
        chosen = np.lexsort([-counts, -lengths])[:_NUM_LISTED]
        return [
            describe_token(self.vocabulary, int(token_id)) | {"count": int(counts[token_id])}
            for token_id in chosen
            if lengths[token_id]
        ]


def measure_corpus(vocabularies: Sequence[Tolerant], batches: Iterable[Batch], group_names: Sequence[str]) -> Measured:
    """Read a corpus once and hold every vocabulary against it.

    Args:
        batches: Arrow string arrays, each with the number of every document's group.
        group_names: What the groups are called. Groups without any document are left out of the result.
    """
    meters = [Meter(vocabulary, len(group_names)) for vocabulary in vocabularies]
    counter = WordCounter()
    sizes = np.zeros((3, len(group_names)), np.int64)
    for texts, groups in batches:
        strings = as_strings(texts)
        lengths = (pc.binary_length(strings), pc.utf8_length(strings))
        counted = [np.ones(len(strings)), *(length.to_numpy(zero_copy_only=False) for length in lengths)]
        sizes += [_sum_by_group(groups, values, len(group_names)) for values in counted]
        counter.add(strings, groups)
        for meter in meters:
            meter.add(strings, groups)
    words = counter.finish()
    uses = [meter.finish(words, group_names, sizes) for meter in meters]
    return Measured(
        uses=[_drop_empty(use) for use in uses],
        num_distinct_words=len(words.words),
        split_words=_find_split_words(meters, words),
    )


def _find_split_words(meters: Sequence[Meter], words: WordTable) -> list[dict[str, Any]]:
    """The most frequent words that at least one of the vocabularies splits; numbers and single letters are passed over."""
    head = words.words[:_NUM_WORDS_LOOKED_AT]
    is_chosen = pc.match_substring_regex(head, r"^ ?\pL[\pL\pM]+$").to_numpy(zero_copy_only=False)
    is_chosen &= np.any([meter.count_word_tokens(head) > 1 for meter in meters], axis=0)
    rows = np.flatnonzero(is_chosen)[:_NUM_LISTED]
    texts = head.take(pa.array(rows)).to_pylist()
    return [{"word": word, "count": int(words.counts[row])} for word, row in zip(texts, rows, strict=True)]


def find_ordinary(vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """Which ids stand for text: bool, (size,)."""
    is_ordinary = vocabulary.token_bytes > 0
    is_ordinary[list(vocabulary.special_ids)] = False
    return is_ordinary


def find_ends(tolerant: Tolerant) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first and the last ids, which for most learned vocabularies are the tokens learned first and last.

    Single bytes and control tokens are left out, being given and not learned.
    """
    vocabulary = tolerant.vocabulary
    is_learned = find_ordinary(vocabulary)
    if tolerant.has_bytes:
        is_learned &= vocabulary.token_bytes > 1
    ids = np.flatnonzero(is_learned)
    first, last = (
        [describe_token(vocabulary, token_id) for token_id in some.tolist()] for some in (ids[:_NUM_LISTED], ids[-_NUM_LISTED:])
    )
    return first, last


def describe_token(vocabulary: Vocabulary, token_id: int) -> dict[str, Any]:
    """One id as plain data: its number, its text for display, its bytes."""
    return {
        "id": token_id,
        "text": vocabulary.token_text(token_id),
        "bytes": int(vocabulary.token_bytes[token_id]),
    }


def _make_totals(name: str, column: npt.NDArray[np.int64]) -> Totals:
    documents, size, characters, tokens, unknown, num_words, word_tokens, continued = (int(value) for value in column)
    return Totals(
        name=name,
        num_documents=documents,
        num_bytes=size,
        num_characters=characters,
        num_tokens=tokens,
        num_unknown=unknown,
        num_words=num_words,
        bytes_per_token=_divide(size, tokens),
        characters_per_token=_divide(characters, tokens),
        tokens_per_word=_divide(word_tokens, num_words),
        continued_words_share=_divide(continued, num_words),
        unknown_share=_divide(unknown, tokens),
    )


def _drop_empty(use: Use) -> Use:
    groups = [group for group in use.groups if group.num_documents]
    return Use(**{**vars(use), "groups": groups})


def _divide(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else 0.0


def _sum_by_group(groups: npt.NDArray[np.int64], values: npt.NDArray[Any], num_groups: int) -> npt.NDArray[np.int64]:
    # bincount adds in 64-bit floats, exact up to 2^53
    return np.bincount(groups, weights=values, minlength=num_groups).astype(np.int64)


def _spread(num_ranks: int) -> npt.NDArray[np.int64]:
    """Ranks from 1 to `num_ranks`, evenly spread on a logarithmic axis."""
    if not num_ranks:
        return np.zeros(0, np.int64)
    return np.unique(np.geomspace(1, num_ranks, _NUM_CURVE_POINTS).round().astype(np.int64))
