"""GPT-2's feed-forward half on a GPU: GELU and its gradient happen inside the matrix products, by cuBLASLt.

A product writes its result once, already activated, and beside it what GELU saw, which the backward pass needs; the backward product
multiplies by GELU's slope, and adds up the gradient of the bias, before it writes. PyTorch offers the first without what GELU saw, and
not the second, so cuBLASLt is called directly (`product.py`). `agrees` compares with PyTorch before anything is trusted to it.
Shapes: N tokens, D width, F feed-forward width.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F

from whelp.model.gpu.product import AUX, BIAS, GELU, GELU_SLOPE, PLAIN, multiply
from whelp.model.kernel_check import measure_relative_error

TOLERANCE = 0.02  # as a share of the length: bf16 rounds to 0.004


def multiply_linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None, out: torch.Tensor
) -> None:
    """Fill `out` (N, F) with x (N, D) times weight (F, D), plus bias and residual; all contiguous."""
    multiply(x, weight.t(), out, PLAIN if bias is None else BIAS, add=residual, bias=bias)


def multiply_feed_forward(
    x: torch.Tensor,
    residual: torch.Tensor,
    expand: torch.Tensor,
    expand_bias: torch.Tensor | None,
    contract: torch.Tensor,
    contract_bias: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The result (N, D), what GELU gave and what it saw (N, F)."""
    x, residual, expand, contract = x.contiguous(), residual.contiguous(), expand.contiguous(), contract.contiguous()
    num_tokens, num_features = x.shape[0], expand.shape[0]
    activated, seen, out = x.new_empty(num_tokens, num_features), x.new_empty(num_tokens, num_features), torch.empty_like(x)
    multiply(x, expand.t(), activated, GELU | AUX | (0 if expand_bias is None else BIAS), bias=expand_bias, seen=seen)
    multiply_linear(activated, contract, contract_bias, residual, out)
    return out, activated, seen


def multiply_slope(grad: torch.Tensor, contract: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The gradient of what GELU saw (N, F), from that of the result (N, D)."""
    seen_grad = torch.empty_like(seen)
    multiply(grad.contiguous(), contract.contiguous(), seen_grad, GELU_SLOPE | AUX, seen=seen)
    return seen_grad


# For the compiler, which asks of an operator only what it gives; calling them without one would import it, for two seconds.
_feed_forward = torch.library.custom_op("whelp::gelu_feed_forward", multiply_feed_forward, mutates_args=())
_slope_product = torch.library.custom_op("whelp::gelu_slope_product", multiply_slope, mutates_args=())


@_feed_forward.register_fake
def _(
    x: torch.Tensor,
    residual: torch.Tensor,
    expand: torch.Tensor,
    expand_bias: torch.Tensor | None,
    contract: torch.Tensor,
    contract_bias: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    features = (x.shape[0], expand.shape[0])
    return x.new_empty(x.shape), x.new_empty(features), x.new_empty(features)


@_slope_product.register_fake
def _(grad: torch.Tensor, contract: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(seen)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    x, _, expand, expand_bias, contract, contract_bias = inputs
    ctx.has_biases = expand_bias is not None, contract_bias is not None
    ctx.save_for_backward(x, expand, contract, *output[1:])


def _differentiate(ctx: Any, grad: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
    x, expand, contract, activated, seen = ctx.saved_tensors
    seen_grad = _slope_product(grad, contract, seen)
    biases = [part.sum(0) if has else None for part, has in zip((seen_grad, grad), ctx.has_biases, strict=True)]
    return seen_grad @ expand, grad, seen_grad.t() @ x, biases[0], grad.t() @ activated, biases[1]


_feed_forward.register_autograd(_differentiate, setup_context=_remember)


def gelu_feed_forward(
    x: torch.Tensor, residual: torch.Tensor, expand: torch.nn.Linear, contract: torch.nn.Linear
) -> torch.Tensor:
    """residual + contract(tanh-GELU(expand(x))), products in bf16: (..., D) -> (..., D); D and F multiples of 8."""
    parts = [expand.weight, expand.bias, contract.weight, contract.bias]
    narrow = [None if part is None else part.to(torch.bfloat16) for part in parts]
    flat = [tensor.to(torch.bfloat16).flatten(0, -2) for tensor in (x, residual)]
    out: torch.Tensor = _feed_forward(*flat, *narrow)[0]
    return out.view(x.shape)


@functools.cache
def agrees(device: torch.device) -> bool:
    """Whether the products run here, and give what PyTorch gives (value and gradients, with biases and without)."""
    if not torch.cuda.is_available() or torch.version.cuda is None:
        return False
    try:
        return all(_is_same(device, bias=bias) for bias in (True, False))
    except (OSError, RuntimeError, AttributeError):
        return False


def _is_same(device: torch.device, *, bias: bool) -> bool:
    draw = torch.Generator().manual_seed(0)
    expand, contract = torch.nn.Linear(64, 256, bias=bias), torch.nn.Linear(256, 64, bias=bias)
    x, residual, grad = torch.randn(3, 96, 64, generator=draw).to(device)
    with torch.no_grad():
        for parameter in (*expand.parameters(), *contract.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=draw) / 8)
    expand, contract = expand.to(device), contract.to(device)
    leaves = [x.requires_grad_(), residual.requires_grad_(), *expand.parameters(), *contract.parameters()]
    with torch.enable_grad():
        wanted = residual + contract(F.gelu(expand(x), approximate="tanh"))
        found = gelu_feed_forward(x, residual, expand, contract).float()
        pairs = [(found, wanted)]
        pairs += zip(torch.autograd.grad(found, leaves, grad), torch.autograd.grad(wanted, leaves, grad), strict=True)
    return all(measure_relative_error(one, other) <= TOLERANCE for one, other in pairs)
