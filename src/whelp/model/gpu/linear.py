"""Linear layers of GPT-2's block on a GPU: products of bf16 by the library, gradients of weights where they are wanted, in float32.

Shapes: N tokens, D width, F features.
"""

from __future__ import annotations

from typing import Any

import torch

from whelp.base.beside_parameter import find_beside
from whelp.model.gpu.feed_forward import multiply_feed_forward, multiply_linear
from whelp.model.gpu.product import multiply_plain


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
        x_grad = multiply_back(above, weight).view(*grad.shape[:-1], weight.shape[1])
        bias_grad = sum_rows(above) if ctx.needs_input_grad[3] else None
        return x_grad, grad if ctx.has_residual else None, wide_product(above.t(), flat, ctx.weight), bias_grad


def run_feed_forward(
    ctx: Any,
    x: torch.Tensor,
    residual: torch.Tensor,
    expand: torch.Tensor,
    expand_bias: torch.Tensor | None,
    contract: torch.Tensor,
    contract_bias: torch.Tensor | None,
    *,
    keeps_activated: bool,
) -> torch.Tensor:
    """residual + contract(GELU(expand(x))); x, both weights in bf16 and what GELU saw are kept for a backward pass.

    Args:
        keeps_activated: Whether what GELU gave is kept, too, before what it saw.
    """
    flat, wide, back = flatten(x), narrow(expand), narrow(contract)
    biases = narrow(expand_bias), narrow(contract_bias)
    out, activated, seen = multiply_feed_forward(flat, flatten(residual), wide, biases[0], back, biases[1])
    ctx.save_for_backward(flat, wide, back, *([activated] if keeps_activated else []), seen)
    ctx.weights = expand, contract
    return out.view(x.shape)


def multiply_into_new(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None
) -> torch.Tensor:
    """x W^T + bias + residual of bf16: (N, D), (F, D), (F,), (N, F) -> (N, F)."""
    out = x.new_empty(x.shape[0], weight.shape[0])
    multiply_linear(x, weight, bias, residual, out)
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


def multiply_back(grad: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The gradient of x by that of x W^T: (N, F), (F, D) -> (N, D)."""
    out = grad.new_empty(grad.shape[0], weight.shape[1])
    multiply_plain(grad, weight, out)
    return out


def wide_product(left: torch.Tensor, right: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """left @ right, the gradient of a weight, as float32; where it is wanted, if that is known, and nothing is there to be added to."""
    place = find_gradient_place(weight)
    out = torch.empty_like(weight, dtype=torch.float32) if place is None else place
    multiply_plain(left, right, out)
    return out


def find_gradient_place(weight: torch.Tensor) -> torch.Tensor | None:
    """Where a weight's gradient is wanted, if that is known, and nothing is there to be added to."""
    place = find_beside(weight, "gradient") if weight.grad is None else None
    return None if place is None else place.detach()  # a tensor of its own, so that autograd keeps it as the gradient


def sum_rows(x: torch.Tensor) -> torch.Tensor:
    """(N, F) -> (F,) float32, the gradient of a bias."""
    return x.sum(0, dtype=torch.float32)
