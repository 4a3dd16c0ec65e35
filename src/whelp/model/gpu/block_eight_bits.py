"""The backward pass of GPT-2's block with factors of 8 bits; the forward pass stays in bf16.

Gradients are written as they are and transposed by the kernel that rounds them. The one that multiplies by GELU's slope does so, and
computes again what GELU gave, which the weight behind it needs, instead of having it kept.
Rounding gradients costs less of a model's quality than rounding the forward pass.
Shapes: N tokens, D width, F feed-forward width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from whelp.model.gpu.eight_bits import (
    E4M3,
    MULTIPLE,
    agree,
    is_right,
    iter_slices,
    make_worth,
    measure_gradient_worth,
    multiply,
    round_both,
    round_by_framework,
    round_flipped,
    to_eight_bits,
    turn_by_framework,
)
from whelp.model.gpu.linear import find_gradient_place, flatten, multiply_into_new, narrow, run_feed_forward, sum_rows
from whelp.model.gpu.norm import add_up

# What norms and GELU give is of order 1, weights are of order 0.01: inputs up to 112 and weights up to 14 are not clamped, and full
# precision begins at 0.004 and 0.0005.
_INPUT_WORTH, _WEIGHT_WORTH = 1 / 4, 1 / 32
_INPUT_FACTOR = tl.constexpr(4.0)
_TWICE_ROOT, _CUBE = tl.constexpr(1.5957691216057308), tl.constexpr(0.044715)  # 2 sqrt(2 / pi), and what GELU's cube is worth
_TOKENS, _FEATURES, _WARPS = 128, 32, 4  # of a tile; others are made wrong by ptxas 12.8, which `is_right` would tell


@triton.jit(do_not_specialize=["num_tokens"])  # type: ignore[untyped-decorator]
def _slope(  # type: ignore[no-untyped-def]
    product, seen, worth, out, flipped, activated, parts, num_tokens, num_features,
    HAS_SUMS: tl.constexpr, TOKENS: tl.constexpr, FEATURES: tl.constexpr,
):  # fmt: skip
    """One program a tile: the gradient of what GELU saw, rounded both ways; what GELU gave, transposed; sums of the first."""
    features = tl.program_id(0) * FEATURES + tl.arange(0, FEATURES)
    tokens = (tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)).to(tl.int64)
    mask = (tokens < num_tokens)[:, None] & (features < num_features)[None, :]
    place = tokens[:, None] * num_features + features[None, :]
    x = tl.load(seen + place, mask=mask, other=0.0).to(tl.float32)
    grad = tl.load(product + place, mask=mask, other=0.0).to(tl.float32)
    # (1 + tanh(u)) / 2 is the logistic function of 2 u: one exponential
    share = tl.sigmoid(x * (1.0 + x * x * _CUBE) * _TWICE_ROOT)
    inner = grad * (share + x * share * (1.0 - share) * (1.0 + x * x * (3.0 * _CUBE)) * _TWICE_ROOT)
    rounded = to_eight_bits(inner / tl.load(worth))
    tl.store(out + place, rounded, mask=mask)
    turned = features.to(tl.int64)[:, None] * num_tokens + tokens[None, :]
    tl.store(flipped + turned, tl.trans(rounded), mask=tl.trans(mask))
    tl.store(activated + turned, tl.trans(to_eight_bits(x * share * _INPUT_FACTOR)), mask=tl.trans(mask))
    if HAS_SUMS:
        tl.store(parts + tl.program_id(1) * num_features + features, tl.sum(inner, 0), mask=features < num_features)


class _Inner(NamedTuple):
    """The gradient of what GELU saw, what GELU gave, both rounded, and the sum of the first."""

    grad: torch.Tensor  # (N, F)
    flipped: torch.Tensor  # (F, N)
    activated: torch.Tensor  # (F, N)
    total: torch.Tensor | None  # (F,) float32


def _take_slope(product: torch.Tensor, seen: torch.Tensor, worth: torch.Tensor, *, has_sums: bool) -> _Inner:
    """From the gradient of what GELU gave and what it saw, (N, F) in bf16."""
    inner = _take_slope_by_kernel(product, seen, worth, has_sums=has_sums)

    def check() -> bool:
        return all(_agrees_in(part, inner, product, seen, worth) for part in iter_slices(len(seen)))

    if is_right("GELU's slope", (seen.device, *seen.shape), check):
        return inner
    exact = torch.ops.aten.gelu_backward(product, seen, approximate="tanh")
    rounded = round_by_framework(exact, worth)
    given = round_by_framework(F.gelu(seen, approximate="tanh"), make_worth(_INPUT_WORTH, seen.device))
    total = sum_rows(exact) if has_sums else None
    return _Inner(rounded, turn_by_framework(rounded), turn_by_framework(given), total)


def _agrees_in(part: slice, inner: _Inner, product: torch.Tensor, seen: torch.Tensor, worth: torch.Tensor) -> bool:
    x = seen[part].float()
    grad = torch.ops.aten.gelu_backward(product[part].float(), x, approximate="tanh") / worth
    is_grad_right = agree(inner.grad[part], grad) and agree(inner.flipped[:, part].t(), grad)
    return is_grad_right and agree(inner.activated[:, part].t(), F.gelu(x, approximate="tanh") / _INPUT_WORTH)


def _take_slope_by_kernel(product: torch.Tensor, seen: torch.Tensor, worth: torch.Tensor, *, has_sums: bool) -> _Inner:
    num_tokens, num_features = seen.shape
    out = torch.empty(num_tokens, num_features, dtype=E4M3, device=seen.device)
    flipped, activated = torch.empty(2, num_features, num_tokens, dtype=E4M3, device=seen.device)
    grid = triton.cdiv(num_features, _FEATURES), triton.cdiv(num_tokens, _TOKENS)
    parts = torch.empty(1, grid[1] if has_sums else 0, num_features, device=seen.device)
    made, sizes = (out, flipped, activated, parts), (num_tokens, num_features)
    _slope[grid](product, seen, worth, *made, *sizes, has_sums, _TOKENS, _FEATURES, num_warps=_WARPS)
    return _Inner(out, flipped, activated, add_up(parts)[0] if has_sums else None)


def fits(num_tokens: int, width: int, num_features: int) -> bool:
    """Whether products of such sizes can have factors of 8 bits."""
    return all(size % MULTIPLE == 0 for size in (num_tokens, width, num_features))


def _differentiate(
    grad: torch.Tensor, flipped: torch.Tensor, worth: torch.Tensor, x: torch.Tensor, own: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of x (N, D) and of a weight (F, D) by the rounded one of x W^T, (N, F) and transposed.

    Args:
        own: The weight in bf16.
    """
    turned = round_flipped(x, make_worth(_INPUT_WORTH, x.device))  # (D, N)
    return _multiply_weight(grad, worth, own), _weight_gradient(flipped, turned, worth, weight)


def _multiply_weight(grad: torch.Tensor, worth: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """A rounded gradient (N, F) times a weight (F, D), in bf16."""
    weight_worth = make_worth(_WEIGHT_WORTH, own.device)
    out = own.new_empty(grad.shape[0], own.shape[1])
    return multiply(grad, round_flipped(own, weight_worth), worth, weight_worth, out=out, is_short=True)


def _weight_gradient(flipped: torch.Tensor, turned: torch.Tensor, worth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A rounded gradient (F, N) times rounded inputs (D, N), as float32, where it is wanted."""
    return multiply(flipped, turned, worth, make_worth(_INPUT_WORTH, flipped.device), out=find_gradient_place(weight))


class _Linear(torch.autograd.Function):
    """x W^T + bias; the second argument is for what is added, and there is nothing."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, residual: None, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        flat, own = flatten(x), narrow(weight)
        ctx.save_for_backward(flat, own)
        ctx.weight = weight
        return multiply_into_new(flat, own, narrow(bias), None).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        above = flatten(grads[0])
        worth = measure_gradient_worth(above)
        flat, own = ctx.saved_tensors
        x_grad, weight_grad = _differentiate(*round_both(above, worth), worth, flat, own, ctx.weight)
        bias_grad = sum_rows(above) if ctx.needs_input_grad[3] else None
        return x_grad.view(*grads[0].shape[:-1], -1), None, weight_grad, bias_grad


class _FeedForward(torch.autograd.Function):
    """residual + contract(GELU(expand(x)))."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> torch.Tensor:
        return run_feed_forward(ctx, *inputs, keeps_activated=False)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        flat, wide, back, seen = ctx.saved_tensors
        expand, contract = ctx.weights
        above = flatten(grad)
        worth = measure_gradient_worth(above)
        rounded, flipped = round_both(above, worth)
        product = _multiply_weight(rounded, worth, back)
        # What the product adds up makes its numbers as large as those before it: weights are of order 1 / sqrt(D).
        inner = _take_slope(product, seen, worth, has_sums=ctx.needs_input_grad[3])
        x_grad, expand_grad = _differentiate(inner.grad, inner.flipped, worth, flat, wide, expand)
        contract_grad = _weight_gradient(flipped, inner.activated, worth, contract)
        contract_bias_grad = sum_rows(above) if ctx.needs_input_grad[5] else None
        return x_grad.view(grad.shape), grad, expand_grad, inner.total, contract_grad, contract_bias_grad


WAYS = _Linear, _FeedForward
