"""Batches that grow: small ones first, doubled until they are as large as they shall be. Pure functions of how much is done.

While the loss falls fast the gradient of few tokens points well enough, and more steps come out of the same tokens: the batch
that is worth its tokens grows as the loss falls (McCandlish et al. 2018, https://arxiv.org/abs/1812.06162). GPT-3's grew
linearly over the first billions of tokens (Brown et al. 2020, https://arxiv.org/abs/2005.14165, section B). Doubling has few
sizes, and a GPU compiles or records each of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

ROUNDING = 1e-12  # of shares of a run: more than computing with them does, less than any step


@dataclass(frozen=True, kw_only=True)
class BatchRamp:
    """The sizes of a run's batches, in rows.

    Attributes:
        batch_rows: Of the full batch.
        smaller: Those before it, smallest first.
        share: Of the run that has smaller ones; each has an equal part of it. More than 1 where a run was shortened meanwhile.
        by_clock: Whether shares of the run are those of its time; otherwise they are of its steps.
    """

    batch_rows: int
    smaller: tuple[int, ...] = ()
    share: float = 0.0
    by_clock: bool = False

    @classmethod
    def plan(cls, first_rows: int, batch_rows: int, share: float, *, by_clock: bool) -> BatchRamp:
        """From `first_rows` on, doubled.

        >>> BatchRamp.plan(2, 12, 0.3, by_clock=False).smaller
        (2, 4, 8)
        """
        smaller = []
        while first_rows < batch_rows and share:
            smaller.append(first_rows)
            first_rows *= 2
        return cls(batch_rows=batch_rows, smaller=tuple(smaller), share=share if smaller else 0.0, by_clock=by_clock)

    def find_rows(self, share_done: float) -> int:
        """Rows of the next batch, when so much of the run is done.

        >>> ramp = BatchRamp(batch_rows=8, smaller=(2, 4), share=0.5)
        >>> [ramp.find_rows(step / 8) for step in range(8)]
        [2, 2, 4, 4, 8, 8, 8, 8]
        """
        for rows, end in self._iter_ends():
            if share_done < end - ROUNDING:
                return rows
        return self.batch_rows

    def count_rows(self, steps: int, num_steps: int) -> int:
        """Rows of the first `steps` steps of a run of `num_steps`; by the clock, an estimate.

        >>> ramp = BatchRamp(batch_rows=8, smaller=(2, 4), share=0.5)
        >>> [ramp.count_rows(steps, 8) for steps in (0, 1, 3, 8)]
        [0, 2, 8, 44]
        """
        if self.by_clock:
            return round(steps / self._count_steps_in_time_of_one() * self.batch_rows)
        total, begin = 0, 0
        for rows, share in self._iter_ends():
            end = bisect_left(
                range(num_steps), share - ROUNDING, key=lambda step: step / num_steps
            )  # divided as the loop does it
            total += rows * (min(end, steps) - min(begin, steps))
            begin = end
        return total + self.batch_rows * (steps - min(begin, steps))

    def count_steps(self, wanted_rows: float) -> int:
        """The fewest steps, one at least, of a run that takes so many rows; not by the clock.

        >>> BatchRamp(batch_rows=8, smaller=(2, 4), share=0.5).count_steps(44)
        8
        """
        most = math.ceil(wanted_rows / min((self.batch_rows, *self.smaller)))
        return max(1, bisect_left(range(most), wanted_rows, key=lambda steps: self.count_rows(steps, steps)))

    def count_steps_in_time(self, full_steps: float) -> int:
        """Steps, one at least, in the time of so many of the full batch, when a step takes as long as it has rows."""
        return max(1, int(full_steps * self._count_steps_in_time_of_one()))

    def _count_steps_in_time_of_one(self) -> float:
        steps, begin = 0.0, 0.0
        for rows, end in self._iter_ends():
            steps += (min(end, 1.0) - begin) * self.batch_rows / rows
            begin = min(end, 1.0)
        return steps + 1.0 - begin

    def _iter_ends(self) -> Iterator[tuple[int, float]]:
        """Each smaller size, and the share of the run at which it ends."""
        for number, rows in enumerate(self.smaller, 1):
            yield rows, number * self.share / len(self.smaller)
