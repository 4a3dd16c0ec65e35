"""Products of a few rows with a large matrix on a CPU, where reading the matrix is what takes the time.

Two rows or eight cost nearly the same then, if the matrix lies in memory in the order in which it is read: oneDNN's packed order.
Measured on one thread of a Xeon with AVX-512, GPT-2's matrices, eight rows at a time: 2.5 times as fast as the framework's
ordinary product. The packed matrix is a copy. For one row the ordinary product is faster.
Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from whelp.model.cpu.huge_pages import move_to_huge_pages

LEAST_NUMBERS = 1 << 20  # of a matrix that is packed: for smaller ones calling the other product costs what it gains
MOST_COPIED = 1 << 30  # numbers of a model whose matrices may be kept in another form as well: 4 GiB
LEAST_USES = 6  # with several rows, before a matrix is packed: packing takes as long as that saves
_PACKED_FOR = 8  # rows that the order is chosen for; it is as good for 2 and for 32

_OPERATIONS = torch.ops.mkldnn
_CAN_PACK = torch.backends.mkldnn.is_available() and all(
    hasattr(_OPERATIONS, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
)


class Product:
    """Multiplies with a float32 weight (O, I), and adds a bias (O,) where there is one.

    The weight is packed when several rows have come some times; whoever changes the weight makes another product.

    Args:
        may_copy: Whether there is memory for packed matrices.
        is_rounded: Let a large weight be read as bf16, half the memory traffic, also for one row.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, may_copy: bool = True, is_rounded: bool = False
    ) -> None:
        self._weight, self._bias = weight, bias
        self._transposed = weight.t()  # to multiply and add in one call
        self._is_large = _CAN_PACK and weight.numel() >= LEAST_NUMBERS and weight.dtype == torch.float32
        self._is_rounded = is_rounded and self._is_large
        self._may_copy = may_copy and self._is_large
        self._num_uses = 0  # with several rows
        self._packed: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(N, I) -> (N, O)."""
        if self._is_rounded:
            product = self._multiply(x.bfloat16(), None).float()
            return product if self._bias is None else product.add_(self._bias)
        return self._multiply(x, self._bias) if self._is_packed(x) else F.linear(x, self._weight, self._bias)

    def add_to(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The product with `factor` (N, I), added to `x` (N, O), which may be overwritten."""
        if self._bias is not None or self._is_packed(x):
            return self(factor).add_(x)
        return torch.addmm(x, factor, self._transposed)

    def _is_packed(self, x: torch.Tensor) -> bool:
        if self._is_rounded or not self._may_copy or len(x) == 1:
            return self._is_rounded
        self._num_uses += 1
        return self._num_uses >= LEAST_USES

    def _multiply(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self._packed is None:
            self._packed = _OPERATIONS._reorder_linear_weight(self._weight.to(x.dtype), _PACKED_FOR)
            move_to_huge_pages([self._packed])
        product: torch.Tensor = _OPERATIONS._linear_pointwise(x, self._packed, bias, "none", [], "")
        return product


def has_bf16_instructions() -> bool:
    """Whether this processor multiplies bf16 by itself, which is what makes it quick."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return _CAN_PACK and any(getattr(torch.cpu, name, bool)() for name in names)
