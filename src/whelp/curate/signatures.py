"""What says that two documents, or two paragraphs, are the same, or nearly: a few numbers for each.

signatures = make_signatures(texts, NearDuplicatesConfig(), None)
signatures.exact        # two 64-bit hashes of each document without its white space
signatures.minhash      # MinHash of its runs of words: a share of equal entries is about their Jaccard similarity
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whelp.curate.characters import SPACE
from whelp.curate.config import DuplicateParagraphsConfig, NearDuplicatesConfig
from whelp.curate.hashing import Hashes, Places, Prefix, find_runs, mix
from whelp.curate.texts import Mask, Segments, Texts, no_segments, read_buffers

_WORD_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(9)], np.uint64)
_LEAST_FOUND = 0.995
_FEWEST_WORDS = 10  # as CodeParrot has it: of fewer, too much is alike by chance


@dataclass(frozen=True)
class Signatures:
    """Of D documents: `exact` (D, 2); `minhash` (M, num_hashes) and `bands` (M, num_bands) of those that have enough words;
    which, `has_minhash` (D,); `paragraphs`, hashes of all that are long enough, and `num_paragraphs` (D,).
    """

    exact: Hashes
    minhash: npt.NDArray[np.uint32]
    bands: Hashes
    has_minhash: npt.NDArray[np.bool_]
    paragraphs: Hashes
    num_paragraphs: Places

    def choose(self, where: Mask) -> Signatures:
        """Those of some documents."""
        signed = where[self.has_minhash]
        return Signatures(
            exact=self.exact[where],
            minhash=self.minhash[signed],
            bands=self.bands[signed],
            has_minhash=self.has_minhash[where],
            paragraphs=self.paragraphs[np.repeat(where, self.num_paragraphs)],
            num_paragraphs=self.num_paragraphs[where],
        )


def make_signatures(texts: Texts, near: NearDuplicatesConfig | None, asked: DuplicateParagraphsConfig | None) -> Signatures:
    """Signatures of documents; of the kinds that are not asked for, none."""
    whole = Segments(texts.starts, texts.stops, np.arange(len(texts)), len(texts))
    paragraphs = no_segments(len(texts)) if asked is None else choose_paragraphs(texts, asked)
    dense = _Dense(texts)
    minhash, has_minhash = _make_minhash(texts, near)
    bands = np.zeros((len(minhash), 0), np.uint64) if near is None else _make_bands(minhash, near)
    return Signatures(
        exact=dense.hash(whole),
        minhash=minhash,
        bands=bands,
        has_minhash=has_minhash,
        paragraphs=dense.hash(paragraphs)[:, 0],
        num_paragraphs=paragraphs.counts,
    )


def join_signatures(parts: Sequence[Signatures]) -> Signatures:
    """Those of several lists of documents, one after the other."""
    return Signatures(*(np.concatenate([getattr(part, name) for part in parts]) for name in Signatures.__dataclass_fields__))


def choose_paragraphs(texts: Texts, config: DuplicateParagraphsConfig) -> Segments:
    """The paragraphs that are long enough to count."""
    return texts.paragraphs.choose(texts.paragraphs.lengths >= config.min_characters)


class _Dense:
    """The bytes of texts without white space, and hashes of ranges of them that keep apart whatever differs.

    Eight bytes at a time are mixed with their place, then added up: unlike sums of powers, nothing regular cancels out.
    """

    def __init__(self, texts: Texts) -> None:
        data, _ = read_buffers(texts.array)
        is_text = ~texts.has(SPACE)
        self._before = np.concatenate(([0], np.cumsum(is_text)))  # bytes before each character, white space left out
        if texts.is_ascii:
            dense = data[is_text]
        else:
            is_lead = (data & 0xC0) != 0x80
            is_text_byte = is_text[np.cumsum(is_lead) - 1]
            dense = data[is_text_byte]
            leads = np.append(np.flatnonzero(is_lead), len(data))
            self._before = np.concatenate(([0], np.cumsum(is_text_byte)))[leads]
        padded = np.concatenate((dense, np.zeros(8, np.uint8)))
        self._words = np.ndarray((len(dense) + 1,), "<u8", buffer=padded, strides=(1,))  # eight bytes from every byte on

    def hash(self, segments: Segments) -> Hashes:
        """Two hashes of each, shape (segments, 2)."""
        starts, stops = self._before[segments.starts], self._before[segments.stops]
        lengths = stops - starts
        num_words = (lengths + 7) // 8
        first_words = np.cumsum(num_words) - num_words
        place = np.arange(int(num_words.sum())) - np.repeat(first_words, num_words)
        words = self._words[np.repeat(starts, num_words) + 8 * place]
        words &= _WORD_MASKS[np.clip(np.repeat(lengths, num_words) - 8 * place, 0, 8)]  # the last reaches into what follows
        mixed = mix(words ^ mix(place))
        hashes = np.zeros((len(segments), 2), np.uint64)
        filled = num_words > 0
        for column, values in enumerate((mixed, mix(mixed ^ np.uint64(0x5851F42D4C957F2D)))):
            if filled.any():
                hashes[filled, column] = np.add.reduceat(values, first_words[filled])
            hashes[:, column] = mix(hashes[:, column] ^ lengths.astype(np.uint64))
        return hashes


def _make_minhash(texts: Texts, config: NearDuplicatesConfig | None) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """MinHash of the runs of words of each text: entry k is the smallest of all, permuted by the k-th permutation.

    Permutations are x -> (x ^ b) a modulo 2^32 with a odd, of hashes that are mixed before.
    """
    num_hashes = 0 if config is None else config.num_hashes
    if config is None or not len(texts):
        return np.zeros((0, num_hashes), np.uint32), np.zeros(len(texts), np.bool_)
    words, bounds = texts.plain_words
    size = config.shingle_words
    has_minhash = np.diff(bounds) >= max(size, _FEWEST_WORDS)
    owners = np.repeat(np.arange(len(texts)), np.diff(bounds))
    places = find_runs(owners, size, has_minhash)
    found = np.zeros((num_hashes, int(np.count_nonzero(has_minhash))), np.uint32)
    if len(places):
        shingles = (Prefix(words).hash_ranges(places, places + size) >> np.uint64(32)).astype(np.uint32)
        of_text = owners[places]
        starts = np.flatnonzero(np.concatenate(([True], of_text[1:] != of_text[:-1])))
        permuted = np.empty_like(shingles)
        for number, (factor, mask) in enumerate(zip(*_make_permutations(num_hashes), strict=True)):
            np.bitwise_xor(shingles, mask, out=permuted)
            np.multiply(permuted, factor, out=permuted)
            np.minimum.reduceat(permuted, starts, out=found[number])
    return np.ascontiguousarray(found.T), has_minhash


def _make_permutations(count: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Odd factors, and masks; the same on every machine."""
    values = (mix(np.arange(2 * count)) >> np.uint64(32)).astype(np.uint32)
    return values[:count] | np.uint32(1), values[count:]


def choose_bands(config: NearDuplicatesConfig) -> tuple[int, int]:
    """Bands, and hashes in each, so that documents at the threshold share a band with a probability of 0.995 or more.

    The probability is 1 - (1 - J^r)^b for b bands of r hashes (Leskovec and others, Mining of Massive Datasets, 3.4); more hashes
    in a band let fewer others through.   512 hashes, J = 0.85 -> (42, 12)
    """
    best = (config.num_hashes, 1)
    for size in range(1, config.num_hashes + 1):
        count = config.num_hashes // size
        if 1 - (1 - config.jaccard**size) ** count >= _LEAST_FOUND:
            best = (count, size)
    return best


def _make_bands(minhash: npt.NDArray[np.uint32], config: NearDuplicatesConfig) -> Hashes:
    """One hash for each band of each signature."""
    count, size = choose_bands(config)
    keys = np.zeros((len(minhash), count), np.uint64)
    for number in range(count):
        for column in range(number * size, (number + 1) * size):
            keys[:, number] = mix(keys[:, number] ^ minhash[:, column].astype(np.uint64))
    return keys
