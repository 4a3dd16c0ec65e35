"""Documents that hold what a model is to be measured on: they share a run of words with it, case and symbols aside.

A run has `num_words` words (13, as GPT-3's authors took); an evaluation text that is shorter counts whole, from 8 words on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.hashing import hash_bytes
from whelp.curate.hashing import Hashes, Places, Prefix, find_runs
from whelp.curate.rules.outcome import KEEP, Outcome
from whelp.curate.texts import Texts, iter_blocks

FEWEST_WORDS = 8
_FILTER_BITS = 22


@dataclass(frozen=True)
class EvaluationIndex:
    """Hashes of runs of words of evaluation texts, by the length of the run: sorted, with the number of the set of each."""

    names: tuple[str, ...]
    runs: dict[int, tuple[Hashes, npt.NDArray[np.int16]]]

    @property
    def fingerprint(self) -> str:
        """Names what is in it."""
        arrays = [array.tobytes() for size in sorted(self.runs) for array in self.runs[size]]
        return hash_bytes("\n".join(self.names).encode(), *arrays)

    @property
    def num_runs(self) -> int:
        """How many runs there are."""
        return sum(len(hashes) for hashes, _ in self.runs.values())


def make_index(sets: Mapping[str, Iterable[pa.LargeStringArray]], num_words: int) -> EvaluationIndex:
    """Index the texts of evaluation sets, by name."""
    found: dict[int, list[tuple[Hashes, int]]] = {}
    for number, arrays in enumerate(sets.values()):
        for array in arrays:
            for texts in iter_blocks(array):
                words, bounds = texts.plain_words
                lengths = np.diff(bounds)
                for size in range(FEWEST_WORDS, num_words + 1):
                    is_owner = lengths >= num_words if size == num_words else lengths == size
                    hashes, _ = _hash_runs(words, bounds, size, is_owner)
                    if len(hashes):
                        found.setdefault(size, []).append((hashes, number))
    runs = {}
    for size, parts in found.items():
        hashes, first = np.unique(np.concatenate([part for part, _ in parts]), return_index=True)
        numbers = np.concatenate([np.full(len(part), number, np.int16) for part, number in parts])
        runs[size] = (hashes, numbers[first])
    return EvaluationIndex(tuple(sets), runs)


class Contamination:
    """Drops what shares a run of words with an evaluation text."""

    def __init__(self, index: EvaluationIndex) -> None:
        self._index = index
        self._filters = {size: _make_filter(hashes) for size, (hashes, _) in index.runs.items()}
        self._reasons = tuple(f"shares words with {name}" for name in index.names)

    def apply(self, texts: Texts) -> Outcome:
        """The reason names the evaluation set."""
        codes = np.full(len(texts), KEEP, np.int16)
        words, bounds = texts.plain_words
        everyone = np.ones(len(texts), np.bool_)
        for size, (known, numbers) in self._index.runs.items():
            hashes, owners = _hash_runs(words, bounds, size, everyone)
            maybe = self._filters[size][hashes >> np.uint64(64 - _FILTER_BITS)]
            hashes, owners = hashes[maybe], owners[maybe]
            places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            is_known = known[places] == hashes
            for owner, number in zip(owners[is_known][::-1], numbers[places[is_known]][::-1], strict=True):
                codes[owner] = number
        return Outcome(codes=codes, reasons=self._reasons)


def _make_filter(hashes: Hashes) -> npt.NDArray[np.bool_]:
    """True at the first bits of every hash: most words of most texts need no search."""
    table = np.zeros(1 << _FILTER_BITS, np.bool_)
    table[hashes >> np.uint64(64 - _FILTER_BITS)] = True
    return table


def _hash_runs(words: Hashes, bounds: Places, size: int, is_owner: npt.NDArray[np.bool_]) -> tuple[Hashes, Places]:
    """Hashes of all runs of so many words within one text, and the text of each; of some texts alone."""
    owners = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    places = find_runs(owners, size, is_owner)
    return Prefix(words).hash_ranges(places, places + size), owners[places]
