"""Which documents and paragraphs of all parts have stood before: the one step that looks at everything at once.

    found = find_duplicates(parts, near=NearDuplicatesConfig(), exact=True, paragraphs=True)
    found.original      # of every kept row of all parts the row that it repeats, or -1
    found.is_repeated   # of every paragraph whether it has stood before

Rows are numbered through all parts in order; the first of equal ones stays, so that the answer depends on the rows alone.
A near-duplicate is one of a row that itself stays. Memory: 13 bytes for each row, one for each paragraph, 16 for each pair
that is compared, and a fixed sum for sorting: keys are sorted in as many passes as that takes, each pass those that begin with
the bits of its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whelp.curate.config import NearDuplicatesConfig
from whelp.curate.hashing import Hashes, Places
from whelp.curate.parts import Part
from whelp.curate.signatures import choose_bands
from whelp.curate.texts import Mask

SORT_BYTES = 1 << 30
_BYTES_PER_KEY = 64  # keys, rows, their order, and copies of these
_PAIRS_AT_ONCE = 20_000

Loaded = tuple[Hashes, Places]  # keys, and the rows they are of


@dataclass(frozen=True)
class Duplicates:
    """Of each row the one that it repeats (-1: none), whether they are equal, how similar they are; and which paragraphs repeat."""

    original: Places
    is_equal: Mask
    similarity: npt.NDArray[np.float32]
    is_repeated: Mask

    def cut(self, rows: slice, paragraphs: slice) -> Duplicates:
        """Those of some rows and paragraphs."""
        return Duplicates(self.original[rows], self.is_equal[rows], self.similarity[rows], self.is_repeated[paragraphs])


def find_duplicates(
    parts: Sequence[Part],
    *,
    exact: bool,
    near: NearDuplicatesConfig | None,
    paragraphs: bool,
    sort_bytes: int = SORT_BYTES,
) -> Duplicates:
    """Compare all kept rows of all parts."""
    bounds = np.concatenate(([0], np.cumsum([part.num_kept for part in parts], dtype=np.int64)))
    original = np.full(bounds[-1], -1, np.int64)
    similarity = np.zeros(bounds[-1], np.float32)
    if exact:
        _find_exact(parts, bounds, original, sort_bytes)
    is_equal = original >= 0
    if near is not None:
        _NearFinder(parts, bounds, near, sort_bytes).find(original, similarity)
    is_repeated = np.zeros(sum(part.num_paragraphs for part in parts), np.bool_)
    if paragraphs:
        _find_paragraphs(parts, bounds, original < 0, is_repeated, sort_bytes)
    return Duplicates(original, is_equal, similarity, is_repeated)


def _iter_groups(
    parts: Sequence[Part], num_keys: int, load: Callable[[int], Loaded], sort_bytes: int
) -> Iterator[tuple[Hashes, Places, Places]]:
    """Keys in order, the rows they are of (equal keys: in order of rows), and where each group of equal keys begins."""
    bits = max(0, int(np.ceil(np.log2(max(1, num_keys * _BYTES_PER_KEY / sort_bytes)))))
    for number in range(1 << bits):
        loaded = []
        for part in range(len(parts)):
            keys, rows = load(part)
            if bits:
                chosen = keys >> np.uint64(64 - bits) == np.uint64(number)
                keys, rows = keys[chosen], rows[chosen]
            loaded.append((keys, rows))
        if not loaded:
            return
        keys, rows = (np.concatenate([pair[place] for pair in loaded]) for place in range(2))
        if len(keys):
            order = np.argsort(keys, kind="stable")  # rows come in order
            keys, rows = keys[order], rows[order]
            yield keys, rows, np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))


def _find_exact(parts: Sequence[Part], bounds: Places, original: Places, sort_bytes: int) -> None:
    """Rows of which both hashes are those of an earlier one."""

    def load(number: int) -> Loaded:
        return np.asarray(parts[number].read_signature("exact")[:, 0]), np.arange(bounds[number], bounds[number + 1])

    def load_second(rows: Places) -> Hashes:
        found = np.zeros(len(rows), np.uint64)
        for number, (first, end) in enumerate(_split_by_part(rows, bounds)):
            if end > first:
                found[first:end] = parts[number].read_signature("exact")[rows[first:end] - bounds[number], 1]
        return found

    for _, rows, starts in _iter_groups(parts, int(bounds[-1]), load, sort_bytes):
        sizes = np.diff(np.append(starts, len(rows)))
        members = np.repeat(sizes > 1, sizes)
        firsts, others = np.repeat(rows[starts], sizes)[members], rows[members]
        order = np.argsort(others)
        second = dict(zip(others[order].tolist(), load_second(others[order]).tolist(), strict=True))
        seen: dict[tuple[int, int], int] = {}
        for first, row in sorted(zip(firsts.tolist(), others.tolist(), strict=True), key=lambda pair: pair[1]):
            found = seen.setdefault((first, second[row]), row)
            original[row] = -1 if found == row else found


def _split_by_part(rows: Places, bounds: Places) -> Iterator[tuple[int, int]]:
    """Where the rows of each part begin and end among sorted ones."""
    places = np.searchsorted(rows, bounds)
    return zip(places[:-1].tolist(), places[1:].tolist(), strict=True)


class _NearFinder:
    """Finds pairs by bands of their signatures, then compares the whole signatures."""

    def __init__(self, parts: Sequence[Part], bounds: Places, config: NearDuplicatesConfig, sort_bytes: int) -> None:
        self._parts, self._bounds, self._config, self._sort_bytes = parts, bounds, config, sort_bytes
        self._num_bands, _ = choose_bands(config)
        self._num_signed = sum(part.num_minhash for part in parts)

    def find(self, original: Places, similarity: npt.NDArray[np.float32]) -> None:
        """Write the original and the similarity of every near-duplicate."""
        known = np.zeros((0, 2), np.int64)  # pairs that were compared
        edges = np.zeros((0, 2), np.int64)
        weights = np.zeros(0, np.float32)
        is_open = original < 0
        for band in range(self._num_bands):
            known, edges, weights = self._compare(self._find_pairs(band, is_open), known, edges, weights)
        while True:  # a row whose only likes are dropped may be like the one that these repeat
            found, scores, more = _choose(edges, weights)
            num_known = len(known)
            known, edges, weights = self._compare(more, known, edges, weights)
            if len(known) == num_known:
                break
        for row, first in found.items():
            original[row], similarity[row] = first, scores[row]

    def _find_pairs(self, band: int, is_open: Mask) -> Places:
        """Each row of a group of equal bands with the first of the group, and with the one before it; (pairs, 2)."""

        def load(number: int) -> Loaded:
            part, bounds = self._parts[number], self._bounds
            signed = np.flatnonzero(part.read_signature("has_minhash"))
            keys = np.asarray(part.read_signature("bands")[:, band])
            chosen = is_open[bounds[number] + signed]
            return keys[chosen], bounds[number] + signed[chosen]

        pairs = [np.zeros((0, 2), np.int64)]
        for _, rows, starts in _iter_groups(self._parts, self._num_signed, load, self._sort_bytes):
            sizes = np.diff(np.append(starts, len(rows)))
            is_first = np.zeros(len(rows), np.bool_)
            is_first[starts] = True
            firsts = np.repeat(rows[starts], sizes)
            others = np.flatnonzero(~is_first)
            pairs += [np.stack((firsts[others], rows[others]), 1), np.stack((rows[others - 1], rows[others]), 1)]
        return np.unique(np.concatenate(pairs), axis=0)

    def _compare(
        self, pairs: Places, known: Places, edges: Places, weights: npt.NDArray[np.float32]
    ) -> tuple[Places, Places, npt.NDArray[np.float32]]:
        """Compare pairs that were not compared before; those that are alike become edges."""
        width = int(self._bounds[-1])
        new = pairs[~np.isin(pairs[:, 0] * width + pairs[:, 1], known[:, 0] * width + known[:, 1])]
        found = [self._estimate(new[first : first + _PAIRS_AT_ONCE]) for first in range(0, len(new), _PAIRS_AT_ONCE)]
        scores = np.concatenate(found) if found else np.zeros(0, np.float32)
        alike = scores >= self._config.jaccard
        return (
            np.concatenate((known, new)),
            np.concatenate((edges, new[alike])),
            np.concatenate((weights, scores[alike])),
        )

    def _estimate(self, pairs: Places) -> npt.NDArray[np.float32]:
        """The share of equal entries in the signatures of each pair."""
        rows, inverse = np.unique(pairs, return_inverse=True)
        signatures = np.zeros((len(rows), self._config.num_hashes), np.uint32)
        for number, (first, end) in enumerate(_split_by_part(rows, self._bounds)):
            if end > first:
                part = self._parts[number]
                ranks = np.cumsum(part.read_signature("has_minhash")) - 1
                signatures[first:end] = part.read_signature("minhash")[ranks[rows[first:end] - self._bounds[number]]]
        left, right = inverse.reshape(pairs.shape).T
        return np.asarray((signatures[left] == signatures[right]).mean(axis=1), np.float32)


def _choose(edges: Places, weights: npt.NDArray[np.float32]) -> tuple[dict[int, int], dict[int, float], Places]:
    """Go through the rows in order: one that is like an earlier row that stays goes, for the most similar of these.

    Also gives pairs worth comparing: of a row that stays, with what the dropped rows that it is like repeat.
    """
    order = np.lexsort((edges[:, 0], edges[:, 1]))
    original: dict[int, int] = {}
    score: dict[int, float] = {}
    of_dropped: dict[int, set[int]] = {}
    for (first, row), weight in zip(edges[order].tolist(), weights[order].tolist(), strict=True):
        if first in original:
            of_dropped.setdefault(row, set()).add(original[first])
        elif weight > score.get(row, 0):
            original[row], score[row] = first, weight
    more = [
        (min(first, row), max(first, row))
        for row, firsts in of_dropped.items()
        if row not in original
        for first in firsts
        if first != row
    ]
    return original, score, np.array(sorted(set(more)), np.int64).reshape(-1, 2)


def _find_paragraphs(parts: Sequence[Part], bounds: Places, is_open: Mask, is_repeated: Mask, sort_bytes: int) -> None:
    """Paragraphs of rows that stay, of which an equal one has stood in such a row."""
    starts_of_part = np.concatenate(([0], np.cumsum([part.num_paragraphs for part in parts], dtype=np.int64)))

    def load(number: int) -> Loaded:
        part = parts[number]
        owners = np.repeat(np.arange(bounds[number], bounds[number + 1]), part.read_signature("num_paragraphs"))
        chosen = is_open[owners]
        places = np.arange(starts_of_part[number], starts_of_part[number + 1])
        return np.asarray(part.read_signature("paragraphs"))[chosen], places[chosen]

    for _, places, starts in _iter_groups(parts, int(starts_of_part[-1]), load, sort_bytes):
        is_first = np.zeros(len(places), np.bool_)
        is_first[starts] = True
        is_repeated[places[~is_first]] = True
