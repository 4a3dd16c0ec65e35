"""Paired differences: intervals that cover what they say, and what they would need to decide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from whelp.evaluate.paired_differences import PairedDifference, compare_paired, t_quantile


def draw(seed: int, *, num_seeds: int, num_texts: int, difference: float, spread_of_seeds: float, spread_of_texts: float):
    """Losses of two sides: seeds and texts with effects that both share, and effects on the difference alone, in bits."""
    generator = np.random.default_rng(seed)
    num_bytes = generator.integers(50, 400, num_texts)
    shared = 2.0 + generator.normal(0, 0.5, (1, num_texts)) + generator.normal(0, 0.2, (num_seeds, 1))
    own = (
        difference + generator.normal(0, spread_of_texts, (1, num_texts)) + generator.normal(0, spread_of_seeds, (num_seeds, 1))
    )
    a = shared * num_bytes * math.log(2)
    return a, a + own * num_bytes * math.log(2), num_bytes


@pytest.mark.parametrize(
    ("probability", "freedom", "quantile"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.95, 7.3, 1.8829), (0.995, 30, 2.7500), (0.975, 1e9, 1.95996), (0.5, 3, 0.0)],
)
def test_quantiles_of_student(probability: float, freedom: float, quantile: float) -> None:
    """As in printed tables; 7.3 degrees of freedom from scipy."""
    assert t_quantile(probability, freedom) == pytest.approx(quantile, abs=1e-4)


@pytest.mark.parametrize(("spread_of_seeds", "spread_of_texts"), [(0.02, 0.0), (0.0, 0.3), (0.02, 0.3)])
def test_the_interval_misses_as_seldom_as_it_says(spread_of_seeds: float, spread_of_texts: float) -> None:
    """Of 100 comparisons of 3 seeds and 60 texts, about 95 % cover the true difference, whatever is uncertain."""
    covered = 0
    for trial in range(100):
        a, b, num_bytes = draw(
            trial,
            num_seeds=3,
            num_texts=60,
            difference=0.01,
            spread_of_seeds=spread_of_seeds,
            spread_of_texts=spread_of_texts,
        )
        found = compare_paired(a, b, num_bytes, num_resamples=200, seed=trial)
        covered += found.both.low <= 0.01 <= found.both.high
        assert found.both.low <= min(found.seeds.low, found.texts.low) + 1e-12
        assert found.both.high >= max(found.seeds.high, found.texts.high) - 1e-12
    assert 0.91 <= covered / 100 <= 0.995


def test_what_both_sides_share_cancels() -> None:
    """Seeds and texts differ a hundred times as much as the sides do, and yet these are told apart."""
    a, b, num_bytes = draw(1, num_seeds=3, num_texts=200, difference=-0.005, spread_of_seeds=0.0005, spread_of_texts=0.005)
    found = compare_paired(a, b, num_bytes)
    assert found.verdict == "better"
    assert found.difference == pytest.approx(-0.005, abs=0.001)
    assert found.share == pytest.approx(found.difference / (a.sum() / 3 / math.log(2) / num_bytes.sum()))
    turned = compare_paired(b, a, num_bytes)
    assert turned.verdict == "worse"
    assert (turned.both.low, turned.both.high) == pytest.approx((-found.both.high, -found.both.low))


def test_the_same_losses_do_not_differ() -> None:
    """Nothing is found, and nothing would decide it."""
    a, _, num_bytes = draw(1, num_seeds=3, num_texts=30, difference=0, spread_of_seeds=0, spread_of_texts=0)
    found = compare_paired(a, a, num_bytes)
    assert (found.difference, found.smallest, found.verdict) == (0.0, 0.0, "undecided")
    assert all(interval.covers_zero for interval in (found.seeds, found.texts, found.both))
    assert found.num_seeds_needed is found.num_texts_needed is None


def test_the_bootstrap_agrees_with_the_delta_method() -> None:
    """The standard error of a ratio of sums, written out; with strata, that within each."""
    a, b, num_bytes = draw(3, num_seeds=2, num_texts=400, difference=0.02, spread_of_seeds=0.01, spread_of_texts=0.3)
    bits = (b - a).mean(axis=0) / math.log(2)
    residual = bits - bits.sum() / num_bytes.sum() * num_bytes
    expected = math.sqrt((residual**2).sum()) / num_bytes.sum()
    assert compare_paired(a, b, num_bytes).text_error == pytest.approx(expected, rel=0.06)
    strata = np.repeat([0, 1], 200)
    b = b + np.where(strata, 5.0, 0.0) * num_bytes  # two kinds of text, each even within itself: no text is surprising
    apart, together = (compare_paired(a, b, num_bytes, strata=which).text_error for which in (strata, None))
    assert apart < together / 2


def _needs(found: PairedDifference, num_seeds: int, num_texts: int) -> bool:
    """Whether so many would decide it: the formula of the docstring, once more."""
    by_seeds = t_quantile(0.975, num_seeds - 1) * np.std(found.by_seed, ddof=1) / math.sqrt(num_seeds)
    by_texts = (found.difference - found.texts.low) * math.sqrt(found.num_texts / num_texts)
    return bool(math.hypot(by_seeds, by_texts) < found.difference)


def test_how_many_seeds_would_decide() -> None:
    """The least number that does, and none where the texts are what is uncertain: then so many texts."""
    a, b, num_bytes = draw(4, num_seeds=3, num_texts=500, difference=0.01, spread_of_seeds=0.02, spread_of_texts=0.01)
    found = compare_paired(a, b, num_bytes)
    assert found.verdict == "undecided"
    assert found.num_seeds_needed is not None
    assert found.num_seeds_needed > 3
    assert _needs(found, found.num_seeds_needed, 500)
    assert not _needs(found, found.num_seeds_needed - 1, 500)

    a, b, num_bytes = draw(6, num_seeds=3, num_texts=30, difference=0.12, spread_of_seeds=0.001, spread_of_texts=0.4)
    found = compare_paired(a, b, num_bytes)
    assert found.verdict == "undecided"
    assert found.num_seeds_needed is None
    assert found.num_texts_needed is not None
    assert _needs(found, 3, found.num_texts_needed)
    assert not _needs(found, 3, found.num_texts_needed - 1)
