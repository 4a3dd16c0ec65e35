"""Whether B predicts better than A, and how sure that is: paired differences over seeds and over texts.

Two things make a measured difference uncertain: the seeds of the training runs, and the texts that were held out. Both are
paired here: the runs of a seed begin alike, and both sides are measured on the same texts. What they share cancels.

S seeds, D texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

MOST_SEEDS, MOST_TEXTS = 1000, 1000  # more are too many to ask for: of texts, so many times those there are
_BLOCK = 1 << 22  # numbers drawn at a time by the bootstrap

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """From `low` to `high`, both within."""

    low: float
    high: float

    @property
    def covers_zero(self) -> bool:
        """Whether no difference is among what is possible."""
        return self.low <= 0.0 <= self.high


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How many bits per byte B needs more than A: below zero, B is better.

    Attributes:
        share: The difference as a share of A's bits per byte.
        by_seed: (S,) the difference of each seed, over all texts.
        seeds: What other seeds could have given, on these texts: Student's t over `by_seed`.
        texts: What other texts could have given, with these runs: percentiles of a bootstrap.
        both: What other seeds and other texts could have given; `verdict` goes by it.
        seed_error, text_error: Standard errors, one source at a time.
        smallest: Half of `both`: a smaller difference could not have been told from none.
        num_seeds_needed: Seeds in all, after which `both` would no longer cover zero if difference and spread stayed as they
            are; None when it does not now, or would not however many (then the texts are too few, or there is no difference).
        num_texts_needed: The same of texts, for the seeds there are.
    """

    difference: float
    share: float
    by_seed: tuple[float, ...]
    seeds: Interval
    texts: Interval
    both: Interval
    seed_error: float
    text_error: float
    confidence: float
    num_texts: int
    smallest: float
    verdict: Literal["better", "worse", "undecided"]
    num_seeds_needed: int | None
    num_texts_needed: int | None


def compare_paired(
    nats_a: Floats,
    nats_b: Floats,
    num_bytes: npt.NDArray[np.int64],
    *,
    strata: npt.NDArray[np.int64] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two sides by the losses of the same texts under the same seeds.

    The difference d of a seed is sum(nats_b - nats_a) / (ln 2 sum(bytes)), bits per byte; the result is its mean over seeds.

    - Seeds: mean +- t(S - 1) s / sqrt(S), s the standard deviation of d over seeds (Student 1908, the paired test).
    - Texts: the texts are drawn again with replacement, the same for A and B, within each stratum; percentiles of the means
      (Efron and Tibshirani 1993, chapter 13). `text_error` is their standard deviation.
    - Both: as far from the mean, on each side, as the two intervals are in squares: sqrt(by seeds^2 + by texts^2), the
      interval of a sum of two independent parts from those of the parts (Zou and Donner 2008, "MOVER"). What seeds and texts
      do together is in both parts, so it errs on the careful side.

    Args:
        nats_a, nats_b: (S, D) summed loss of each text, in nats, after each seed's run.
        num_bytes: (D,) length of each text.
        strata: (D,) which source a text is of; 0 to the number of sources - 1. None: one source.
        confidence: Of every interval: 0.95 means that one of twenty such intervals misses.
        seed: Of the bootstrap.
    """
    num_seeds, num_texts = nats_a.shape
    assert nats_b.shape == nats_a.shape, (nats_a.shape, nats_b.shape)
    assert num_bytes.shape == (num_texts,), (num_bytes.shape, num_texts)
    assert min(num_seeds, num_texts) >= 2, f"{num_seeds} seeds and {num_texts} texts have no spread"
    bits = (nats_b - nats_a) / math.log(2)  # (S, D)
    by_seed = bits.sum(axis=1) / num_bytes.sum()
    difference = float(by_seed.mean())
    drawn = _resample(bits.mean(axis=0), num_bytes, strata, num_resamples, seed)
    seed_error, text_error = float(by_seed.std(ddof=1)) / math.sqrt(num_seeds), float(drawn.std(ddof=1))
    tail = (1 - confidence) / 2
    low, high = (float(value) for value in np.quantile(drawn, [tail, 1 - tail]))

    def reach_of_seeds(count: int) -> float:
        return t_quantile(1 - tail, count - 1) * seed_error * math.sqrt(num_seeds / count)

    by_seeds = reach_of_seeds(num_seeds)
    both = Interval(
        low=difference - math.hypot(by_seeds, difference - low), high=difference + math.hypot(by_seeds, high - difference)
    )
    is_open = both.covers_zero and difference != 0.0
    by_texts = difference - low if difference > 0 else high - difference  # on the side where zero is

    def reach_of_texts(count: int) -> float:
        return by_texts * math.sqrt(num_texts / count)

    return PairedDifference(
        difference=difference,
        share=difference / float(nats_a.sum() / num_seeds / math.log(2) / num_bytes.sum()),
        by_seed=tuple(map(float, by_seed)),
        seeds=Interval(low=difference - by_seeds, high=difference + by_seeds),
        texts=Interval(low=low, high=high),
        both=both,
        seed_error=seed_error,
        text_error=text_error,
        confidence=confidence,
        num_texts=num_texts,
        smallest=(both.high - both.low) / 2,
        verdict="undecided" if both.covers_zero else "better" if difference < 0 else "worse",
        num_seeds_needed=_find_least(
            lambda count: math.hypot(reach_of_seeds(count), by_texts), abs(difference), num_seeds, MOST_SEEDS
        )
        if is_open
        else None,
        num_texts_needed=_find_least(
            lambda count: math.hypot(by_seeds, reach_of_texts(count)), abs(difference), num_texts, MOST_TEXTS * num_texts
        )
        if is_open
        else None,
    )


def _find_least(reach_of: Callable[[int], float], difference: float, begin: int, end: int) -> int | None:
    """The least count from `begin` + 1 on whose reach is smaller than the difference; None when even `end` does not do."""
    if reach_of(end) >= difference:
        return None
    low, high = begin, end  # the reach falls with the count: low does not do, high does
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reach_of(middle) < difference else (middle, high)
    return high


def _resample(
    bits: Floats, num_bytes: npt.NDArray[np.int64], strata: npt.NDArray[np.int64] | None, num_resamples: int, seed: int
) -> Floats:
    """Differences over texts drawn with replacement: sum of bits by sum of bytes, as the ratio is what is reported."""
    generator = np.random.default_rng(seed)
    total_bits, total_bytes = np.zeros(num_resamples), np.zeros(num_resamples)
    groups = np.zeros(len(bits), np.int64) if strata is None else strata
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        own_bits, own_bytes, count = bits[members], num_bytes[members], len(members)
        step = max(1, _BLOCK // count)
        for first in range(0, num_resamples, step):
            stop = min(first + step, num_resamples)
            drawn = generator.integers(0, count, size=(stop - first, count))
            total_bits[first:stop] += own_bits[drawn].sum(axis=1)
            total_bytes[first:stop] += own_bytes[drawn].sum(axis=1)
    return total_bits / total_bytes


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


def t_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t, for a probability of one half or more.

    With t = sqrt(f) tan(a) the density is a power of the cosine: P(0 < T < t) = c * integral of cos(x)^(f-1) from 0 to a,
    c = gamma((f + 1) / 2) / (sqrt(pi) gamma(f / 2)); by Gauss-Legendre, then Newton's method.

    >>> round(t_quantile(0.975, 4), 4)
    2.7764
    """
    assert 0.5 <= probability < 1, probability
    assert freedom > 0, freedom
    freedom = min(freedom, 1e7)  # the normal distribution, to eight digits
    factor = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)

    def share(t: float) -> float:
        angle = math.atan(t / math.sqrt(freedom))
        places = angle * (_NODES + 1) / 2
        return factor * angle / 2 * float(_WEIGHTS @ np.cos(places) ** (freedom - 1))

    # the share is concave in t, so Newton's method climbs from 0 without ever stepping beyond
    t, step = 0.0, math.inf
    while step > 1e-12 * (1 + t):
        density = factor / math.sqrt(freedom) * (1 + t * t / freedom) ** (-(freedom + 1) / 2)
        step = (probability - 0.5 - share(t)) / density
        t += max(step, 0.0)
    return t
