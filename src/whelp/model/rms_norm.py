"""RMSNorm with a hand-written backward pass.

Zhang & Sennrich 2019: y = w * x / sqrt(mean(x^2) + eps). On a CPU the framework runs this as six operations forward and
a dozen backward, each a pass over memory; here it is three and five.
Shapes: ... any leading sizes, D the size that is normalised.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension, then scale by a learned weight (D,)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            normed: torch.Tensor = _CpuRMSNorm.apply(x, self.weight, self.eps)
            return normed
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class _CpuRMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        width = x.shape[-1]
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(width).add_(eps).rsqrt_()  # (..., 1)
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        (grad,) = grads
        unit, scale, weight = ctx.saved_tensors
        product = grad * unit
        weight_grad = product.flatten(0, -2).sum(0)  # (D,)
        # d/dx: (g w - unit * mean(g w unit)) * scale; the mean is a product with the weight, one pass
        mean = torch.matmul(product, weight).unsqueeze(-1).div_(unit.shape[-1])  # (..., 1)
        return (grad * weight).addcmul_(unit, mean, value=-1.0).mul_(scale), weight_grad, None
