"""How long documents are: a histogram with steps that grow, so that few numbers serve words and books."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_PER_OCTAVE = 8  # bins from one power of two to the next: quantiles are right to 9 %
_NUM_BINS = 42 * _PER_OCTAVE
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class LengthHistogram:
    """Lengths in characters."""

    def __init__(self) -> None:
        self._bins = np.zeros(_NUM_BINS, np.int64)
        self._sum = self._shortest = self._longest = 0

    def add(self, lengths: npt.NDArray[np.int64]) -> None:
        """Count some lengths, which are at least 1."""
        if not len(lengths):
            return
        shortest = int(lengths.min())
        self._shortest = min(self._shortest or shortest, shortest)
        self._longest = max(self._longest, int(lengths.max()))
        self._sum += int(lengths.sum())
        places = (np.log2(lengths) * _PER_OCTAVE).astype(np.int64)
        self._bins += np.bincount(places, minlength=_NUM_BINS)

    def finish(self) -> dict[str, Any]:
        """The numbers.

        `shortest`, `longest` and `mean` are exact; `quantiles` ("50%": ...) are the middle of a bin that is 9 % wide.
        `histogram` has (shortest length, documents) of each power of two.
        """
        num_all = int(self._bins.sum())
        reached = np.cumsum(self._bins)
        quantiles = {}
        for share in _QUANTILES:
            place = int(np.searchsorted(reached, share * num_all))
            middle = round(2 ** ((place + 0.5) / _PER_OCTAVE))
            quantiles[f"{share:.0%}"] = min(max(middle, self._shortest), self._longest)
        octaves = self._bins.reshape(-1, _PER_OCTAVE).sum(axis=1)
        used = np.flatnonzero(octaves)
        span = range(int(used[0]), int(used[-1]) + 1) if len(used) else range(0)
        return {
            "shortest": self._shortest,
            "longest": self._longest,
            "mean": self._sum / max(num_all, 1),
            "quantiles": quantiles,
            "histogram": [(1 << octave, int(octaves[octave])) for octave in span],
        }
