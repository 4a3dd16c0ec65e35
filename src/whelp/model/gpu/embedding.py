"""Embeddings of ids and positions on a GPU: one kernel forward, one backward, which adds to the gradient that the head has left.

The framework's own look up, add and round in three passes over float32, and where head and embedding share a weight, make two gradients
of its size: one is cleared, filled and added to the other, and the sum is moved to where it is wanted. That is 0.4 ms of every step.
Shapes: B rows, T tokens in a row, D width, V vocabulary, P positions.
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
from whelp.model.kernel_check import find_fault, measure_relative_error

# Distances from the framework's results, as shares of their lengths: rounding to bf16, and sums of float32 in another order.
_ROUNDING, _SUM_ROUNDING = 0.008, 1e-5
_trying = threading.Lock()


class SharedGradient:
    """Where in one pass over the model the head has left its gradient of a weight that the embedding shares."""

    def __init__(self) -> None:
        self.place: torch.Tensor | None = None


def find_place(weight: torch.Tensor) -> torch.Tensor | None:
    """Where the whole gradient of a weight is wanted, if that is known, and nothing is there to be added to."""
    return find_beside(weight, "gradient") if weight.grad is None else None


@triton.jit  # type: ignore[untyped-decorator]
def _look_up(  # type: ignore[no-untyped-def]
    ids, positions, words, places, out, num_tokens, D: tl.constexpr, HAS_POSITIONS: tl.constexpr, BLOCK: tl.constexpr
):
    """One program a token."""
    row, token = tl.program_id(0).to(tl.int64), tl.program_id(1)
    number = row * num_tokens + token
    columns = tl.arange(0, BLOCK)
    is_inside = columns < D
    position = tl.load(positions + number) if HAS_POSITIONS else token.to(tl.int64)
    word = tl.load(words + tl.load(ids + number) * D + columns, mask=is_inside, other=0.0)
    place = tl.load(places + position * D + columns, mask=is_inside, other=0.0)
    tl.store(out + number * D + columns, (word + place).to(out.dtype.element_ty), mask=is_inside)


@triton.jit(do_not_specialize=["num_rows"])  # type: ignore[untyped-decorator]
def _add_gradients(  # type: ignore[no-untyped-def]
    ids, positions, grad, words, places, num_rows, num_tokens,
    D: tl.constexpr, HAS_POSITIONS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program for one token of all rows: added to its word's gradient; the sum is that of its position."""
    token = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    is_inside = columns < D
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(num_rows):
        number = row * num_tokens + token
        part = tl.load(grad + number * D + columns, mask=is_inside, other=0.0).to(tl.float32)
        tl.atomic_add(words + tl.load(ids + number) * D + columns, part, mask=is_inside, sem="relaxed")
        if HAS_POSITIONS:
            tl.atomic_add(places + tl.load(positions + number) * D + columns, part, mask=is_inside, sem="relaxed")
        else:
            total += part
    if not HAS_POSITIONS:
        tl.store(places + token * D + columns, total, mask=is_inside)


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        ids: torch.Tensor,
        positions: torch.Tensor | None,
        words: torch.Tensor,
        places: torch.Tensor,
        shared: SharedGradient | None,
    ) -> torch.Tensor:
        (num_rows, num_tokens), width = ids.shape, words.shape[1]
        ids = ids.contiguous()
        positions = None if positions is None else positions.contiguous()
        out = torch.empty(num_rows, num_tokens, width, dtype=torch.bfloat16, device=words.device)
        given = ids, ids if positions is None else positions, words, places
        has_positions, block = positions is not None, triton.next_power_of_2(width)
        _look_up[(num_rows, num_tokens)](*given, out, num_tokens, width, has_positions, block, num_warps=4)
        ctx.save_for_backward(ids, positions)
        ctx.weights, ctx.shared = (words, places), shared
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        ids, positions = ctx.saved_tensors
        words, places = ctx.weights
        (num_rows, num_tokens), has_positions = ids.shape, positions is not None
        left = None if ctx.shared is None else ctx.shared.place
        word_grad = _clear_place(words) if left is None else left
        wanted = find_place(places)
        place_grad = torch.empty_like(places) if wanted is None else wanted.detach()
        place_grad[0 if has_positions else num_tokens :].zero_()
        _add_gradients[(num_tokens,)](
            ids, positions if has_positions else ids, grads[0].contiguous(), word_grad, place_grad,
            num_rows, num_tokens, words.shape[1], has_positions, triton.next_power_of_2(words.shape[1]), num_warps=4,
        )  # fmt: skip
        return None, None, word_grad if left is None else None, place_grad, None


def _clear_place(weight: torch.Tensor) -> torch.Tensor:
    wanted = find_place(weight)
    return torch.zeros_like(weight) if wanted is None else wanted.detach().zero_()


def embed(
    ids: torch.Tensor,
    positions: torch.Tensor | None,
    words: torch.Tensor,
    places: torch.Tensor,
    *,
    shared: SharedGradient | None = None,
) -> torch.Tensor:
    """Embeddings of ids plus those of positions, (B, T) -> (B, T, D) in bf16, rounded once.

    Args:
        positions: (B, T); None: 0, 1, 2, ... in every row.
        words: (V, D) float32. places: (P, D) float32.
        shared: Whether the head of the same pass has left its gradient of `words` somewhere is asked in the backward pass.
    """
    out: torch.Tensor = _Embed.apply(ids, positions, words, places, shared)
    return out


def has_working_kernels(device: torch.device, width: int) -> bool:
    """Whether values and gradients on this device are those of the framework; tried once."""
    with _trying:  # in a thread of `warm_up`, perhaps
        return _try_kernels(device, width)


@functools.cache
def _try_kernels(device: torch.device, width: int) -> bool:
    fault = find_fault(lambda: _measure_errors(device, width), allowed=1.0)
    if fault is not None:
        log.warning("embeddings are looked up in several passes, slower: kernels of our own fail (%s)", fault)
    return fault is None


def _measure_errors(device: torch.device, width: int) -> list[float]:
    """Relative distances of values and gradients from the framework's, as shares of what rounding explains."""
    draw = torch.Generator().manual_seed(0)
    words, places = (torch.randn(count, width, generator=draw).to(device).requires_grad_() for count in (50, 32))
    ids = torch.randint(0, 9, (3, 16), generator=draw).to(device)
    positions = torch.randint(0, 32, (3, 16), generator=draw).to(device)
    grad = torch.randn(3, 16, width, generator=draw).to(device, torch.bfloat16)
    errors = []
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for given in (None, positions):
            wanted = words[ids] + places[torch.arange(16, device=device) if given is None else given]
            found = embed(ids, given, words, places)
            errors.append(measure_relative_error(found, wanted) / _ROUNDING)
            ours, plain = (torch.autograd.grad(out, [words, places], grad.to(out.dtype)) for out in (found, wanted))
            errors += [measure_relative_error(*pair) / _SUM_ROUNDING for pair in zip(ours, plain, strict=True)]
    return errors
