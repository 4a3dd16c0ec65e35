"""LayerNorm on a GPU: one kernel forward, one backward, which takes up the gradient that goes past the norm as well.

The framework's own, under autocast, widens everything to float32 and adds the two gradients of the residual stream in a pass of
their own. What its compiler makes of a block is as fast as this, and takes ten seconds to make.
Shapes: N tokens, D width, P programs, S sums.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

_WARP = 1024  # numbers of a warp in the forward pass: for 768 one warp a token is faster than four that wait for each other
# Programs of the backward pass, all of them at work at once on 132 multiprocessors: each adds up the gradients of weight and bias
# over its share of the tokens.
_PROGRAMS, _WARPS = 792, 4
_PROGRAMS_OF_MORE, _WARPS_OF_MORE = 528, 8  # where they add up more than the gradient of the weight


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
    grad, past, x, weight, means, scales, out, sums, num_rows,
    D: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_LATER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program takes every P-th token: the gradient of x, with `past` added; sums over its tokens for weight, bias and past.

    The next token is on its way while this one is computed.
    """
    program, count = tl.program_id(0), tl.num_programs(0)
    columns = tl.arange(0, BLOCK)
    is_inside = columns < D
    factor = tl.load(weight + columns, mask=is_inside, other=0.0)
    weight_sum = tl.zeros((BLOCK,), dtype=tl.float32)
    bias_sum = tl.zeros((BLOCK,), dtype=tl.float32)
    past_sum = tl.zeros((BLOCK,), dtype=tl.float32)
    place = program.to(tl.int64) * D + columns
    next_grad = tl.load(grad + place, mask=is_inside, other=0.0)
    next_x = tl.load(x + place, mask=is_inside, other=0.0)
    next_past = tl.load(past + place, mask=is_inside, other=0.0)
    for row in range(program, num_rows, count):
        upstream, values, beside = next_grad.to(tl.float32), next_x.to(tl.float32), next_past.to(tl.float32)
        scale, mean = tl.load(scales + row), tl.load(means + row)
        here = place
        place += count.to(tl.int64) * D
        comes = is_inside & (place < num_rows * D)
        next_grad = tl.load(grad + place, mask=comes, other=0.0)
        next_x = tl.load(x + place, mask=comes, other=0.0)
        next_past = tl.load(past + place, mask=comes, other=0.0)
        normed = tl.where(is_inside, (values - mean) * scale, 0.0)
        weighted = upstream * factor
        along = tl.sum(weighted * normed, 0) / D
        level = tl.sum(weighted, 0) / D
        result = (weighted - normed * along - level) * scale + beside
        tl.store(out + here, result.to(out.dtype.element_ty), mask=is_inside)
        weight_sum += upstream * normed
        if HAS_BIAS:
            bias_sum += upstream
        if HAS_LATER:
            past_sum += beside
    start = sums + program * D + columns
    tl.store(start, weight_sum, mask=is_inside)
    if HAS_BIAS:
        tl.store(start + count * D, bias_sum, mask=is_inside)
    if HAS_LATER:
        tl.store(start + (HAS_BIAS + 1) * count * D, past_sum, mask=is_inside)


@triton.jit  # type: ignore[untyped-decorator]
def _add_up(parts, out, num_parts, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    """(S, P, D) -> (S, D), a program for some columns of one sum."""
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    rows = tl.arange(0, ROWS)
    start = parts + tl.program_id(1).to(tl.int64) * num_parts * D
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for first in range(0, num_parts, ROWS):
        row = first + rows
        mask = (row < num_parts)[:, None] & (columns < D)[None, :]
        total += tl.load(start + row[:, None] * D + columns[None, :], mask=mask, other=0.0)
    tl.store(out + tl.program_id(1) * D + columns, tl.sum(total, 0), mask=columns < D)


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
        given, block = (x, weight, weight if bias is None else bias, out), triton.next_power_of_2(width)
        _forward[(num_tokens,)](
            *given, means, scales, epsilon, width, bias is not None, block, num_warps=min(max(1, block // _WARP), 16)
        )
        ctx.save_for_backward(x, weight, means, scales)
        ctx.has = bias is not None, later_bias is not None
        return out, x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad, past), (has_bias, has_later) = grads, ctx.has
        sums = norm_gradients(grad, past, *ctx.saved_tensors, has_bias=has_bias, has_later=has_later)
        out, (weight_grad, bias_grad, later_grad) = sums
        return out, weight_grad, bias_grad, None, later_grad


def norm_gradients(
    grad: torch.Tensor,
    past: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    means: torch.Tensor,
    scales: torch.Tensor,
    *,
    has_bias: bool,
    has_later: bool,
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]]:
    """The gradient of x, `past` added; and those of weight and bias, and the sum of `past` over all tokens, each (D,)."""
    width, num_tokens = x.shape[-1], x.numel() // x.shape[-1]
    num_sums = 1 + has_bias + has_later
    programs, warps = (_PROGRAMS, _WARPS) if num_sums == 1 else (_PROGRAMS_OF_MORE, _WARPS_OF_MORE)
    programs = min(programs, num_tokens)
    parts = torch.empty(num_sums, programs, width, dtype=torch.float32, device=x.device)
    out, block = torch.empty_like(x), triton.next_power_of_2(width)
    given = grad.contiguous(), past.contiguous(), x, weight, means, scales
    _backward[(programs,)](*given, out, parts, num_tokens, width, has_bias, has_later, block, num_warps=warps)
    sums = add_up(parts)
    return out, (sums[0], sums[1] if has_bias else None, sums[-1] if has_later else None)


def add_up(parts: torch.Tensor) -> torch.Tensor:
    """(S, P, D) float32, contiguous -> (S, D): sums over P."""
    num_sums, num_parts, width = parts.shape
    sums = parts.new_empty(num_sums, width)
    _add_up[(triton.cdiv(width, 32), num_sums)](parts, sums, num_parts, width, 32, 32, num_warps=4)
    return sums


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
