"""Output head and cross-entropy in one, on a GPU: a slice of logits is read, and turned into its own gradient in place.

The gradient of softmax cross-entropy is `softmax - onehot`, known as soon as the logits are. The framework's own steps, compiled,
read the logits of a batch four times and write them twice; here they are written by the matrix product, read once from memory
(the second reading finds a row in the cache), and overwritten. Both products of the backward pass follow at once, so only one
slice of logits exists. Needs Triton, which comes with the framework's builds for GPUs.
Shapes: N tokens, n tokens of a slice, D width, V vocabulary.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import torch
import triton
import triton.language as tl

from whelp.base.beside_parameter import find_beside
from whelp.base.log import log
from whelp.model.gpu.eight_bits import MULTIPLE, measure_worth, multiply, round_flipped, round_up
from whelp.model.gpu.embedding import SharedGradient, find_place
from whelp.model.gpu.head_eight_bits import GRADIENT_FACTOR, write_gradient
from whelp.model.gpu.product import multiply_plain
from whelp.model.kernel_check import find_fault, measure_relative_error

_SLICE_SHARE = 32  # slices are at most this part of a GPU's memory
_SLICE_BYTES = 2 << 30  # of logits: slices this long cost no speed (16,384 tokens of 50,304 ids in bf16)
_EIGHT_BIT_SLICE_BYTES = 4 << 30  # with products of 8 bits twice as long ones are 4 % faster: 22.6 instead of 23.7 ms
# Of a program, which reads a row twice: few programs fit a multiprocessor, so all their rows fit the cache (100 KB each with 50,304 ids).
_BLOCK, _WARPS = 4096, 16
_READING_BLOCK, _READING_WARPS = 2048, 8  # of one that reads it once
_GROUP = tl.constexpr(4)  # numbers that a lane compares with each other first: then its sum shrinks once for all of them
_LOG2_E = tl.constexpr(1.4426950408889634)
_EIGHT_BIT_TOLERANCE = 0.12  # of gradients with factors of 8 bits from those of bf16, as a share of the length
_trying = threading.Lock()


@triton.jit  # type: ignore[untyped-decorator]
def _take_up(largest, total, values, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Each lane's largest number and sum of exponentials, after its group of a block: nothing is exchanged, its order is any."""
    values = tl.reshape(values.to(tl.float32), (BLOCK // _GROUP, _GROUP), can_reorder=True)
    new_largest = tl.maximum(largest, tl.max(values, 1))
    shares = tl.exp2(values * _LOG2_E - (new_largest * _LOG2_E)[:, None])
    return new_largest, total * tl.exp2((largest - new_largest) * _LOG2_E) + tl.sum(shares, 1)


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
    needs_normaliser: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program a row: its loss in nats; the row becomes softmax - onehot, or zeros where nothing is trained."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets + row)
    start = logits + row * row_stride
    columns = tl.arange(0, BLOCK)
    if target == ignored:
        tl.store(losses + row, 0.0)
        if needs_normaliser:
            tl.store(normalisers + row, float("inf"))
        if needs_gradient:
            for first in range(0, num_columns, BLOCK):
                place = first + columns
                zeros = tl.zeros((BLOCK,), dtype=logits.dtype.element_ty)
                tl.store(start + place, zeros, mask=place < num_columns)
        return
    # All exponents are of 2; what is special of the target is done to it alone, and of a row's end to the last block: arithmetic takes
    # as long here as memory does.
    largest = tl.full((BLOCK // _GROUP,), -1e30, dtype=tl.float32)
    total = tl.zeros((BLOCK // _GROUP,), dtype=tl.float32)
    whole = num_columns // BLOCK * BLOCK
    for first in range(0, whole, BLOCK):
        largest, total = _take_up(largest, total, tl.load(start + first + columns), BLOCK)
    if whole < num_columns:
        values = tl.load(start + whole + columns, mask=whole + columns < num_columns, other=-float("inf"))
        largest, total = _take_up(largest, total, values, BLOCK)
    top = tl.max(largest, 0)
    normaliser = top * _LOG2_E + tl.log2(tl.sum(total * tl.exp2((largest - top) * _LOG2_E), 0))
    chosen = tl.load(start + target).to(tl.float32) * _LOG2_E
    tl.store(losses + row, (normaliser - chosen) / _LOG2_E)
    if needs_normaliser:
        tl.store(normalisers + row, normaliser)
    if needs_gradient:
        for first in range(0, whole, BLOCK):
            place = start + first + columns
            gradient = tl.exp2(tl.load(place).to(tl.float32) * _LOG2_E - normaliser)
            tl.store(place, gradient.to(logits.dtype.element_ty))
        if whole < num_columns:
            mask = whole + columns < num_columns
            values = tl.load(start + whole + columns, mask=mask, other=-float("inf")).to(tl.float32)
            gradient = tl.exp2(values * _LOG2_E - normaliser)
            tl.store(start + whole + columns, gradient.to(logits.dtype.element_ty), mask=mask)
        tl.debug_barrier()  # the target is written twice, by two threads perhaps
        tl.store(start + target, (tl.exp2(chosen - normaliser) - 1.0).to(logits.dtype.element_ty))


def softmax_gradient(logits: torch.Tensor, targets: torch.Tensor, ignored: int, *, needs_gradient: bool) -> torch.Tensor:
    """Cross-entropy of every row in nats, (n,) float32; with `needs_gradient`, `logits` (n, V) become its gradient."""
    losses = torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device)
    _run_softmax(logits, targets, ignored, losses, losses, needs_gradient, False)
    return losses


def find_normalisers(logits: torch.Tensor, targets: torch.Tensor, ignored: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of every row in nats, and the logarithm to the base 2 of its sum of exponentials (endless where ignored)."""
    # Apart, so that both are aligned whatever their length is: kernels are compiled for that.
    losses, normalisers = (torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device) for _ in range(2))
    _run_softmax(logits, targets, ignored, losses, normalisers, False, True)
    return losses, normalisers


def _run_softmax(
    logits: torch.Tensor, targets: torch.Tensor, ignored: int, losses: torch.Tensor, normalisers: torch.Tensor, *needs: bool
) -> None:
    num_rows, num_columns = logits.shape
    most, warps = (_BLOCK, _WARPS) if needs[0] else (_READING_BLOCK, _READING_WARPS)
    given = logits, targets, losses, normalisers, logits.stride(0), num_columns, ignored
    block = min(max(triton.next_power_of_2(num_columns), _GROUP.value), most)
    _softmax_gradient[(num_rows,)](*given, *needs, block, num_warps=warps)


def warm_up_kernel(vocab_size: int, device: torch.device, *, needs_gradient: bool, eight_bits: bool = False) -> None:
    """Have the kernel compiled for logits in bf16; with `eight_bits` the one whose gradients are written by others, which are tried."""
    logits = torch.zeros(1, vocab_size, dtype=torch.bfloat16, device=device)
    targets = torch.zeros(1, dtype=torch.int64, device=device)
    if needs_gradient and eight_bits and has_working_eight_bits(device):
        find_normalisers(logits, targets, -100)
    else:
        softmax_gradient(logits, targets, -100, needs_gradient=needs_gradient)


def _slice_length(num_tokens: int, row_bytes: int, slice_bytes: int, device: torch.device) -> int:
    """Tokens of a slice: slices of one length, as few as `slice_bytes` and the memory of a small GPU allow."""
    if device.type == "cuda":
        slice_bytes = min(slice_bytes, torch.cuda.get_device_properties(device).total_memory // _SLICE_SHARE)
    longest = min(num_tokens, max(1, slice_bytes // row_bytes))
    return -(-num_tokens // -(-num_tokens // longest))


class _Head:
    """Logits, and gradients of hidden states (N, D) and weight (V, D), as far as they are wanted, summed up slice by slice."""

    def __init__(self, hidden: torch.Tensor, weight: torch.Tensor, *, needs_hidden: bool, needs_weight: bool) -> None:
        self._hidden, self._weight = hidden, weight
        self._hidden_grad = torch.empty_like(hidden) if needs_hidden else None
        self._weight_grad = torch.empty_like(weight, dtype=torch.float32) if needs_weight else None

    def multiply(self, part: slice, logits: torch.Tensor) -> None:
        """Fill the logits (n, V) of some tokens."""
        multiply_plain(self._hidden[part], self._weight.t(), logits)

    def add(self, start: int, logits: torch.Tensor, targets: torch.Tensor, ignored: int) -> torch.Tensor:
        """Take up the slice of tokens from `start` on; its losses. The logits (n, V) are lost."""
        needs_gradient = self._hidden_grad is not None or self._weight_grad is not None
        losses = softmax_gradient(logits, targets, ignored, needs_gradient=needs_gradient)
        part = slice(start, start + logits.shape[0])
        if self._hidden_grad is not None:
            multiply_plain(logits, self._weight, self._hidden_grad[part])
        if self._weight_grad is not None:
            multiply_plain(logits.t(), self._hidden[part], self._weight_grad, adds=start > 0)
        return losses

    def finish(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        return self._hidden_grad, self._weight_grad


class _EightBitHead:
    """As `_Head`, the products of the backward pass by factors of 8 bits; slices begin at multiples of 16 tokens."""

    def __init__(self, hidden: torch.Tensor, weight: torch.Tensor) -> None:
        (self._num_tokens, width), self._vocab_size = hidden.shape, weight.shape[0]
        self._hidden, self._weight = hidden, weight
        self._rows_worth, self._columns_worth = measure_worth(hidden), measure_worth(weight)
        self._rows = round_flipped(hidden.contiguous(), self._rows_worth)
        self._columns = round_flipped(weight.contiguous(), self._columns_worth)
        self._gradient_worth = torch.full((1,), 1 / GRADIENT_FACTOR.value, device=hidden.device)
        self._hidden_grad = hidden.new_empty(round_up(self._num_tokens), width)
        self._weight_grad: torch.Tensor | None = None

    def multiply(self, part: slice, logits: torch.Tensor) -> None:
        """As `_Head.multiply`."""
        multiply_plain(self._hidden[part], self._weight.t(), logits)

    def add(self, start: int, logits: torch.Tensor, targets: torch.Tensor, ignored: int) -> torch.Tensor:
        """As `_Head.add`."""
        losses, normalisers = find_normalisers(logits, targets, ignored)
        gradient, flipped = write_gradient(logits, targets, normalisers)
        part = slice(start, start + gradient.shape[0])
        multiply(gradient, self._columns, self._gradient_worth, self._columns_worth, out=self._hidden_grad[part])
        product = multiply(flipped, self._rows[:, part], self._gradient_worth, self._rows_worth)
        self._weight_grad = product if self._weight_grad is None else self._weight_grad.add_(product)
        return losses

    def finish(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight_grad = self._weight_grad
        return self._hidden_grad[: self._num_tokens], None if weight_grad is None else weight_grad[: self._vocab_size]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        ignored: int,
        shared: SharedGradient | None,
        eight_bits: bool,
    ) -> torch.Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        kind = hidden.device.type
        number = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        ctx.types = hidden.dtype, weight.dtype
        with torch.autocast(kind, enabled=False):
            kept = find_beside(weight, "narrow") if needs_weight and number == torch.bfloat16 else None
            rows, columns = hidden.to(number), weight.to(number) if kept is None else kept
            num_tokens, vocab_size = rows.shape[0], columns.shape[0]
            row_bytes = vocab_size * rows.element_size()
            head: _Head | _EightBitHead
            if eight_bits and needs_hidden and needs_weight:
                size = round_up(_slice_length(num_tokens, row_bytes, _EIGHT_BIT_SLICE_BYTES, hidden.device))
                head = _EightBitHead(rows, columns)
            else:
                size = _slice_length(num_tokens, row_bytes, _SLICE_BYTES, hidden.device)
                head = _Head(rows, columns, needs_hidden=needs_hidden, needs_weight=needs_weight)
            logits = rows.new_empty(size, vocab_size)
            loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
            for start in range(0, num_tokens, size):
                part = slice(start, min(start + size, num_tokens))
                piece = logits[: part.stop - start]  # (n, V)
                head.multiply(part, piece)
                loss += head.add(start, piece, targets[part], ignored).sum()
            ctx.save_for_backward(*head.finish())
        ctx.weight, ctx.shared = weight, shared
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
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
        return hidden_grad, weight_grad, None, None, None, None


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    ignored: int,
    shared: SharedGradient | None = None,
    *,
    eight_bits: bool = False,
) -> torch.Tensor:
    """Summed cross-entropy in nats of `hidden @ weight.T` against `targets`; a float32 scalar.

    Args:
        hidden: (N, D). weight: (V, D). targets: (N,), `ignored` where nothing is trained.
        shared: Of a pass in which the weight's gradient comes from here and from `shared`'s other owner alone: it is written where it
            is wanted, and said there.
        eight_bits: Whether factors of the backward pass may be rounded to 8 bits, where products are in bf16.
    """
    kind = hidden.device.type
    is_narrow = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    can_round = eight_bits and is_narrow and torch.is_grad_enabled() and hidden.shape[1] % MULTIPLE == 0
    is_rounded = can_round and has_working_eight_bits(hidden.device)
    loss: torch.Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, ignored, shared, is_rounded)
    return loss


def has_working_eight_bits(device: torch.device) -> bool:
    """Whether gradients by products of 8 bits are on this device those of bf16, but for rounding; tried once."""
    with _trying:  # in a thread of `warm_up`, perhaps
        return _try_eight_bits(device)


@functools.cache
def _try_eight_bits(device: torch.device) -> bool:
    fault = find_fault(lambda: _measure_eight_bit_errors(device), allowed=_EIGHT_BIT_TOLERANCE)
    if fault is not None:
        log.warning("the head's gradients stay in bf16, slower: those of 8 bits fail (%s)", fault)
    return fault is None


def _measure_eight_bit_errors(device: torch.device, vocab_size: int = 301) -> list[float]:
    """Relative distances of the gradients from those of bf16."""
    draw = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(count, 64, generator=draw).to(device, torch.bfloat16) for count in (25, vocab_size))
    hidden, weight = hidden.requires_grad_(), (weight / 4).requires_grad_()
    targets = torch.randint(0, vocab_size, (25,), generator=draw)
    targets[5] = -100
    found = []
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for eight_bits in (True, False):
            loss = _LinearCrossEntropy.apply(hidden, weight, targets.to(device), -100, None, eight_bits)
            found.append(torch.autograd.grad(loss, [hidden, weight]))
    return [measure_relative_error(*pair) for pair in zip(*found, strict=True)]
