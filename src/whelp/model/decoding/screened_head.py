"""The logits of the few tokens that can still matter, without reading a large head whole.

A third of what a step of GPT-2 reads is its head. A copy in 8 bits, a quarter of the memory, gives every logit with bounds that
it cannot leave; whoever chooses says which tokens that leaves in play, and their logits are computed from the weights
themselves. The choice is the one that the whole head gives, to the rounding of float32.

With weights w = s q + e, inputs x = y + d (q whole numbers of 8 bits, y of two numbers of 8 bits): |w x - s q y| is at most
|e| |x| + |w| |d|, by Cauchy and Schwarz. Shapes: N rows, D width, V vocabulary, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from whelp.model.cpu.eight_bits import LARGEST, EightBitMatrix, round_rows
from whelp.model.cpu.few_rows import Product

Screen = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the lowest and the highest that logits (N, V) can be: which of them matter, (N, V) or fewer columns."""
LEAST_SCREENED = 1 << 23  # numbers of a head: of a smaller one, all the calls take longer than the reading they save
LEAST_ASKED = 16  # times, before the copy is made: that takes as long as so many save
_PATIENCE = 4  # times in vain, before it is asked how many times it was not
MOST_CANDIDATES = 512  # of a row: for more, the whole head is as quick
_FINE = 254.0  # a second number of 8 bits for each input, in units so much smaller
_ROUNDING = 1e-5  # of |w| |x|: what sums of float32 may be wrong by


class ScreenedHead:
    """A head (V, D) in float32 that is asked for all logits, or for those that matter."""

    def __init__(self, weight: torch.Tensor, product: Product) -> None:
        self._weight, self._product = weight, product
        self._num_asked = self._num_in_vain = 0
        self._matrix: EightBitMatrix | None = None

    def __call__(self, x: torch.Tensor, screen: Screen | None = None) -> torch.Tensor:
        """(N, D) -> (N, V), with -inf for what does not matter."""
        if screen is None or not self._is_worth_it():
            return self._product(x)
        matters = screen(*self.bound(x))
        rows, ids = matters.nonzero().unbind(1)  # (C,), (C,)
        if len(ids) > MOST_CANDIDATES * len(x):
            self._num_in_vain += 1
            return self._product(x)
        logits = x.new_full((len(x), len(self._weight)), -torch.inf)
        logits[rows, ids] = torch.linalg.vecdot(self._weight[ids], x[rows])
        return logits

    def _is_worth_it(self) -> bool:
        """Whether enough was asked for, and what was bounded has mostly left few candidates."""
        self._num_asked += 1
        return self._num_asked >= LEAST_ASKED and self._num_in_vain < _PATIENCE + self._num_asked // 4

    def bound(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The lowest and the highest that the logits (N, V) of hidden states (N, D) can be."""
        if self._matrix is None:
            self._matrix = self._copy()
        units = x.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12).div_(LARGEST)  # (N, 1)
        scaled = x / units
        coarse = scaled.round()
        fine = (scaled - coarse).mul_(_FINE).round_()
        product = self._matrix.multiply(torch.cat((coarse, fine)), 1.0)  # (2 N, V)
        logits = torch.add(product[: len(x)], product[len(x) :], alpha=1 / _FINE).mul_(units)
        size = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        lost = torch.linalg.vector_norm(torch.add(coarse, fine, alpha=1 / _FINE).mul_(units).sub_(x), dim=1, keepdim=True)
        slack = torch.cat((size, lost + _ROUNDING * size), dim=1) @ self._bounds
        return logits - slack, logits + slack

    def _copy(self) -> EightBitMatrix:
        """The head in 8 bits; and how much that may be off, (2, V): by what rounding lost of each row, and by its length."""
        scales, rounded = round_rows(self._weight)
        matrix = EightBitMatrix(scales, rounded)
        lost = rounded.mul_(scales.unsqueeze(1)).sub_(self._weight)
        self._bounds = torch.stack([torch.linalg.vector_norm(part, dim=1) for part in (lost, self._weight)])
        return matrix
