"""Kernels and libraries that give the same numbers in another way are compared with PyTorch before a model relies on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch

from whelp.base.errors import say_first_line


def find_fault(measure: Callable[[], Iterable[float]], *, allowed: float) -> str | None:
    """What speaks against a way to the same numbers; None for nothing.

    Args:
        measure: Tries it, and gives how far each of its results is off. What it raises speaks against it.
        allowed: The most that a result may be off. NaN is more.
    """
    try:
        errors = list(measure())
    except Exception as problem:  # whatever a library or a compiler may say: PyTorch's way is always there
        return say_first_line(problem, with_kind=True)
    if all(error <= allowed for error in errors):
        return None
    worst = max(errors, key=lambda error: (math.isnan(error), error))
    return f"off by {worst:.2g}, where {allowed:.2g} is allowed"


def measure_relative_error(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far a tensor is from another, as a share of the other's length (2-norm); both in float32."""
    one, other = one.detach().float(), other.detach().float()
    return float((one - other).norm() / other.norm())
