"""Rotary positions (Su et al. 2021): each pair of numbers (k, k + K/2) of a head is turned by its position's angle.

Shapes: B rows, T tokens, H heads, K head width.
"""

from __future__ import annotations

from typing import Any

import torch

Rotation = tuple[torch.Tensor, torch.Tensor]  # cosine and sine, each (T, 1, K/2) or (B, T, 1, K/2)


def make_rotation(num_positions: int, head_width: int, base: float, device: torch.device) -> torch.Tensor:
    """Cosine and sine of every position's angles: (2, N, 1, K/2), float32."""
    even = torch.arange(0, head_width, 2, dtype=torch.float32, device=device)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float32, device=device), 1.0 / base ** (even / head_width))
    return torch.stack((angles.cos(), angles.sin())).unsqueeze(2)


def rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Turn the pairs of every head: (B, T, H, K) -> the same."""
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        # in the type of x: passes over numbers of two types are several times slower
        turned: torch.Tensor = _CpuRotate.apply(x, *(part.to(x.dtype) for part in rotation))
        return turned
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1).to(x.dtype)


def _turn(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, sign: float) -> torch.Tensor:
    """Turn by the angle times `sign`, in four passes and without joining halves."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    (first, second), (out_first, out_second) = x.chunk(2, dim=-1), out.chunk(2, dim=-1)
    torch.mul(first, cosine, out=out_first).addcmul_(second, sine, value=-sign)
    torch.mul(second, cosine, out=out_second).addcmul_(first, sine, value=sign)
    return out


class _CpuRotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turn(x, cosine, sine, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _turn(grads[0], cosine, sine, -1.0), None, None
