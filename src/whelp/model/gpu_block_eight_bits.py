"""The forward products of GPT-2's block with factors of 8 bits (e4m3: four bits of exponent, three of mantissa).

On a GPU that has them such products take half as long. What goes into them is rounded by the kernel that makes it, a norm or GELU, beside
the bf16 that the backward pass reads; only weights are rounded in a pass of their own, which is short. What is rounded is multiplied by
fixed powers of two: what norms and GELU give is of order 1, weights of order 0.01, and e4m3 keeps its precision over 15 powers of two. The
backward pass is that of the product in bf16 ("straight through"). GELU is not inside the product here: with both results to write that takes
as long as apart, and does not round. Micikevicius et al. 2022, "FP8 Formats for Deep Learning".
Shapes: N tokens, D width, F feed-forward width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from whelp.base.log import log
from whelp.model.gpu_feed_forward import measure_distance, multiply_feed_forward, multiply_linear
from whelp.model.gpu_timing import take_time

EIGHT_BITS = torch.float8_e4m3fn
# What is rounded is this many times the number: inputs up to 112 and weights up to 14 are not clamped, and full precision begins at 0.004
# and 0.0005.
INPUT_FACTOR, WEIGHT_FACTOR = 4.0, 32.0
_SCALE = 1.0 / (INPUT_FACTOR * WEIGHT_FACTOR)  # of products
_LARGEST = 448.0  # number of e4m3
_MULTIPLE = 16  # of all sizes
_OLDEST = 8, 9  # compute capability
_BLOCK = 2048  # numbers of a program
_TOLERANCE = 0.1  # as a share of the length; measured: 0.038 for one product, 0.055 for two with GELU between
_WORTH = 0.95  # of the time in bf16: the rest pays for rounding


class Ways(NamedTuple):
    """Which products of a block have factors of 8 bits."""

    joined: bool  # to queries, keys and values
    feed_forward: bool


IN_BF16 = Ways(joined=False, feed_forward=False)


@triton.jit
def round_to_eight(values, factor):  # type: ignore[no-untyped-def]
    """float32 -> e4m3; what is too large becomes the largest number, and what is none stays none."""
    return tl.clamp(values * factor, -448.0, 448.0, propagate_nan=tl.PropagateNan.ALL).to(tl.float8e4nv)


@triton.jit  # type: ignore[untyped-decorator]
def _round_part(source, out, num_numbers, factor, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    is_inside = place < num_numbers
    values = tl.load(source + place, mask=is_inside, other=0.0).to(tl.float32)
    tl.store(out + place, round_to_eight(values, factor), mask=is_inside)


@triton.jit  # type: ignore[untyped-decorator]
def _round_three(  # type: ignore[no-untyped-def]
    one, two, three, out_one, out_two, out_three, num_one, num_two, num_three, FACTOR: tl.constexpr, BLOCK: tl.constexpr
):
    """The second number of a program says which."""
    which = tl.program_id(1)
    if which == 0:
        _round_part(one, out_one, num_one, FACTOR, BLOCK)
    elif which == 1:
        _round_part(two, out_two, num_two, FACTOR, BLOCK)
    else:
        _round_part(three, out_three, num_three, FACTOR, BLOCK)


@triton.jit  # type: ignore[untyped-decorator]
def _activate(seen, activated, rounded, num_numbers, FACTOR: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    is_inside = place < num_numbers
    x = tl.load(seen + place, mask=is_inside, other=0.0).to(tl.float32)
    # (1 + tanh(u)) / 2 is the logistic function of 2 u: one exponential
    result = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    tl.store(activated + place, result.to(activated.dtype.element_ty), mask=is_inside)
    tl.store(rounded + place, round_to_eight(result, FACTOR), mask=is_inside)


def round_weights(one: torch.Tensor, two: torch.Tensor, three: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three weights, contiguous, times `WEIGHT_FACTOR` in e4m3, in one kernel."""
    given = one, two, three
    made = tuple(torch.empty_like(weight, dtype=EIGHT_BITS) for weight in given)
    sizes = [weight.numel() for weight in given]
    _round_three[(triton.cdiv(max(sizes), _BLOCK), 3)](*given, *made, *sizes, WEIGHT_FACTOR, _BLOCK, num_warps=4)
    return made[0], made[1], made[2]


def activate(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """tanh-GELU of a contiguous tensor, in its type, and times `INPUT_FACTOR` in e4m3."""
    activated, rounded = torch.empty_like(seen), torch.empty_like(seen, dtype=EIGHT_BITS)
    grid = (triton.cdiv(seen.numel(), _BLOCK),)
    _activate[grid](seen, activated, rounded, seen.numel(), INPUT_FACTOR, _BLOCK, num_warps=8)
    return activated, rounded


def multiply_rounded(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None, out: torch.Tensor
) -> None:
    """As `multiply_linear`; x and weight are rounded, `out` and the rest in bf16."""
    multiply_linear(x, weight, bias, residual, out, scale=_SCALE)


def multiply_rounded_feed_forward(
    x: torch.Tensor,
    residual: torch.Tensor,
    expand: torch.Tensor,
    expand_bias: torch.Tensor | None,
    contract: torch.Tensor,
    contract_bias: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `multiply_feed_forward`; x and both weights are rounded, the rest is in bf16."""
    seen, out = residual.new_empty(x.shape[0], expand.shape[0]), torch.empty_like(residual)
    multiply_rounded(x, expand, expand_bias, None, seen)
    activated, rounded = activate(seen)
    multiply_rounded(rounded, contract, contract_bias, residual, out)
    return out, activated, seen


@functools.cache
def choose(device: torch.device, num_tokens: int, width: int, num_features: int, *, has_biases: bool) -> Ways:
    """Which products of a block of these sizes are as good in 8 bits, and faster; each is tried once."""
    if device.type != "cuda" or any(size % _MULTIPLE for size in (num_tokens, width, num_features)):
        return IN_BF16
    if torch.cuda.get_device_capability(device) < _OLDEST:
        log.warning("products of blocks stay in bf16: this GPU has none of 8 bits")
        return IN_BF16
    draw = torch.Generator(device).manual_seed(0)

    def make(*shape: int, spread: float = 1.0) -> torch.Tensor:
        return (torch.randn(shape, generator=draw, device=device) * spread).to(torch.bfloat16)

    with torch.no_grad(), torch.cuda.device(device):
        x, residual = make(num_tokens, width), torch.zeros(num_tokens, width, dtype=torch.bfloat16, device=device)
        shapes = (3 * width, width), (num_features, width), (width, num_features)
        weights = [make(*shape, spread=shape[1] ** -0.5) for shape in shapes]
        biases = [make(len(weight), spread=0.5) if has_biases else None for weight in weights]
        return _compare(x, residual, weights, biases)


def _compare(x: torch.Tensor, residual: torch.Tensor, weights: list[torch.Tensor], biases: list[torch.Tensor | None]) -> Ways:
    joined, expand, contract = weights
    try:
        joined_8, expand_8, contract_8 = round_weights(joined, expand, contract)
    except Exception as problem:  # whatever a compiler may say: bf16 is always there
        log.warning("products of blocks stay in bf16: rounding to 8 bits fails (%s)", _name(problem))
        return IN_BF16
    x_8, out = (x * INPUT_FACTOR).clamp(-_LARGEST, _LARGEST).to(EIGHT_BITS), x.new_empty(len(x), len(joined))

    def multiply_joined(*, rounds: bool) -> torch.Tensor:
        if rounds:
            multiply_rounded(x_8, joined_8, biases[0], None, out)
        else:
            multiply_linear(x, joined, biases[0], None, out)
        return out

    def feed_forward(*, rounds: bool) -> torch.Tensor:
        if rounds:
            return multiply_rounded_feed_forward(x_8, residual, expand_8, biases[1], contract_8, biases[2])[0]
        return multiply_feed_forward(x, residual, expand, biases[1], contract, biases[2])[0]

    return Ways(
        joined=_is_worth("queries, keys and values", multiply_joined),
        feed_forward=_is_worth("feed-forward half", feed_forward),
    )


def _is_worth(name: str, way: Callable[..., torch.Tensor]) -> bool:
    try:
        plain_time, wanted = take_time(lambda: way(rounds=False))
        wanted = wanted.clone()  # the next time it is the same memory
        time, found = take_time(lambda: way(rounds=True))
    except Exception as problem:  # or a library
        reason = _name(problem)
    else:
        error = measure_distance(found, wanted)
        log.debug("%s: %.3f ms in bf16, %.3f in 8 bits, %.2g apart", name, plain_time, time, error)
        if error <= _TOLERANCE:
            return time < _WORTH * plain_time
        reason = f"they differ by {error:.2g}"
    log.warning("%s: products stay in bf16, those of 8 bits fail (%s)", name, reason)
    return False


def _name(problem: Exception) -> str:
    return f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]}"
