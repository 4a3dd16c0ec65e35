"""A linear layer of GPT-2's block on a GPU: products of bf16 by the library, gradients of weights where they are wanted, in float32.

Shapes: N tokens, D width, F features.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from whelp.base.beside_parameter import find_beside
from whelp.base.log import log
from whelp.model import gpu_feed_forward


class Linear(torch.autograd.Function):
    """x W^T + bias + residual, all in one product."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        residual: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        own, own_bias = narrow(weight), narrow(bias)
        flat, past = flatten(x), None if residual is None else flatten(residual)
        ctx.save_for_backward(flat, own)
        ctx.weight = weight
        ctx.has_residual = residual is not None
        return multiply_into_new(flat, own, own_bias, past).view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        flat, weight = ctx.saved_tensors
        above = flatten(grad)
        x_grad = (above @ weight).view(*grad.shape[:-1], weight.shape[1])
        bias_grad = sum_rows(above) if ctx.needs_input_grad[3] else None
        return x_grad, grad if ctx.has_residual else None, wide_product(above.t(), flat, ctx.weight), bias_grad


def multiply_into_new(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None
) -> torch.Tensor:
    """x W^T + bias + residual of bf16: (N, D), (F, D), (F,), (N, F) -> (N, F)."""
    out = x.new_empty(x.shape[0], weight.shape[0])
    gpu_feed_forward.multiply_linear(x, weight, bias, residual, out)
    return out


def narrow(tensor: torch.Tensor | None) -> Any:
    """A weight in bf16: what is kept of it, where something is."""
    if tensor is None:
        return None
    kept = find_beside(tensor, "narrow")
    return tensor.to(torch.bfloat16) if kept is None else kept


def flatten(x: torch.Tensor) -> torch.Tensor:
    """(..., D) -> (N, D), contiguous."""
    return x.reshape(-1, x.shape[-1]).contiguous()


def wide_product(left: torch.Tensor, right: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """left @ right, the gradient of a weight, as float32; where it is wanted, if that is known, and nothing is there to be added to."""
    place = find_gradient_place(weight)
    if not left.is_cuda:
        product = left.float() @ right.float()
        return product if place is None else place.copy_(product)
    if place is None or not _writes_wide(left.device):
        return torch.mm(left, right, out_dtype=torch.float32)
    return torch.mm(left, right, out_dtype=torch.float32, out=place)


def find_gradient_place(weight: torch.Tensor) -> torch.Tensor | None:
    """Where a weight's gradient is wanted, if that is known, and nothing is there to be added to."""
    place = find_beside(weight, "gradient") if weight.grad is None else None
    return None if place is None else place.detach()  # a tensor of its own, so that autograd keeps it as the gradient


@functools.cache
def _writes_wide(device: torch.device) -> bool:
    """Whether a product of bf16 can be written as float32 into memory that is there; tried once."""
    left, right = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0)).to(device, torch.bfloat16)
    out = torch.zeros(3, 16, 16, device=device)
    try:
        torch.mm(left, right, out_dtype=torch.float32, out=out[1])
    except (RuntimeError, TypeError) as problem:
        log.warning("gradients of weights are copied, slower (%s)", str(problem).partition("\n")[0])
        return False
    return torch.equal(out[1], torch.mm(left, right, out_dtype=torch.float32)) and not out[0].any() and not out[2].any()


def sum_rows(x: torch.Tensor) -> torch.Tensor:
    """(N, F) -> (F,) float32, the gradient of a bias."""
    return x.sum(0, dtype=torch.float32)
