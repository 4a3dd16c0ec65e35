"""GPT-2's block on a GPU without a compiler: the library's products with everything beside them inside, norms by kernels of our own.

A compiler comes to the same passes over memory, and takes some ten seconds of a run's start (three to be imported, the rest to
work); these kernels take one. `agrees` compares with the plain block before anything is trusted to it.
Shapes: B rows, T tokens, N = B x T, D width, H heads, K head width, F feed-forward width.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from whelp.base.errors import say_first_line
from whelp.base.log import log
from whelp.model.gpu import block_eight_bits
from whelp.model.gpu.document_attention import MULTIPLE, attend_whole, attend_within, has_working_kernels
from whelp.model.gpu.feed_forward import multiply_slope
from whelp.model.gpu.heads import join_heads
from whelp.model.gpu.linear import Linear, flatten, multiply_back, run_feed_forward, sum_rows, wide_product
from whelp.model.gpu.norm import norm_and_past, norm_gradients
from whelp.model.gpu.timing import take_time
from whelp.model.kernel_check import find_fault, measure_relative_error
from whelp.model.layers.document_boundaries import Spans

_TOLERANCE = 0.03  # of a block in bf16 beside float32, as a share of the length; measured: 0.01
_EIGHT_BIT_TOLERANCE = 0.2  # measured: 0.12
_CHECKED_TOKENS, _CHECKED_ROUNDED = 96, 544  # of a row; multiples of 16, as those of training: kernels are compiled for that


class Block(Protocol):
    """What a block of GPT-2 has."""

    num_heads: int
    norm_1: nn.LayerNorm
    query_key_value: nn.Linear
    project: nn.Linear
    norm_2: nn.LayerNorm
    expand: nn.Linear
    contract: nn.Linear


def run_block(block: Block, x: torch.Tensor, spans: Spans | None = None, *, eight_bits: bool = False) -> torch.Tensor:
    """A block of the residual stream in bf16, for training: (B, T, D) -> (B, T, D).

    Args:
        spans: Without them every row is one document.
        eight_bits: Whether factors of the backward pass may be rounded to 8 bits.
    """
    qkv, project, expand, contract = block.query_key_value, block.project, block.expand, block.contract
    rounds = eight_bits and block_eight_bits.fits(x.numel() // x.shape[-1], x.shape[-1], expand.out_features)
    linear, feed_forward = block_eight_bits.WAYS if rounds else (Linear, _FeedForward)
    normed, past = _norm(block.norm_1, x, project.bias)
    joined: torch.Tensor = linear.apply(normed, None, qkv.weight, qkv.bias)  # (B, T, 3D)
    if spans is not None:
        mixed = attend_within(joined, block.num_heads, spans)
    elif has_faster_kernels(joined.device, tuple(joined.shape), block.num_heads):
        mixed = attend_whole(joined, block.num_heads)
    else:
        mixed = _attend_by_framework(joined, block.num_heads)
    x = Linear.apply(mixed, past, project.weight, _leave(project.bias))
    normed, past = _norm(block.norm_2, x, contract.bias)
    parts = expand.weight, expand.bias, contract.weight, _leave(contract.bias)
    out: torch.Tensor = feed_forward.apply(normed, past, *parts)
    return out


def _attend_by_framework(joined: torch.Tensor, num_heads: int) -> torch.Tensor:
    queries, keys, values = _SplitHeads.apply(joined, num_heads)  # each (B, H, T, K)
    return F.scaled_dot_product_attention(queries, keys, values, is_causal=True).transpose(1, 2).flatten(2)


@functools.cache
def has_faster_kernels(device: torch.device, shape: tuple[int, ...], num_heads: int) -> bool:
    """Whether attention's backward pass is faster by kernels of our own, for queries, keys and values of this shape; timed once."""
    head_width = shape[2] // (3 * num_heads)
    if device.type != "cuda" or shape[1] % MULTIPLE or not has_working_kernels(device, num_heads, head_width):
        return False
    draw = torch.Generator(device).manual_seed(0)
    joined = torch.randn(shape, generator=draw, device=device, dtype=torch.bfloat16).requires_grad_()
    grad = torch.randn(*shape[:2], shape[2] // 3, generator=draw, device=device, dtype=torch.bfloat16)

    def differentiate(way: Callable[..., torch.Tensor]) -> torch.Tensor:
        with torch.enable_grad():
            return torch.autograd.grad(way(joined, num_heads), joined, grad)[0]

    try:
        own, plain = (take_time(functools.partial(differentiate, way)) for way in (attend_whole, _attend_by_framework))
    except Exception as problem:  # whatever a library may say: the framework's way is always there
        log.debug("attention is the framework's alone (%s)", say_first_line(problem, with_kind=True))
        return False
    error = measure_relative_error(own[1], plain[1])
    log.debug(
        "attention: %.3f ms with kernels of our own behind it, %.3f by the framework; %.2g apart", own[0], plain[0], error
    )
    return own[0] < plain[0] and error <= _TOLERANCE


def run_norm(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    """A norm that nothing goes past."""
    return _norm(norm, x, None)[0]


def _norm(norm: nn.LayerNorm, x: torch.Tensor, later_bias: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    return norm_and_past(x, norm.weight, norm.bias, norm.eps, later_bias)


def _leave(bias: torch.Tensor | None) -> torch.Tensor | None:
    """A bias whose gradient comes from the norm before, which reads what it is the sum of."""
    return None if bias is None else bias.detach()


class _SplitHeads(torch.autograd.Function):
    """(B, T, 3D) -> three of (B, H, T, K), as views; their gradients are written side by side, where they belong."""

    @staticmethod
    def forward(ctx: Any, joined: torch.Tensor, num_heads: int) -> tuple[torch.Tensor, ...]:
        num_rows, num_tokens, width = joined.shape
        heads = joined.view(num_rows, num_tokens, 3, num_heads, width // (3 * num_heads))
        return tuple(heads.permute(2, 0, 3, 1, 4).unbind(0))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return join_heads(*grads), None


class _FeedForward(torch.autograd.Function):
    """residual + contract(GELU(expand(x)))."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> torch.Tensor:
        return run_feed_forward(ctx, *inputs, keeps_activated=True)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        flat, expand, contract, activated, seen = ctx.saved_tensors
        expand_leaf, contract_leaf = ctx.weights
        above = flatten(grad)
        inner = multiply_slope(above, contract, seen)
        needs = ctx.needs_input_grad[3], ctx.needs_input_grad[5]
        biases = [sum_rows(part) if has else None for part, has in zip((inner, above), needs, strict=True)]
        x_grad = multiply_back(inner, expand).view(grad.shape)
        expand_grad = wide_product(inner.t(), flat, expand_leaf)
        contract_grad = wide_product(above.t(), activated, contract_leaf)
        return x_grad, grad, expand_grad, biases[0], contract_grad, biases[1]


def agrees(block: nn.Module, device: torch.device, *, eight_bits: bool = False) -> bool:
    """Whether `run_block` gives on this device what calling the block gives, value and gradients; its weights are drawn anew."""

    def measure() -> list[float]:
        block.to(device)
        if device.type == "cuda" and not eight_bits:
            _use_first(block, device)
        return _measure_errors(block, device, eight_bits=eight_bits)

    fault = find_fault(measure, allowed=_EIGHT_BIT_TOLERANCE if eight_bits else _TOLERANCE)
    if fault is not None and eight_bits:
        log.warning("products of blocks stay in bf16, slower: those of 8 bits fail (%s)", fault)
    elif fault is not None:
        log.warning("blocks are compiled, slower to start: kernels of our own fail (%s)", fault)
    return fault is None


def _use_first(block: Any, device: torch.device) -> None:
    """Have kernels compiled and libraries loaded side by side, which `_measure_errors` would do one after the other."""
    (width,), heads = block.norm_1.weight.shape, block.num_heads
    x = torch.zeros(2, _CHECKED_TOKENS, width, device=device, dtype=torch.bfloat16)
    joined = torch.zeros(*x.shape[:2], 3 * width, device=device, dtype=torch.bfloat16)
    numbers = torch.zeros(2, x.shape[0] * x.shape[1], device=device)
    sums = {"has_bias": block.norm_1.bias is not None, "has_later": block.project.bias is not None}

    def attend() -> None:
        queries, keys, values = (part.requires_grad_() for part in _SplitHeads.apply(joined, heads))
        with torch.enable_grad():
            F.scaled_dot_product_attention(queries, keys, values, is_causal=True).sum().backward()

    def use(first_use: Callable[[], object]) -> None:
        with contextlib.suppress(Exception), torch.cuda.device(device), torch.no_grad():  # what fails is told by the comparison
            torch.ones((), device=device)  # gives this thread the GPU's context, which cuBLAS does not ask for itself
            first_use()

    uses: list[Callable[[], object]] = [
        attend,
        lambda: run_norm(block.norm_1, x),
        lambda: norm_gradients(x, x, x, block.norm_1.weight, numbers[0], numbers[1], **sums),
        lambda: join_heads(*_SplitHeads.apply(joined, heads)),
        lambda: Linear.apply(x, None, block.query_key_value.weight, block.query_key_value.bias),
        lambda: x[0] @ x[0].t(),
    ]
    with ThreadPoolExecutor(len(uses)) as threads:
        list(threads.map(use, uses))


def _measure_errors(block: Any, device: torch.device, *, eight_bits: bool) -> list[float]:
    """Relative distances of the block's contribution and of all gradients, bf16 or less from float32."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in block.parameters():
            spread = parameter.shape[1] ** -0.5 if parameter.ndim == 2 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * spread)
    num_tokens = _CHECKED_ROUNDED if eight_bits else _CHECKED_TOKENS
    x, grad = torch.randn(2, 2, num_tokens, block.norm_1.weight.shape[0], generator=draw).to(torch.bfloat16).to(device)
    found = []
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for is_ours in (True, False):
            given = (x if is_ours else x.float()).requires_grad_()
            out = run_block(block, given, eight_bits=eight_bits) if is_ours else block(given, None, None)
            gradients = torch.autograd.grad(out, [given, *block.parameters()], grad.to(out.dtype))
            found.append([out.detach(), *gradients])
    return [measure_relative_error(*pair) for pair in zip(*found, strict=True)]
