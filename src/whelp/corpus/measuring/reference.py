"""Words of a corpus held against those of a reference: what is there too often, too rarely, and never."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.errors import MissingExtraError
from whelp.corpus.measuring.hashes import Texts
from whelp.corpus.measuring.words import WordTable

NUM_LISTED = 40
_HEADS = (1_000, 5_000, 20_000)
_UNSEEN_SHARE = 0.5  # of the rarest frequency: what a word gets that the reference does not have
_DIGIT = r"\d"  # word lists write numbers in ways of their own
_LEAST_COUNT = 5
_LEAST_SURPLUS = 2.0
_SAME_LIST = {"no": "nb", "nn": "nb", "hr": "sh", "sr": "sh", "bs": "sh"}  # other codes of a list's language
_NUM_POINTS = 500
_WITHOUT_SPACES = ("ja", "zh")  # their word lists hold words that no space tells apart

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """Words, the most frequent first, and the share that each has of all words."""

    name: str
    words: Texts
    shares: Floats

    @classmethod
    def make(cls, name: str, words: Texts, weights: Floats) -> Reference:
        """Sort, leave out words with digits, and let the shares sum to 1."""
        is_kept = ~pc.match_substring_regex(words, _DIGIT).to_numpy(zero_copy_only=False)
        words, weights = words.filter(pa.array(is_kept)), weights[is_kept]
        order = np.argsort(-weights, kind="stable")
        return cls(name, words.take(pa.array(order)), weights[order] / max(float(weights.sum()), 1e-300))

    @classmethod
    def of_table(cls, name: str, table: WordTable) -> Reference:
        """The words of another corpus."""
        return cls.make(name, table.words, table.counts.astype(np.float64))


def list_word_lists() -> list[str]:
    """The languages that have a word list: codes of ISO 639-1.

    Raises:
        MissingExtraError: When `wordfreq` is not installed.
    """
    try:
        from wordfreq import available_languages
    except ImportError:
        raise MissingExtraError("the reference", "wordfreq", "corpus") from None
    return sorted(set(available_languages()) - set(_WITHOUT_SPACES))


def find_word_list(language: str) -> str | None:
    """The code of the word list of a language; None where there is none.

    Raises:
        MissingExtraError: When `wordfreq` is not installed.
    """
    known = list_word_lists()
    return next((code for code in (language, _SAME_LIST.get(language)) if code in known), None)


def open_word_list(language: str) -> Reference:
    """How frequent the words of a language are (Speer, wordfreq: books, news, subtitles, the web, Wikipedia; up to 2021)."""
    from wordfreq import get_frequency_dict

    found = get_frequency_dict(language, wordlist="best")
    words = pa.array(list(found), pa.large_string())
    return Reference.make(f"{language} (wordfreq)", words, np.array(list(found.values()), np.float64))


def compare_words(table: WordTable, reference: Reference) -> dict[str, Any]:
    """Hold counted words against a reference.

    A word is ranked by its deviance (Dunning 1993; here of a Poisson count): how surprising its count is, given the
    reference. Words of less than 5 occurrences, seen or expected, are too few to be listed.

    Returns:
        `more` and `less`: words with `text`, `count`, `per_million`, `reference_per_million` and `ratio`; `never`: the most
        frequent words of the reference that never occur, with `text` and `expected`, how often they would; `heads`: of
        the reference's most frequent 1,000, 5,000 and 20,000 words, how many never occur; `unknown_share`: of all
        occurrences, those of words that the reference does not have, and `unknown`: the most frequent of them;
        `common`: (per million, the same in the reference) of the corpus's 500 most frequent words that both have;
        `divergence_bits`: the Jensen-Shannon divergence, 0 for equal frequencies and 1 where no word is shared.
    """
    own = Reference.of_table("", table)
    counts = own.shares * _count_all(table)
    total = float(counts.sum())
    places = pc.index_in(own.words, value_set=reference.words).fill_null(-1).to_numpy()
    is_known = places >= 0
    floor = float(reference.shares[-1]) * _UNSEEN_SHARE if len(reference.shares) else 1.0
    shares = np.where(is_known, reference.shares[places], floor)
    expected = shares * total
    seen = np.zeros(len(reference.words), bool)
    seen[places[is_known]] = True
    deviance = 2 * (counts * np.log(np.maximum(counts, 1e-300) / expected) - (counts - expected))
    is_more = (counts >= _LEAST_COUNT) & (counts > _LEAST_SURPLUS * expected) & is_known
    is_less = (expected >= _LEAST_COUNT) & (counts * _LEAST_SURPLUS < expected) & is_known
    is_new = (counts >= _LEAST_COUNT) & ~is_known

    def list_words(chosen: npt.NDArray[np.bool_], ranks: Floats) -> list[dict[str, Any]]:
        found = np.flatnonzero(chosen)
        found = found[np.argsort(-ranks[found], kind="stable")][:NUM_LISTED]
        texts = own.words.take(pa.array(found)).to_pylist()
        return [
            {
                "text": text,
                "count": round(counts[place]),
                "per_million": counts[place] / total * 1e6,
                "reference_per_million": shares[place] * 1e6 if is_known[place] else 0.0,
                "ratio": counts[place] / expected[place] if is_known[place] else None,
            }
            for text, place in zip(texts, found.tolist(), strict=True)
        ]

    common = np.flatnonzero(is_known)[:_NUM_POINTS]
    never = np.flatnonzero(~seen)
    listed = never[reference.shares[never] * total >= 1][:NUM_LISTED]
    texts = reference.words.take(pa.array(listed)).to_pylist()
    return {
        "reference": reference.name,
        "num_reference_words": len(reference.words),
        "divergence_bits": _divergence(own.shares, np.where(is_known, shares, 0.0), float(reference.shares[~seen].sum())),
        "common": [(float(own.shares[place] * 1e6), float(shares[place] * 1e6)) for place in common.tolist()],
        "more": list_words(is_more, deviance),
        "less": list_words(is_less, deviance),
        "unknown_share": float(counts[~is_known].sum() / max(total, 1)),
        "unknown": list_words(is_new, counts),
        "never": [
            {"text": text, "expected": float(reference.shares[place] * total)}
            for text, place in zip(texts, listed.tolist(), strict=True)
        ],
        "heads": [
            {"num_words": head, "num_never": int((~seen[:head]).sum())} for head in _HEADS if head <= len(reference.words)
        ],
    }


def _count_all(table: WordTable) -> float:
    """Occurrences of the words that a `Reference` keeps."""
    has_digit = pc.match_substring_regex(table.words, _DIGIT).to_numpy(zero_copy_only=False)
    return float(table.counts[~has_digit].sum())


def _divergence(own: Floats, shares: Floats, rest: float) -> float:
    """Jensen-Shannon divergence in bits (Lin 1991); `rest` is what the reference gives to words that are not in `own`."""
    middle = (own + shares) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(own > 0, own * np.log2(own / middle), 0.0).sum()
        second = np.where(shares > 0, shares * np.log2(shares / middle), 0.0).sum()
    return float(max((first + second + rest) / 2, 0.0))
