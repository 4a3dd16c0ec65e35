"""SwiGLU on a GPU: the gradients of both halves are written where they belong, in one pass.

What the compiler makes of the two joined halves computes each of them twice: 7.9 of a step's 132 ms on an H200 (12 layers, width
768, 65,536 tokens); this takes 4. An operator of its own, so that the compiler leaves it alone.
Shapes: N rows (all leading sizes), F feed-forward width.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

_BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _forward(gate_up, out, num_numbers, F: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    is_inside = place < num_numbers
    start = gate_up + place // F * (2 * F) + place % F
    gate = tl.load(start, mask=is_inside).to(tl.float32)
    up = tl.load(start + F, mask=is_inside).to(tl.float32)
    tl.store(out + place, (gate * tl.sigmoid(gate) * up).to(out.dtype.element_ty), mask=is_inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(grad, gate_up, out, num_numbers, F: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    is_inside = place < num_numbers
    offset = place // F * (2 * F) + place % F
    gate = tl.load(gate_up + offset, mask=is_inside).to(tl.float32)
    up = tl.load(gate_up + offset + F, mask=is_inside).to(tl.float32)
    upstream = tl.load(grad + place, mask=is_inside).to(tl.float32)
    share = tl.sigmoid(gate)
    activated = gate * share
    gate_grad = upstream * up * (share + activated * (1.0 - share))
    tl.store(out + offset, gate_grad.to(out.dtype.element_ty), mask=is_inside)
    tl.store(out + offset + F, (upstream * activated).to(out.dtype.element_ty), mask=is_inside)


@torch.library.custom_op("whelp::swiglu", mutates_args=())
def swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up: (..., 2F) -> (..., F)"""
    width = gate_up.shape[-1] // 2
    out = gate_up.new_empty(*gate_up.shape[:-1], width)
    _forward[(triton.cdiv(out.numel(), _BLOCK),)](gate_up.contiguous(), out, out.numel(), width, _BLOCK)
    return out


@torch.library.custom_op("whelp::swiglu_backward", mutates_args=())
def _swiglu_backward(grad: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(gate_up, memory_format=torch.contiguous_format)
    grad, gate_up = grad.contiguous(), gate_up.contiguous()
    _backward[(triton.cdiv(grad.numel(), _BLOCK),)](grad, gate_up, out, grad.numel(), grad.shape[-1], _BLOCK)
    return out


@swiglu.register_fake
def _(gate_up: torch.Tensor) -> torch.Tensor:
    return gate_up.new_empty(*gate_up.shape[:-1], gate_up.shape[-1] // 2)


@_swiglu_backward.register_fake
def _(grad: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(gate_up, memory_format=torch.contiguous_format)


def _remember(ctx: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
    ctx.save_for_backward(inputs[0])


def _differentiate(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
    (gate_up,) = ctx.saved_tensors
    result: torch.Tensor = _swiglu_backward(grad, gate_up)
    return result


swiglu.register_autograd(_differentiate, setup_context=_remember)
