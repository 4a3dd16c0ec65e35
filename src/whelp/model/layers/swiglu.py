"""SwiGLU (Shazeer 2020): silu(gate) * up, for gate and up side by side in one tensor.

Shapes: ... any leading sizes, F feed-forward width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from whelp.model.gpu.triton_support import HAS_TRITON

if HAS_TRITON:
    from whelp.model.gpu import swiglu as gpu_swiglu


def swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    """(..., 2F) -> (..., F)"""
    if gate_up.device.type == "cpu" and not torch.compiler.is_compiling():
        mixed: torch.Tensor = _CpuSwiGLU.apply(gate_up)
        return mixed
    if HAS_TRITON and gate_up.is_cuda:
        mixed = gpu_swiglu.swiglu(gate_up)
        return mixed
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


class _CpuSwiGLU(torch.autograd.Function):
    """Writes the two halves of the gradient where they belong, instead of joining them afterwards."""

    @staticmethod
    def forward(ctx: Any, gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        activated = F.silu(gate)
        ctx.save_for_backward(gate_up, activated)
        return activated * up

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (grad,) = grads
        gate_up, activated = ctx.saved_tensors
        result = torch.empty_like(gate_up)
        (gate, up), (gate_grad, up_grad) = gate_up.chunk(2, dim=-1), result.chunk(2, dim=-1)
        torch.mul(grad, activated, out=up_grad)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=gate_grad)
        return result
