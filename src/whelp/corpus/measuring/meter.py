"""Everything that is measured of a corpus, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.corpus.measuring.hashes import Texts, hash_texts
from whelp.corpus.measuring.languages import UNKNOWN, Identify, LanguageSampler
from whelp.corpus.measuring.lengths import LengthHistogram
from whelp.corpus.measuring.licences import LicenceCounter
from whelp.corpus.measuring.reference import Reference, compare_words
from whelp.corpus.measuring.tally import Distinct, Tally, count_keys
from whelp.corpus.measuring.words import NgramCounter, WordTable

NGRAM_SIZES = (2, 3, 5)
NUM_LISTED = 40
_SHOWN_CHARACTERS = 200
_COLUMNS = ("num_documents", "num_bytes", "num_characters", "num_words", "num_lines")
_DOCUMENT = pa.struct([("text", pa.large_string()), ("file_index", pa.int32()), ("line", pa.int64())])


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is in a corpus.

    Attributes:
        total: `num_documents`, `num_bytes` (of UTF-8), `num_characters`, `num_words`, `num_lines` (without blank ones).
        groups: The same for each group, with its `name`; those without a document are left out.
        lengths: Of documents in characters; see `LengthHistogram.finish`.
        duplicates: Of documents: `num_distinct`, `repeated_share` (those that are not the first of their kind),
            `repeated_bytes_share`, `sampled_every` (1: exact), and `most`: the most frequent, with `text` (its beginning),
            `count`, `file_index` and `line` of the first.
        lines: Of lines that are not blank: `num_distinct`, `repeated_share`, `sampled_every`, `most`, and `num_missing`,
            by how much a count may be too low at most.
        words: `num_distinct`, `num_other` (occurrences of words that found no room), `most`, and `rank_frequency`, (rank,
            occurrences) from the most frequent on, thinned to an even spread on a logarithmic axis.
        ngrams: For each size, `size`, `most` and `num_missing`.
        languages: See `LanguageSampler.finish`; None where nobody could tell.
        licences: See `LicenceCounter.finish`.
        vocabulary: See `compare_words`; None without a reference.
    """

    total: dict[str, int]
    groups: list[dict[str, Any]]
    lengths: dict[str, Any]
    duplicates: dict[str, Any]
    lines: dict[str, Any]
    words: dict[str, Any]
    ngrams: list[dict[str, Any]]
    languages: list[dict[str, Any]] | None
    licences: dict[str, Any]
    vocabulary: dict[str, Any] | None = None


class CorpusMeter:
    """Measure documents as they come. Memory does not grow with the text: some 500 MB at most.

    Args:
        group_names: What the groups of documents are called.
        identify: Tells the language of a piece of text.
        num_bytes: About how large the corpus is.
    """

    def __init__(self, group_names: Sequence[str], *, identify: Identify | None = None, num_bytes: int = 0) -> None:
        self.words = WordTable()
        self._group_names = list(group_names)
        self._sizes = np.zeros((len(_COLUMNS), len(group_names)), np.int64)
        self._lengths = LengthHistogram()
        self._documents, self._document_tally = Distinct(), Tally(_DOCUMENT, max_entries=1 << 18)
        self._lines, self._line_tally = Distinct(), Tally(pa.large_string(), max_entries=1 << 19)
        self._ngrams = [NgramCounter(size) for size in NGRAM_SIZES]
        self._languages = None if identify is None else LanguageSampler(identify, num_bytes)
        self._licences = LicenceCounter()

    def add(self, batch: pa.RecordBatch, groups: npt.NDArray[np.int64]) -> None:
        """Measure a batch with the columns text, file_index and line; `groups` has the number of each document's group."""
        texts = batch.column("text")
        if not len(texts):
            return
        num_bytes = pc.binary_length(texts).to_numpy()
        num_characters = pc.utf8_length(texts).to_numpy()
        self._lengths.add(num_characters)
        self._add_documents(batch, num_bytes)
        num_lines = self._add_lines(texts)
        ids, offsets = self.words.add(texts)
        for counter in self._ngrams:
            counter.add(ids, offsets)
        if self._languages is not None:
            self._languages.add(texts)
        files = batch.column("file_index")
        self._licences.add(texts, lambda row: int(files[row].as_py()))
        columns = (np.ones(len(texts)), num_bytes, num_characters, np.diff(offsets), num_lines)
        for row, values in enumerate(columns):  # bincount adds in 64-bit floats, exact up to 2^53
            added = np.bincount(groups, weights=values, minlength=len(self._group_names))
            self._sizes[row] += added.astype(np.int64)

    @property
    def main_language(self) -> str | None:
        """The language of most of the text so far; None where nobody could tell."""
        found = [] if self._languages is None else self._languages.finish()
        known = [entry["language"] for entry in found if entry["language"] != UNKNOWN]
        return known[0] if known else None

    def _add_documents(self, batch: pa.RecordBatch, num_bytes: npt.NDArray[np.int64]) -> None:
        keys, counts, first = count_keys(hash_texts(batch.column("text")))
        self._documents.add(keys, counts, num_bytes[first])
        chosen = batch.take(pa.array(first))
        shown = pc.utf8_slice_codeunits(chosen.column("text"), 0, _SHOWN_CHARACTERS)
        columns = [shown, chosen.column("file_index"), chosen.column("line")]
        self._document_tally.add(keys, counts, pa.StructArray.from_arrays(columns, fields=list(_DOCUMENT)))

    def _add_lines(self, texts: Texts) -> npt.NDArray[np.int64]:
        """Count lines; how many each document has that are not blank."""
        lists = pc.split_pattern(texts, "\n")
        lines = pc.utf8_trim_whitespace(lists.values)
        is_kept = pc.greater(pc.binary_length(lines), 0).to_numpy(zero_copy_only=False)
        num_kept = np.concatenate([[0], np.cumsum(is_kept)])[lists.offsets.to_numpy()]
        lines = lines.filter(pa.array(is_kept))
        keys, counts, first = count_keys(hash_texts(lines))
        kept = lines.take(pa.array(first))
        self._lines.add(keys, counts, pc.binary_length(kept).to_numpy())
        self._line_tally.add(keys, counts, pc.utf8_slice_codeunits(kept, 0, _SHOWN_CHARACTERS))
        counted: npt.NDArray[np.int64] = np.diff(num_kept)
        return counted

    def finish(self, reference: Reference | None = None) -> Measured:
        """Give the numbers."""
        lists = self.words.words
        _, counts, lines = self._line_tally.top(NUM_LISTED)
        most_lines = [{"text": text, "count": int(count)} for text, count in zip(lines.to_pylist(), counts, strict=True)]
        return Measured(
            total=dict(zip(_COLUMNS, self._sizes.sum(axis=1).tolist(), strict=True)),
            groups=[
                {"name": name, **dict(zip(_COLUMNS, column, strict=True))}
                for name, column in zip(self._group_names, self._sizes.T.tolist(), strict=True)
                if column[0]
            ],
            lengths=self._lengths.finish(),
            duplicates=self._describe_duplicates(),
            lines={**_describe_distinct(self._lines), "num_missing": self._line_tally.num_missing, "most": most_lines},
            words={
                "num_distinct": self.words.num_distinct,
                "num_other": self.words.num_other,
                "most": self.words.most_frequent(NUM_LISTED),
                "rank_frequency": self.words.rank_frequency(),
            },
            ngrams=[
                {"size": one.size, "most": one.most_frequent(NUM_LISTED, lists), "num_missing": one.num_missing}
                for one in self._ngrams
            ],
            languages=None if self._languages is None else self._languages.finish(),
            licences=self._licences.finish(),
            vocabulary=None if reference is None else compare_words(self.words, reference),
        )

    def _describe_duplicates(self) -> dict[str, Any]:
        _, counts, documents = self._document_tally.top(NUM_LISTED)
        most = [{**document, "count": int(count)} for document, count in zip(documents.to_pylist(), counts, strict=True)]
        return {
            **_describe_distinct(self._documents),
            "repeated_bytes_share": self._documents.repeated_size_share,
            "num_missing": self._document_tally.num_missing,
            "most": most,
        }


def _describe_distinct(distinct: Distinct) -> dict[str, Any]:
    return {
        "num_all": distinct.num_all,
        "num_distinct": distinct.num_distinct,
        "repeated_share": distinct.repeated_share,
        "sampled_every": distinct.sampled_every,
    }
