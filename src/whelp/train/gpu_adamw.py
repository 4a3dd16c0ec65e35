"""AdamW on a GPU in one pass over flat buffers, with the clipping of the gradient in it.

PyTorch's fused step reads and writes the gradient once more to scale it. On an H200 with 124 million parameters clipping and
step took 1.9 ms, of the 17 ms of a step of 8 rows. Needs Triton, which comes with the framework's builds for GPUs.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from whelp.train.adamw import AdamW

_BLOCK = 1024
_BETAS, _EPSILON = (0.9, 0.95), 1e-8  # of the comparison


@triton.jit  # type: ignore[untyped-decorator]
def _update(  # type: ignore[no-untyped-def]
    weights, gradients, means, squares, narrow, scale, num_numbers,
    kept, size, keeps_mean, takes_mean, keeps_square, takes_square, square_root, epsilon,
    HAS_NARROW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    is_inside = place < num_numbers
    gradient = tl.load(gradients + place, mask=is_inside) * tl.load(scale)
    mean = tl.load(means + place, mask=is_inside) * keeps_mean + gradient * takes_mean
    square = tl.load(squares + place, mask=is_inside) * keeps_square + gradient * gradient * takes_square
    weight = tl.load(weights + place, mask=is_inside) * kept - size * tl.div_rn(
        mean, tl.sqrt_rn(square) / square_root + epsilon
    )
    tl.store(means + place, mean, mask=is_inside)
    tl.store(squares + place, square, mask=is_inside)
    tl.store(weights + place, weight, mask=is_inside)
    if HAS_NARROW:
        tl.store(narrow + place, weight.to(tl.bfloat16), mask=is_inside)


def update(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    state: dict[str, torch.Tensor],
    scale: torch.Tensor,
    narrow: torch.Tensor | None = None,
    *,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
) -> None:
    """Take a step of AdamW (Loshchilov & Hutter 2019) in place, with `gradients` times `scale`; they are left as they are.

    Args:
        weights: (N,) float32, and so are gradients and the state's `exp_avg` and `exp_avg_sq`, as `torch.optim.AdamW` names them.
        state: Its `step`, steps taken so far, lies on the CPU.
        scale: One number, on the device.
        narrow: (N,) bf16, becomes the new weights rounded.
    """
    state["step"] += 1
    step, (beta1, beta2) = int(state["step"]), betas
    _update[(triton.cdiv(weights.numel(), _BLOCK),)](
        weights, gradients, state["exp_avg"], state["exp_avg_sq"], weights if narrow is None else narrow, scale,
        weights.numel(),
        1.0 - learning_rate * weight_decay, learning_rate / (1.0 - beta1**step),
        beta1, 1.0 - beta1, beta2, 1.0 - beta2, (1.0 - beta2**step) ** 0.5, epsilon,
        narrow is not None, _BLOCK,
    )  # fmt: skip


def make_state(weights: torch.Tensor) -> dict[str, Any]:
    """The state before the first step."""
    return {"step": torch.zeros(()), "exp_avg": torch.zeros_like(weights), "exp_avg_sq": torch.zeros_like(weights)}


def measure_error(device: torch.device) -> float:
    """How far three steps take the weights from where PyTorch's take them, as a share of the way."""
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(5000, generator=draw).to(device)
    ours, state, plain = weights.clone(), make_state(weights), torch.nn.Parameter(weights.clone())
    adam = AdamW([{"params": [plain], "lr": 1e-2, "weight_decay": 0.1}], betas=_BETAS, eps=_EPSILON)
    scale, narrow = torch.full((), 0.3, device=device), weights.to(torch.bfloat16)
    for _ in range(3):
        gradient = torch.randn(5000, generator=draw).to(device)
        plain.grad = gradient * scale
        adam.step()
        update(ours, gradient, state, scale, narrow, learning_rate=1e-2, betas=_BETAS, epsilon=_EPSILON, weight_decay=0.1)
    if weights.is_cuda and not torch.equal(narrow, ours.to(torch.bfloat16)):  # Triton's interpreter on a CPU does not round
        return float("inf")
    return float(((ours - plain).norm() / (plain - weights).norm()).detach())
