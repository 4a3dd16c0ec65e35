"""What training keeps beside a parameter, for a model's own kernels: one room puts it there, another finds it.

``narrow``   the weight rounded to bf16, written by whoever updates the weight; a kernel that multiplies in bf16 needs no copy
``gradient`` where the gradient is wanted, contiguous float32; a kernel that makes the whole gradient of a weight, and once in a
             backward pass, may write it there while the parameter has none yet, and gives autograd that very memory
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Kind = Literal["narrow", "gradient"]


def put_beside(parameter: torch.Tensor, kind: Kind, tensor: torch.Tensor) -> None:
    """Keep a tensor beside a parameter, instead of what was there."""
    setattr(parameter, f"_whelp_{kind}", tensor)


def find_beside(parameter: torch.Tensor, kind: Kind) -> torch.Tensor | None:
    """What is kept beside a parameter."""
    found: torch.Tensor | None = getattr(parameter, f"_whelp_{kind}", None)
    return found


def take_away(parameter: torch.Tensor, kind: Kind, tensor: torch.Tensor) -> None:
    """Forget what `put_beside` put there, unless something else lies there by now."""
    if find_beside(parameter, kind) is tensor:
        delattr(parameter, f"_whelp_{kind}")
