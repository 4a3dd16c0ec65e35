"""LayerNorm on a GPU: one kernel forward, one backward, which takes up the gradient that goes past the norm as well.

The framework's own, under autocast, widens everything to float32 and adds the two gradients of the residual stream in a pass of
their own. What its compiler makes of a block is as fast as this, and takes ten seconds to make.
Shapes: N tokens, D width, P programs.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

_PROGRAMS = 1024  # of the backward pass: each adds up the gradients of weight and bias over its share of the tokens


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    x, weight, bias, out, means, scales, epsilon, D: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr
):
    """One program a token."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    is_inside = columns < D
    values = tl.load(x + row * D + columns, mask=is_inside, other=0.0).to(tl.float32)
    mean = tl.sum(values, 0) / D
    centred = tl.where(is_inside, values - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / D + epsilon)
    result = centred * scale * tl.load(weight + columns, mask=is_inside, other=0.0)
    if HAS_BIAS:
        result += tl.load(bias + columns, mask=is_inside, other=0.0)
    tl.store(out + row * D + columns, result.to(out.dtype.element_ty), mask=is_inside)
    tl.store(means + row, mean)
    tl.store(scales + row, scale)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    grad, past, x, weight, means, scales, out, weight_sums, bias_sums, past_sums, num_rows, D: tl.constexpr, BLOCK: tl.constexpr
):
    """Each program takes every P-th token: the gradient of x, with `past` added; sums over its tokens for weight, bias and past."""
    program = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    is_inside = columns < D
    factor = tl.load(weight + columns, mask=is_inside, other=0.0)
    weight_sum = tl.zeros((BLOCK,), dtype=tl.float32)
    bias_sum = tl.zeros((BLOCK,), dtype=tl.float32)
    past_sum = tl.zeros((BLOCK,), dtype=tl.float32)
    place = program.to(tl.int64) * D + columns
    for row in range(program, num_rows, tl.num_programs(0)):
        upstream = tl.load(grad + place, mask=is_inside, other=0.0).to(tl.float32)
        values = tl.load(x + place, mask=is_inside, other=0.0).to(tl.float32)
        beside = tl.load(past + place, mask=is_inside, other=0.0).to(tl.float32)
        scale = tl.load(scales + row)
        normed = tl.where(is_inside, (values - tl.load(means + row)) * scale, 0.0)
        weighted = upstream * factor
        along = tl.sum(weighted * normed, 0) / D
        level = tl.sum(weighted, 0) / D
        result = (weighted - normed * along - level) * scale + beside
        tl.store(out + place, result.to(out.dtype.element_ty), mask=is_inside)
        weight_sum += upstream * normed
        bias_sum += upstream
        past_sum += beside
        place += tl.num_programs(0).to(tl.int64) * D
    tl.store(weight_sums + program * D + columns, weight_sum, mask=is_inside)
    tl.store(bias_sums + program * D + columns, bias_sum, mask=is_inside)
    tl.store(past_sums + program * D + columns, past_sum, mask=is_inside)


class _NormAndPast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        epsilon: float,
        later_bias: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.contiguous()
        width, num_tokens = x.shape[-1], x.numel() // x.shape[-1]
        out = torch.empty_like(x)
        means, scales = torch.empty(2, num_tokens, dtype=torch.float32, device=x.device)
        given = weight if bias is None else bias
        block = triton.next_power_of_2(width)
        _forward[(num_tokens,)](x, weight, given, out, means, scales, epsilon, width, bias is not None, block, num_warps=4)
        ctx.save_for_backward(x, weight, means, scales)
        ctx.has = bias is not None, later_bias is not None
        return out, x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        out, (weight_grad, bias_grad, later_grad) = norm_gradients(*grads, *ctx.saved_tensors)
        has_bias, has_later = ctx.has
        return out, weight_grad, bias_grad if has_bias else None, None, later_grad if has_later else None


def norm_gradients(
    grad: torch.Tensor, past: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, means: torch.Tensor, scales: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of x, `past` added; and (3, D): those of weight and bias, and the sum of `past` over all tokens."""
    width, num_tokens = x.shape[-1], x.numel() // x.shape[-1]
    programs = min(_PROGRAMS, num_tokens)
    sums = torch.empty(3, programs, width, dtype=torch.float32, device=x.device)
    out, block = torch.empty_like(x), triton.next_power_of_2(width)
    given = grad.contiguous(), past.contiguous(), x, weight, means, scales
    _backward[(programs,)](*given, out, *sums, num_tokens, width, block, num_warps=4)
    return out, sums.sum(1)


def norm_and_past(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    epsilon: float,
    later_bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """LayerNorm of x, (..., D) -> (..., D), and x itself, to go past it: the gradients of both come back as one.

    Args:
        weight: (D,) float32, and so is the bias.
        later_bias: What whoever takes the second result adds to every token of it; its gradient is a sum that is known here.
    """
    normed, past = _NormAndPast.apply(x, weight, bias, epsilon, later_bias)
    return normed, past
