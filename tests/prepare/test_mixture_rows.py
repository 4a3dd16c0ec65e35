"""Mixtures: the right share of every source, evenly repeated, the same for any number of readers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from whelp.artifacts.targets import IGNORED
from whelp.base.errors import PlanError
from whelp.prepare import MixtureRows, MixtureSource, PackConfig, PackedRows, pack_rows

from .fakes import make_split

PAD = 50_000
SIZES = {"large": 90, "middle": 40, "small": 10}  # rows of four tokens


def make_rows(folder: Path, num_rows: int, plan: str = "concat") -> PackedRows:
    """So many rows of four tokens; every document fills one."""
    split = make_split(folder, [4] * num_rows + ([1] if plan == "concat" else []))
    return pack_rows(split, PackConfig(context_tokens=4, plan=plan), pad_id=PAD)  # type: ignore[arg-type]


@pytest.fixture
def sources(tmp_path: Path) -> list[PackedRows]:
    """Three sources of 90, 40 and 10 rows."""
    return [make_rows(tmp_path / name, size) for name, size in SIZES.items()]


def mix(sources: list[PackedRows], *weights: float, limits: tuple[float | None, ...] = (None,) * 3, **options) -> MixtureRows:
    """A mixture of the three."""
    parts = [
        MixtureSource(name=name, rows=rows, weight=weight, max_repeats=limit)
        for name, rows, weight, limit in zip(SIZES, sources, weights, limits, strict=True)
    ]
    return MixtureRows.plan(parts, **options)


@pytest.mark.parametrize(
    ("weights", "limits", "total", "counts"),
    [
        ((1, 1, 1), (None, None, None), 9, (3, 3, 3)),
        ((1, 1, 1), (None, None, None), 11, (4, 4, 3)),  # equal remainders: the earlier first
        ((5, 3, 2), (None, None, None), None, (70, 42, 28)),
        ((1, 0, 1), (None, None, None), 7, (4, 0, 3)),
        ((1, 1, 1), (None, None, 2), 150, (65, 65, 20)),  # what small may not give, the others do
        ((0.2, 0.2, 0.6), (None, 1, 2), 200, (140, 40, 20)),
        ((1, 1, 1), (1, 1, 1), 999, (90, 40, 10)),  # all at their limit: a shorter epoch
        ((1, 1, 1), (0.5, None, 0), 100, (45, 55, 0)),
    ],
)
def test_counts(sources: list[PackedRows], weights: tuple[float, ...], limits: tuple, total: int | None, counts: tuple) -> None:
    """Shares by weight, to the row; limits hold; the epoch is as long as asked, or as all sources together."""
    mixture = mix(sources, *weights, limits=limits, num_rows=total)
    assert mixture.counts == counts
    assert len(mixture) == sum(counts)


def test_every_epoch_holds_its_shares_and_repeats_evenly(sources: list[PackedRows]) -> None:
    """Over epochs every row of a source comes equally often, to one; what is read is what the plan says."""
    mixture = mix(sources, 5, 3, 2, num_rows=100)
    seen: Counter[tuple[int, int]] = Counter()
    orders = []
    for epoch in range(8):
        owners, numbers = mixture.find_rows(100 * epoch, 100, seed=0)
        assert np.bincount(owners).tolist() == [50, 30, 20]
        orders.append(owners.tolist())
        for owner in range(3):
            assert sorted(numbers[owners == owner].tolist()) == list(
                range(mixture.counts[owner] * epoch, mixture.counts[owner] * (epoch + 1))
            )
    assert orders[0] != orders[1]
    batch = mixture.read(0, 800, seed=0)
    owners, _ = mixture.find_rows(0, 800, seed=0)
    for owner, ids in zip(owners.tolist(), batch.ids.tolist(), strict=True):
        seen[owner, ids[0]] += 1
    for owner, size in enumerate(SIZES.values()):
        repeats = [count for (source, _), count in seen.items() if source == owner]
        assert len(repeats) == size
        assert max(repeats) - min(repeats) <= 1


@pytest.mark.parametrize("count", [1, 8, 13])
def test_readers_share_one_order(sources: list[PackedRows], count: int) -> None:
    """Row number k does not depend on the batch, nor on how many read; it does on the seed."""
    mixture = mix(sources, 1, 1, 1)
    whole = mixture.read(0, 52, seed=1).ids.tolist()
    for world in (1, 2, 4):
        found = []
        for first in range(0, 52, count):
            for rank in range(world):
                found += mixture.read(first, count, seed=1, rank=rank, world=world).ids.tolist()
        assert found[:52] == whole
    assert mixture.read(0, 52, seed=2).ids.tolist() != whole


@pytest.mark.parametrize("plan", ["concat", "stream", "best_fit", "none"])
def test_rows_are_those_of_the_source(tmp_path: Path, plan: str) -> None:
    """Any plan can be a source: the mixture reads the rows that the source's own order has."""
    split = make_split(tmp_path, [3, 2, 5, 9, 2, 2, 7])
    rows = pack_rows(split, PackConfig(context_tokens=6, plan=plan), pad_id=PAD)  # type: ignore[arg-type]
    numbers = np.array([7, 0, 3, 3, 12])
    batch = rows.read_numbers(numbers, seed=5)
    for place, number in enumerate(numbers.tolist()):
        if plan == "none":  # its own order puts similar lengths together, which a mixture does not
            continue
        alone = rows.read(number, 1, seed=5)
        assert batch.ids[place].tolist() == alone.ids[0].tolist()
        assert batch.targets[place].tolist() == alone.targets[0].tolist()
        assert (batch.documents is None) == (alone.documents is None)
    whole = rows.read_numbers(np.arange(len(rows)), seed=5)
    if plan in ("best_fit", "none"):
        assert sorted(whole.ids[whole.ids != PAD].tolist()) == list(range(1, 30))  # 30, a lone last one, takes no place


def test_sources_of_different_plans(tmp_path: Path) -> None:
    """Isolated documents beside joined ones: numbers for all, pads for the narrower rows."""
    joined = make_rows(tmp_path / "a", 5)
    single = pack_rows(make_split(tmp_path / "b", [3, 2]), PackConfig(context_tokens=4, plan="none"), pad_id=PAD + 1)
    packed = pack_rows(make_split(tmp_path / "c", [2, 2, 3]), PackConfig(context_tokens=4, plan="best_fit"), pad_id=PAD + 2)
    mixture = mix([joined, single, packed], 1, 1, 1, num_rows=30)
    batch = mixture.read(0, 30, seed=0)
    owners, _ = mixture.find_rows(0, 30, seed=0)
    assert batch.documents is not None
    for owner, ids, targets, numbers in zip(owners, batch.ids, batch.targets, batch.documents, strict=True):
        assert (ids >= PAD).tolist() == (numbers < 0).tolist() or owner == 1
        assert (targets[ids >= PAD] == IGNORED).all()
        assert set(ids[ids >= PAD].tolist()) <= {PAD + owner}
        if owner == 0:
            assert numbers.tolist() == [0] * 4
    assert {tuple(numbers) for numbers in batch.documents[owners == 2].tolist()} == {(0, 0, 1, 1), (0, 0, 0, -1)}


def test_ledger(sources: list[PackedRows]) -> None:
    """Repeats and shares of each source, and its own ledger."""
    ledger = mix(sources, 1, 1, 2, limits=(None, None, 4), num_rows=100).make_ledger()
    assert ledger["rows"] == 100
    found = ledger["sources"]
    assert isinstance(found, dict)
    assert {name: (entry["rows_in_epoch"], entry["repeats"]) for name, entry in found.items()} == {
        "large": (30, pytest.approx(1 / 3)),
        "middle": (30, 0.75),
        "small": (40, 4.0),
    }
    assert sum(entry["share"] for entry in found.values()) == pytest.approx(1)
    assert found["small"]["ledger"]["rows"] == 10


@pytest.mark.parametrize(
    ("weights", "limits", "message"),
    [
        ((0, 0, 0), (None, None, None), "the mixture: no source gives a row, but expected at least one"),
        ((1, -1, 1), (None, None, None), "the mixture's middle: its weight is -1, but expected a number of at least 0"),
        ((1, float("inf"), 1), (None, None, None), "the mixture's middle: its weight is inf"),
        ((1, 1, float("nan")), (None, None, None), "the mixture's small: its weight is nan"),
        ((1, 1, 1), (None, -2, None), "the mixture's middle: max_repeats is -2, but expected at least 0"),
        ((1, 1, 1), (0, 0, 0.05), "no source gives a row"),
    ],
)
def test_no_mixture(sources: list[PackedRows], weights: tuple[float, ...], limits: tuple, message: str) -> None:
    """Weights and limits that make no mixture are refused by name."""
    with pytest.raises(PlanError, match=message):
        mix(sources, *weights, limits=limits)


def test_sources_that_do_not_fit(tmp_path: Path, sources: list[PackedRows]) -> None:
    """Rows of one length, and a name for each."""
    other = pack_rows(make_split(tmp_path / "other", [50]), PackConfig(context_tokens=8), pad_id=PAD)
    with pytest.raises(PlanError, match=r"its sources have rows of 4 and 8 tokens, but expected one length"):
        mix([*sources[:2], other], 1, 1, 1)
    twice = [MixtureSource(name="a", rows=rows, weight=1) for rows in sources]
    with pytest.raises(PlanError, match="two sources have one name: a, a, a"):
        MixtureRows.plan(twice)
