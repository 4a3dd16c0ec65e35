"""Rows drawn from several sources by weight, each at most so many times. All of it is arithmetic in k.

An epoch of N rows is an arithmetic permutation of N slots; source s owns n_s of them. Its j-th slot in epoch e holds row
number e * n_s + j of the source's own endless order, so a source is read evenly: no row comes a third time before every
row of it came twice.
Shapes: B rows, T tokens in a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.base.errors import PlanError
from whelp.base.seeds import make_seed
from whelp.prepare.pack import make_pack_ledger
from whelp.prepare.row_order import row_indices
from whelp.prepare.rows import PackedRows


@dataclass(frozen=True, kw_only=True)
class MixtureSource:
    """One source of a mixture. `max_repeats`: how often an epoch may hold each of its rows; None: as the weight wants."""

    name: str
    rows: PackedRows
    weight: float
    max_repeats: float | None = None

    @property
    def most_rows(self) -> float:
        """Rows that an epoch may hold."""
        return math.inf if self.max_repeats is None else math.floor(self.max_repeats * len(self.rows))


@dataclass(frozen=True, kw_only=True)
class MixtureRows:
    """Rows of several sources, shuffled together; `counts[s]` of each epoch are from source s."""

    sources: Sequence[MixtureSource]
    counts: tuple[int, ...]

    @classmethod
    def plan(cls, sources: Sequence[MixtureSource], num_rows: int | None = None) -> MixtureRows:
        """Divide an epoch of `num_rows` (as many as all sources have together) by weight.

        What a source may not give for its limit, the others give by their weights; when all are at their limit the epoch is
        shorter.

        Raises:
            PlanError: When weights or limits make no mixture, or the sources' rows have different lengths.
        """
        _check(sources)
        total = sum(len(source.rows) for source in sources) if num_rows is None else num_rows
        counts = _divide([source.weight for source in sources], [source.most_rows for source in sources], total)
        if not sum(counts):
            raise PlanError("the mixture", "no source gives a row", "at least one", "Raise a weight or max_repeats.")
        return cls(sources=tuple(sources), counts=tuple(counts))

    def __len__(self) -> int:
        return sum(self.counts)

    @cached_property
    def _bounds(self) -> npt.NDArray[np.int64]:
        """The first slot of each source, and the number of all; (sources + 1,)."""
        return np.cumsum([0, *self.counts], dtype=np.int64)

    def find_rows(self, first: int, count: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Of rows number `first` ..: which source each is from, and its number in that source's own endless order."""
        epochs = np.arange(first, first + count, dtype=np.int64) // len(self)
        slots = row_indices(first, count, len(self), make_seed(seed, "mixture"))
        sources = np.searchsorted(self._bounds, slots, side="right") - 1
        return sources, epochs * np.array(self.counts)[sources] + slots - self._bounds[sources]

    def read(self, first: int, count: int, seed: int, *, rank: int = 0, world: int = 1) -> RowBatch:
        """Rows number `first` .. of the endless order, or a rank's slice of them, as `PackedRows.read` gives them."""
        assert 0 <= rank < world, f"rank {rank} of {world}"
        begin, end = first + count * rank // world, first + count * (rank + 1) // world
        owners, numbers = self.find_rows(begin, end - begin, seed)
        parts = []
        for owner in np.unique(owners).tolist():
            places = np.flatnonzero(owners == owner)
            own_seed = make_seed(seed, "source", self.sources[owner].name)
            parts.append((owner, places, self.sources[owner].rows.read_numbers(numbers[places], own_seed)))
        return self._join(parts, end - begin)

    def _join(self, parts: list[tuple[int, npt.NDArray[np.int64], RowBatch]], count: int) -> RowBatch:
        """Put the rows of each source at their places; narrower ones are padded, and a row without numbers is one document."""
        shape = (count, max((batch.ids.shape[1] for _, _, batch in parts), default=0))
        ids = np.empty(shape, dtype=np.int64)
        targets = np.full(shape, IGNORED, dtype=np.int64)
        has_documents = any(batch.documents is not None for _, _, batch in parts)
        documents = np.full(shape, -1, dtype=np.int32) if has_documents else None
        for owner, places, batch in parts:
            width = batch.ids.shape[1]
            ids[places, :width], ids[places, width:] = batch.ids, self.sources[owner].rows.pad_id
            targets[places, :width] = batch.targets
            if documents is not None:
                documents[places, :width] = 0 if batch.documents is None else batch.documents
        return RowBatch(ids, targets, documents)

    def make_ledger(self) -> dict[str, object]:
        """What an epoch holds of every source, how often each of its rows comes, and where the source's tokens go."""
        return {
            "rows": len(self),
            "sources": {
                source.name: {
                    "weight": source.weight,
                    "rows": len(source.rows),
                    "rows_in_epoch": count,
                    "share": count / len(self),
                    "repeats": count / len(source.rows),
                    "ledger": make_pack_ledger(source.rows),
                }
                for source, count in zip(self.sources, self.counts, strict=True)
            },
        }


def _check(sources: Sequence[MixtureSource]) -> None:
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise PlanError("the mixture", f"two sources have one name: {', '.join(names)}", "different names", "")
    lengths = sorted({source.rows.context_tokens for source in sources})
    if len(lengths) > 1:
        found = f"its sources have rows of {' and '.join(map(str, lengths))} tokens"
        raise PlanError("the mixture", found, "one length", "Give all the same pack.context_tokens.")
    for source in sources:
        if not (source.weight >= 0 and math.isfinite(source.weight)):
            raise PlanError(f"the mixture's {source.name}", f"its weight is {source.weight}", "a number of at least 0", "")
        if source.max_repeats is not None and not source.max_repeats >= 0:
            raise PlanError(f"the mixture's {source.name}", f"max_repeats is {source.max_repeats}", "at least 0", "")


def _divide(weights: list[float], limits: list[float], total: int) -> list[int]:
    """`total` by weight, no part over its limit; fractions by largest remainder, the earlier first among equal ones."""
    counts = [0] * len(weights)
    free = [index for index, weight in enumerate(weights) if weight > 0 and limits[index] > 0]
    left = total
    while free:
        scale = left / sum(weights[index] for index in free)
        full = [index for index in free if weights[index] * scale >= limits[index]]
        if not full:
            break
        for index in full:
            counts[index] = int(limits[index])
            left -= counts[index]
        free = [index for index in free if index not in full]
    if free:
        wanted = {index: weights[index] * left / sum(weights[other] for other in free) for index in free}
        for index in free:
            counts[index] = math.floor(wanted[index])
        by_remainder = sorted(free, key=lambda index: counts[index] - wanted[index])
        for index in by_remainder[: left - sum(counts[index] for index in free)]:
            counts[index] += 1
    return counts
