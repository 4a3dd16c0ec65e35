"""Products of a few rows with a large matrix on a CPU, where reading the matrix is what takes the time.

One row or eight cost nearly the same then, if the matrix lies in memory in the order in which it is read: oneDNN's packed order.
Measured on one thread of a Xeon with AVX-512, GPT-2's matrices, eight rows at a time: 2.5 times as fast as the framework's
ordinary product, which reads columns that lie far apart; one row at a time: as fast. The packed matrix is a copy.
Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

LEAST_NUMBERS = 1 << 20  # of a matrix that is packed: for smaller ones calling the other product costs what it gains
_PACKED_FOR = 8  # rows that the order is chosen for; it is as good for 1 and for 32

_OPERATIONS = torch.ops.mkldnn
_CAN_PACK = torch.backends.mkldnn.is_available() and all(
    hasattr(_OPERATIONS, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
)


class Product:
    """Multiplies with a float32 weight (O, I), and adds a bias (O,) where there is one.

    The weight is packed when several rows come for the first time, and read from there from then on; whoever changes the weight
    makes another product.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self._weight, self._bias = weight, bias
        self._transposed = weight.t()  # to multiply and add in one call
        self._is_large = _CAN_PACK and weight.numel() >= LEAST_NUMBERS and weight.dtype == torch.float32
        self._packed: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(N, I) -> (N, O)."""
        if self._is_large and (self._packed is not None or len(x) > 1):
            product: torch.Tensor = _OPERATIONS._linear_pointwise(x, self._pack(), self._bias, "none", [], "")
            return product
        return F.linear(x, self._weight, self._bias)

    def add_to(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The product with `factor` (N, I), added to `x` (N, O), which may be overwritten."""
        if self._bias is not None or (self._is_large and (self._packed is not None or len(x) > 1)):
            return self(factor).add_(x)
        return torch.addmm(x, factor, self._transposed)

    def _pack(self) -> torch.Tensor:
        if self._packed is None:
            self._packed = _OPERATIONS._reorder_linear_weight(self._weight, _PACKED_FOR)
        return self._packed
