"""Products with a matrix rounded to 8 bits on a CPU, by oneDNN: a quarter of the memory to read.

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

import torch

from whelp.model.cpu.huge_pages import move_to_huge_pages

LARGEST = 127.0  # number that a weight, or an input, becomes
_LEAST_ROWS = 4  # for one, and some sizes, oneDNN has but a loop that takes a hundred times as long; two take longer than four
_OPERATIONS = torch.ops.onednn


def can_round() -> bool:
    """Whether the framework has these products here."""
    has_operations = all(hasattr(_OPERATIONS, name) for name in ("qlinear_prepack", "qlinear_pointwise"))
    return torch.backends.mkldnn.is_available() and has_operations


def can_multiply_bytes() -> bool:
    """Whether sums of products of 8 bits are exact here: without instructions for them, some are cut off at 16 bits."""
    return can_round() and bool(getattr(torch.cpu, "_is_vnni_supported", bool)())


def round_rows(weight: torch.Tensor, largest: float = LARGEST) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight (O, I) as a scale for each output, (O,), times whole numbers of at most `largest`, (O, I) float32."""
    scales = weight.abs().amax(dim=1).clamp_(min=1e-12).div_(largest)
    return scales, (weight / scales.unsqueeze(1)).round_()


class EightBitMatrix:
    """What `round_rows` gives, in the order in which it is read."""

    def __init__(self, scales: torch.Tensor, rounded: torch.Tensor) -> None:
        self._scales, self._zeros = scales, torch.zeros(len(scales), dtype=torch.int32)
        self._packed = _OPERATIONS.qlinear_prepack(rounded.to(torch.int8), None)
        move_to_huge_pages([self._packed])

    def multiply(self, rounded: torch.Tensor, scale: float, bias: torch.Tensor | None = None) -> torch.Tensor:
        """`scale` times whole numbers (N, I) of at most `LARGEST` -> (N, O) float32, with a bias (O,) added."""
        inputs = rounded.to(torch.int8)
        if len(inputs) < _LEAST_ROWS:
            inputs = inputs.repeat(-(-_LEAST_ROWS // len(inputs)), 1)
        weight = self._packed, self._scales, self._zeros, bias
        product: torch.Tensor = _OPERATIONS.qlinear_pointwise(inputs, scale, 0, *weight, 1.0, 0, torch.float32, "none", [], "")
        return product[: len(rounded)]
