"""Output head and cross-entropy in one, on a GPU: a slice of logits is read, and turned into its own gradient in place.

The gradient of softmax cross-entropy is `softmax - onehot`, known as soon as the logits are. The framework's own steps, compiled,
read the logits of a batch four times and write them twice; here they are written by the matrix product, read once from memory
(the second reading finds a row in the cache), and overwritten. Both products of the backward pass follow at once, so only one
slice of logits exists. Needs Triton, which comes with the framework's builds for GPUs.
Shapes: N tokens, n tokens of a slice, D width, V vocabulary.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl

_FP8_SCALE = 32768.0  # e5m2 reaches 57,344; below 2^-29 a softmax is taken for zero
_SLICE_BYTES = 2 << 30  # of logits: slices this long cost no speed (16,384 tokens of 50,304 ids in bf16)


@triton.jit  # type: ignore[untyped-decorator]
def _softmax_gradient(  # type: ignore[no-untyped-def]
    logits,
    targets,
    losses,
    normalisers,
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
    largest = -float("inf")
    total = 0.0
    for first in range(0, num_columns, BLOCK):
        place = first + columns
        values = tl.load(start + place, mask=place < num_columns, other=-float("inf")).to(tl.float32)
        new_largest = tl.maximum(largest, tl.max(values))
        total = total * tl.exp(largest - new_largest) + tl.sum(tl.exp(values - new_largest))
        largest = new_largest
    normaliser = largest + tl.log(total)
    chosen = tl.load(start + target).to(tl.float32)
    tl.store(losses + row, normaliser - chosen)
    tl.store(normalisers + row, normaliser)
    if needs_gradient:
        for first in range(0, num_columns, BLOCK):
            place = first + columns
            values = tl.load(start + place, mask=place < num_columns, other=-float("inf")).to(tl.float32)
            gradient = tl.exp(values - normaliser) - tl.where(place == target, 1.0, 0.0)
            tl.store(start + place, gradient.to(logits.dtype.element_ty), mask=place < num_columns)


def softmax_gradient(logits: torch.Tensor, targets: torch.Tensor, ignored: int, *, needs_gradient: bool) -> torch.Tensor:
    """Cross-entropy of every row in nats, (n,) float32; with `needs_gradient`, `logits` (n, V) become its gradient."""
    return _run_softmax(logits, targets, ignored, needs_gradient)[0]


def _run_softmax(
    logits: torch.Tensor, targets: torch.Tensor, ignored: int, needs_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and normaliser (log of the summed exponentials) of every row."""
    losses, normalisers = torch.empty(2, logits.shape[0], dtype=torch.float32, device=logits.device).unbind()
    block = min(triton.next_power_of_2(logits.shape[1]), 8192)
    grid = (logits.shape[0],)
    _softmax_gradient[grid](
        logits, targets, losses, normalisers, logits.stride(0), logits.shape[1], ignored, needs_gradient, block, num_warps=8
    )
    return losses, normalisers


def _scale_gradients(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
    """The gradients that the forward pass has made, times what comes from above (one number)."""
    (grad,) = grads
    hidden_grad, weight_grad = ctx.saved_tensors
    hidden_type, weight_type = ctx.types
    if hidden_grad is not None:
        hidden_grad = (hidden_grad * grad).to(hidden_type)
    if weight_grad is not None:
        weight_grad = (weight_grad * grad).to(weight_type)
    return hidden_grad, weight_grad, None, None


def _slice_length(num_tokens: int, row_bytes: int, multiple: int = 1) -> int:
    """Tokens of a slice: slices of one length, as few as `_SLICE_BYTES` allows."""
    longest = min(num_tokens, max(1, _SLICE_BYTES // row_bytes))
    length = -(-num_tokens // -(-num_tokens // longest))
    return -(-length // multiple) * multiple


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, ignored: int) -> torch.Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        kind = hidden.device.type
        number = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        ctx.types = hidden.dtype, weight.dtype
        with torch.autocast(kind, enabled=False):
            rows, columns = hidden.to(number), weight.to(number)
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
        return loss

    backward = staticmethod(_scale_gradients)


@triton.jit  # type: ignore[untyped-decorator]
def _narrow_gradient(  # type: ignore[no-untyped-def]
    logits,
    targets,
    normalisers,
    out,
    turned,
    num_rows,
    ignored,
    scale,
    num_columns: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A tile of softmax - onehot in 8 bits, as it is and turned: tensor cores take such numbers only row by row."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_row, is_inside = rows < num_rows, (rows < num_rows)[:, None] & (columns < num_columns)[None, :]
    target = tl.load(targets + rows, mask=is_row, other=ignored)
    normaliser = tl.load(normalisers + rows, mask=is_row, other=0.0)
    values = tl.load(logits + rows[:, None] * num_columns + columns[None, :], mask=is_inside, other=0.0).to(tl.float32)
    gradient = tl.exp(values - normaliser[:, None]) - tl.where(columns[None, :] == target[:, None], 1.0, 0.0)
    gradient = tl.where((target != ignored)[:, None], gradient * scale, 0.0).to(tl.float8e5)
    tl.store(out + rows[:, None] * num_columns + columns[None, :], gradient, mask=is_inside)
    tl.store(turned + columns[:, None].to(tl.int64) * num_rows + rows[None, :], tl.trans(gradient), mask=tl.trans(is_inside))


def _to_fp8(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """8-bit numbers, and the one factor to multiply them by."""
    factor = (tensor.abs().amax().float() / torch.finfo(torch.float8_e4m3fn).max).clamp(min=1e-12)
    return (tensor.float() / factor).to(torch.float8_e4m3fn), factor


class _Fp8LinearCrossEntropy(torch.autograd.Function):
    """All three products in 8 bits: weights and hidden states as e4m3, the gradient of the logits as e5m2 (it is in -1 .. 1)."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, ignored: int) -> torch.Tensor:
        needs_grad = any(ctx.needs_input_grad[:2])
        ctx.types = hidden.dtype, weight.dtype
        product = functools.partial(torch._scaled_mm, use_fast_accum=True)
        with torch.autocast(hidden.device.type, enabled=False):
            rows, row_factor = _to_fp8(hidden.bfloat16())
            columns, column_factor = _to_fp8(weight.bfloat16())
            columns_turned = columns.t().contiguous()  # (D, V)
            num_tokens, vocab_size = rows.shape[0], columns.shape[0]
            size = _slice_length(num_tokens, vocab_size * 2, multiple=16)
            one_part = torch.full((), 1.0 / _FP8_SCALE, device=hidden.device)
            hidden_grad = torch.empty(hidden.shape, dtype=torch.bfloat16, device=hidden.device) if needs_grad else None
            weight_grad = None
            loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
            for start in range(0, num_tokens, size):
                part = slice(start, min(start + size, num_tokens))
                logits = product(rows[part], columns.t(), row_factor, column_factor, out_dtype=torch.bfloat16)  # (n, V)
                count = logits.shape[0]
                losses, normalisers = _run_softmax(logits, targets[part], ignored, False)
                loss += losses.sum()
                if hidden_grad is None:
                    continue
                grad = torch.empty(count, vocab_size, dtype=torch.float8_e5m2, device=hidden.device)
                turned = torch.empty(vocab_size, count, dtype=torch.float8_e5m2, device=hidden.device)
                grid = (triton.cdiv(count, 64), triton.cdiv(vocab_size, 128))
                _narrow_gradient[grid](
                    logits,
                    targets[part],
                    normalisers,
                    grad,
                    turned,
                    count,
                    ignored,
                    _FP8_SCALE,
                    vocab_size,
                    64,
                    128,
                    num_warps=4,
                )
                hidden_grad[part] = product(grad, columns_turned.t(), one_part, column_factor, out_dtype=torch.bfloat16)
                rows_turned = rows[part].t().contiguous()  # (D, n)
                piece = product(turned, rows_turned.t(), one_part, row_factor, out_dtype=torch.float32)
                weight_grad = piece if weight_grad is None else weight_grad.add_(piece)
        ctx.save_for_backward(hidden_grad, weight_grad)
        return loss

    backward = staticmethod(_scale_gradients)


def _add_product(total: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """total + left @ right, summed in float32 whatever the factors are."""
    if left.dtype == torch.float32:
        return torch.mm(left, right) if total is None else total.addmm_(left, right)
    if total is None:
        return torch.mm(left, right, out_dtype=torch.float32)
    return torch.addmm(total, left, right, out_dtype=torch.float32)


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, ignored: int, *, uses_fp8: bool = False
) -> torch.Tensor:
    """Summed cross-entropy in nats of `hidden @ weight.T` against `targets`; a float32 scalar.

    Args:
        hidden: (N, D). weight: (V, D). targets: (N,), `ignored` where nothing is trained.
        uses_fp8: Products of 8-bit numbers, where N, V and D are multiples of 16 and the GPU has them (Hopper and later).
    """
    is_narrow = uses_fp8 and all(size % 16 == 0 for size in (*hidden.shape, weight.shape[0]))
    function = _Fp8LinearCrossEntropy if is_narrow else _LinearCrossEntropy
    loss: torch.Tensor = function.apply(hidden, weight, targets, ignored)
    return loss
