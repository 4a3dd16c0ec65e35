"""Output head and cross-entropy in one, on a GPU: a slice of logits is read, and turned into its own gradient in place.

The gradient of softmax cross-entropy is `softmax - onehot`, known as soon as the logits are. The framework's own steps, compiled,
read the logits of a batch four times and write them twice; here they are written by the matrix product, read once from memory
(the second reading finds a row in the cache), and overwritten. Both products of the backward pass follow at once, so only one
slice of logits exists. Needs Triton, which comes with the framework's builds for GPUs.
Shapes: N tokens, n tokens of a slice, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from whelp.base.beside_parameter import find_beside
from whelp.model.gpu_embedding import SharedGradient, find_place

_SLICE_BYTES = 2 << 30  # of logits: slices this long cost no speed (16,384 tokens of 50,304 ids in bf16)
# Of a program, which reads a row twice: few programs fit a multiprocessor, so all their rows fit the cache (100 KB each with 50,304 ids).
_BLOCK, _WARPS = 4096, 16
_LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit  # type: ignore[untyped-decorator]
def _softmax_gradient(  # type: ignore[no-untyped-def]
    logits,
    targets,
    losses,
    row_stride,
    num_columns: tl.constexpr,
    ignored,
    needs_gradient: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program a row: its loss in nats; the row becomes softmax - onehot, or zeros where nothing is trained."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets + row)
    start = logits + row * row_stride
    columns = tl.arange(0, BLOCK)
    if target == ignored:
        tl.store(losses + row, 0.0)
        if needs_gradient:
            for first in range(0, num_columns, BLOCK):
                place = first + columns
                zeros = tl.zeros((BLOCK,), dtype=logits.dtype.element_ty)
                tl.store(start + place, zeros, mask=place < num_columns)
        return
    # Each lane has a largest number and a sum of its own, with one exponential a number: nothing is exchanged until the end. All
    # exponents are of 2, and what is special of the target is done to it alone: arithmetic takes as long here as memory does.
    largest = tl.full((BLOCK,), -1e30, dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for first in range(0, num_columns, BLOCK):
        place = first + columns
        values = tl.load(start + place, mask=place < num_columns, other=-float("inf")).to(tl.float32) * _LOG2_E
        share = tl.exp2(-tl.abs(values - largest))
        total = tl.where(values > largest, total * share + 1.0, total + share)
        largest = tl.maximum(largest, values)
    top = tl.max(largest, 0)
    normaliser = top + tl.log2(tl.sum(total * tl.exp2(largest - top), 0))
    chosen = tl.load(start + target).to(tl.float32) * _LOG2_E
    tl.store(losses + row, (normaliser - chosen) / _LOG2_E)
    if needs_gradient:
        for first in range(0, num_columns, BLOCK):
            place = first + columns
            values = tl.load(start + place, mask=place < num_columns, other=-float("inf")).to(tl.float32)
            gradient = tl.exp2(values * _LOG2_E - normaliser)
            tl.store(start + place, gradient.to(logits.dtype.element_ty), mask=place < num_columns)
        tl.debug_barrier()  # the target is written twice, by two threads perhaps
        tl.store(start + target, (tl.exp2(chosen - normaliser) - 1.0).to(logits.dtype.element_ty))


def softmax_gradient(logits: torch.Tensor, targets: torch.Tensor, ignored: int, *, needs_gradient: bool) -> torch.Tensor:
    """Cross-entropy of every row in nats, (n,) float32; with `needs_gradient`, `logits` (n, V) become its gradient."""
    losses = torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device)
    block = min(triton.next_power_of_2(logits.shape[1]), _BLOCK)
    _softmax_gradient[(logits.shape[0],)](
        logits, targets, losses, logits.stride(0), logits.shape[1], ignored, needs_gradient, block, num_warps=_WARPS
    )
    return losses


def warm_up_kernel(vocab_size: int, device: torch.device, *, needs_gradient: bool) -> None:
    """Have the kernel compiled for logits in bf16."""
    logits = torch.zeros(1, vocab_size, dtype=torch.bfloat16, device=device)
    targets = torch.zeros(1, dtype=torch.int64, device=device)
    softmax_gradient(logits, targets, -100, needs_gradient=needs_gradient)


def _slice_length(num_tokens: int, row_bytes: int) -> int:
    """Tokens of a slice: slices of one length, as few as `_SLICE_BYTES` allows."""
    longest = min(num_tokens, max(1, _SLICE_BYTES // row_bytes))
    return -(-num_tokens // -(-num_tokens // longest))


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        ignored: int,
        shared: SharedGradient | None,
    ) -> torch.Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        kind = hidden.device.type
        number = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        ctx.types = hidden.dtype, weight.dtype
        with torch.autocast(kind, enabled=False):
            kept = find_beside(weight, "narrow") if needs_weight and number == torch.bfloat16 else None
            rows, columns = hidden.to(number), weight.to(number) if kept is None else kept
            num_tokens, vocab_size = rows.shape[0], columns.shape[0]
            size = _slice_length(num_tokens, vocab_size * rows.element_size())
            logits = rows.new_empty(size, vocab_size)
            hidden_grad = torch.empty_like(rows) if needs_hidden else None
            weight_grad = None
            loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
            for start in range(0, num_tokens, size):
                part = slice(start, min(start + size, num_tokens))
                piece = torch.mm(rows[part], columns.t(), out=logits[: part.stop - start])  # (n, V)
                is_trained = needs_hidden or needs_weight
                loss += softmax_gradient(piece, targets[part], ignored, needs_gradient=is_trained).sum()
                if hidden_grad is not None:
                    torch.mm(piece, columns, out=hidden_grad[part])
                if needs_weight:
                    weight_grad = _add_product(weight_grad, piece.t(), rows[part])
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.weight, ctx.shared = weight, shared
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None]:
        (grad,) = grads  # one number: both gradients are made, but for this factor
        hidden_grad, weight_grad = ctx.saved_tensors
        hidden_type, weight_type = ctx.types
        if hidden_grad is not None:
            hidden_grad = (hidden_grad * grad).to(hidden_type)
        if weight_grad is not None:
            place = None if ctx.shared is None else find_place(ctx.weight)
            if place is None:
                weight_grad = (weight_grad * grad).to(weight_type)
            else:
                ctx.shared.place = place
                weight_grad = torch.mul(weight_grad, grad, out=place.detach())  # of one owner, so that autograd keeps it
        return hidden_grad, weight_grad, None, None, None


def _add_product(total: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """total + left @ right, summed in float32 whatever the factors are."""
    if not left.is_cuda:
        left, right = left.float(), right.float()
    if left.dtype == torch.float32:
        return torch.mm(left, right) if total is None else total.addmm_(left, right)
    if total is None:
        return torch.mm(left, right, out_dtype=torch.float32)
    return torch.addmm(total, left, right, out_dtype=torch.float32)


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, ignored: int, shared: SharedGradient | None = None
) -> torch.Tensor:
    """Summed cross-entropy in nats of `hidden @ weight.T` against `targets`; a float32 scalar.

    Args:
        hidden: (N, D). weight: (V, D). targets: (N,), `ignored` where nothing is trained.
        shared: Of a pass in which the weight's gradient comes from here and from `shared`'s other owner alone: it is written where it
            is wanted, and said there.
    """
    loss: torch.Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, ignored, shared)
    return loss
