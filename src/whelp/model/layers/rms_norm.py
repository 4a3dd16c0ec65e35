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
        return rms_norm(x, self.weight, self.eps)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Normalise the last dimension of x (..., D) and scale by a weight (D,), or (H, D) for x of (..., H, D)."""
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        normed: torch.Tensor = _CpuRMSNorm.apply(x, weight, eps)
        return normed
    return (F.rms_norm(x, x.shape[-1:], None, eps) * weight).to(x.dtype)


class _CpuRMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        width = x.shape[-1]
        weight = weight.to(x.dtype)  # passes over numbers of two types are several times slower
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(width).add_(eps).rsqrt_()  # (..., 1)
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        normed: torch.Tensor = unit * weight
        return normed

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        (grad,) = grads
        unit, scale, weight = ctx.saved_tensors
        product = grad * unit
        weight_grad = product.reshape(-1, *weight.shape).sum(0)
        # d/dx = (g w - unit * mean(g w unit)) * scale
        grad = grad * weight
        if weight.ndim == 1:
            mean = torch.mv(product.reshape(-1, product.shape[-1]), weight).view(scale.shape)
        else:
            mean = product.mul_(weight).sum(-1, keepdim=True)
        return grad.addcmul_(unit, mean.div_(-unit.shape[-1])).mul_(scale), weight_grad, None
