"""GPT-2's block on a GPU without a compiler: the library's products with everything beside them inside, norms by kernels of our own.

A compiler comes to the same passes over memory, and takes some ten seconds of a run's start (three to be imported, the rest to
work); these kernels take one. `agrees` compares with the plain block before anything is trusted to it.
Shapes: B rows, T tokens, N = B x T, D width, H heads, K head width, F feed-forward width.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from whelp.base.log import log
from whelp.model import gpu_feed_forward
from whelp.model.gpu_norm import norm_and_past

_TOLERANCE = 0.03  # of a block in bf16 beside float32, as a share of the length; measured: 0.01


class Block(Protocol):
    """What a block of GPT-2 has."""

    num_heads: int
    norm_1: nn.LayerNorm
    query_key_value: nn.Linear
    project: nn.Linear
    norm_2: nn.LayerNorm
    expand: nn.Linear
    contract: nn.Linear


def run_block(block: Block, x: torch.Tensor) -> torch.Tensor:
    """A block of the residual stream in bf16, for training: (B, T, D) -> (B, T, D); every row is one document."""
    normed, past = _norm(block.norm_1, x)
    joined = _linear(normed, block.query_key_value, None)  # (B, T, 3D)
    queries, keys, values = _SplitHeads.apply(joined, block.num_heads)  # each (B, H, T, K)
    mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    x = _linear(mixed.transpose(1, 2).reshape(x.shape), block.project, past)
    normed, past = _norm(block.norm_2, x)
    expand, contract = block.expand, block.contract
    out: torch.Tensor = _FeedForward.apply(normed, past, expand.weight, expand.bias, contract.weight, contract.bias)
    return out


def _norm(norm: nn.LayerNorm, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return norm_and_past(x, norm.weight, norm.bias, norm.eps)


def _linear(x: torch.Tensor, linear: nn.Linear, residual: torch.Tensor | None) -> torch.Tensor:
    out: torch.Tensor = _Linear.apply(x, residual, linear.weight, linear.bias)
    return out


class _Linear(torch.autograd.Function):
    """x W^T + bias + residual, all in one product."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        narrow, narrow_bias = _narrow(weight), _narrow(bias)
        flat, past = _flatten(x), None if residual is None else _flatten(residual)
        out = flat.new_empty(flat.shape[0], weight.shape[0])
        gpu_feed_forward.multiply_linear(flat, narrow, narrow_bias, past, out)
        ctx.save_for_backward(flat, narrow)
        ctx.has = residual is not None, bias is not None
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        flat, weight = ctx.saved_tensors
        has_residual, has_bias = ctx.has
        above = _flatten(grad)
        x_grad = (above @ weight).view(*grad.shape[:-1], weight.shape[1])
        return x_grad, grad if has_residual else None, _wide_product(above.t(), flat), _sum_rows(above) if has_bias else None


class _SplitHeads(torch.autograd.Function):
    """(B, T, 3D) -> three of (B, H, T, K), as views; their gradients are written side by side, where they belong."""

    @staticmethod
    def forward(ctx: Any, joined: torch.Tensor, num_heads: int) -> tuple[torch.Tensor, ...]:
        num_rows, num_tokens, width = joined.shape
        heads = joined.view(num_rows, num_tokens, 3, num_heads, width // (3 * num_heads))
        return tuple(heads.permute(2, 0, 3, 1, 4).unbind(0))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        num_rows, num_heads, num_tokens, head_width = grads[0].shape
        joined = grads[0].new_empty(num_rows, num_tokens, 3, num_heads, head_width)
        for number, grad in enumerate(grads):
            joined[:, :, number].copy_(grad.transpose(1, 2))
        return joined.view(num_rows, num_tokens, -1), None


class _FeedForward(torch.autograd.Function):
    """residual + contract(GELU(expand(x)))."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        residual: torch.Tensor,
        expand: torch.Tensor,
        expand_bias: torch.Tensor | None,
        contract: torch.Tensor,
        contract_bias: torch.Tensor | None,
    ) -> torch.Tensor:
        flat, wide, back = _flatten(x), _narrow(expand), _narrow(contract)
        out, activated, seen = gpu_feed_forward.multiply_feed_forward(
            flat, _flatten(residual), wide, _narrow(expand_bias), back, _narrow(contract_bias)
        )
        ctx.save_for_backward(flat, wide, back, activated, seen)
        ctx.has = expand_bias is not None, contract_bias is not None
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        flat, expand, contract, activated, seen = ctx.saved_tensors
        above = _flatten(grad)
        inner = gpu_feed_forward.multiply_slope(above, contract, seen)
        biases = [_sum_rows(part) if has else None for part, has in zip((inner, above), ctx.has, strict=True)]
        x_grad = (inner @ expand).view(grad.shape)
        return x_grad, grad, _wide_product(inner.t(), flat), biases[0], _wide_product(above.t(), activated), biases[1]


def _narrow(tensor: torch.Tensor | None) -> Any:
    return None if tensor is None else tensor.to(torch.bfloat16)


def _flatten(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, x.shape[-1]).contiguous()


def _wide_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left @ right as float32, which is what the gradient of a weight is kept in."""
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def _sum_rows(x: torch.Tensor) -> torch.Tensor:
    return x.sum(0, dtype=torch.float32)


def agrees(block: nn.Module, device: torch.device) -> bool:
    """Whether `run_block` gives on this device what calling the block gives, value and gradients; its weights are drawn anew."""
    try:
        error = _measure_error(block.to(device), device)
    except Exception as problem:  # a library or a compiler that is not as expected: the other way is always there
        reason = f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]}"
    else:
        if error <= _TOLERANCE:
            return True
        reason = f"it differs by {error:.2g}"
    log.warning("blocks are compiled, slower to start: kernels of our own fail (%s)", reason)
    return False


def _measure_error(block: Any, device: torch.device) -> float:
    """The largest relative distance of the block's contribution and of all gradients, bf16 from float32."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in block.parameters():
            spread = parameter.shape[1] ** -0.5 if parameter.ndim == 2 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * spread)
    # as many tokens as make the kernels be compiled for training, too: a multiple of 16
    x, grad = torch.randn(2, 2, 96, block.norm_1.weight.shape[0], generator=draw).to(torch.bfloat16).to(device)
    found = []
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for is_ours in (True, False):
            given = (x if is_ours else x.float()).requires_grad_()
            out = run_block(block, given) if is_ours else block(given, None, None)
            gradients = torch.autograd.grad(out, [given, *block.parameters()], grad.to(out.dtype))
            found.append([tensor.detach().float() for tensor in (out, *gradients)])
    return max(gpu_feed_forward.measure_distance(*pair) for pair in zip(*found, strict=True))
