"""Attention within the documents of packed rows on a GPU: kernels that skip the blocks of keys which no query of theirs sees.

`flex_attention` does as much, and takes the framework's compiler twenty seconds; these are ready in two. They read queries, keys and
values where the one product for all three has put them, and write their gradients there as well. What a query sees is told by where its
document starts; where a key's document ends tells who sees the key. Sizes depend on (B, T) alone.
Dao et al. 2022, "FlashAttention": softmax block by block, and again in the backward pass. Exponents are of 2.
Shapes: B rows, T tokens, H heads, K head width, D = H x K.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from whelp.base.log import log
from whelp.model.kernel_check import find_fault, measure_relative_error
from whelp.model.layers.document_boundaries import Spans, make_spans

_NOTHING = tl.constexpr(-1e30)  # a score of what is not seen; finite, so that a block without anything seen makes no NaN
_LARGEST_ERROR = 0.02  # of kernels in bf16 beside float32, as a share of the whole
MULTIPLE = 128  # of tokens in a row
_trying = threading.Lock()


class _Tiles(NamedTuple):
    """Queries and keys of a block, and how a kernel is run."""

    queries: int
    keys: int
    warps: int
    stages: int


_FORWARD, _KEYS, _QUERIES = _Tiles(64, 64, 4, 3), _Tiles(64, 64, 4, 2), _Tiles(64, 64, 4, 3)


@triton.jit  # type: ignore[untyped-decorator]
def _attend_to(  # type: ignore[no-untyped-def]
    total, largest, weight_sum, query, keys, values, first, last, rows, row_starts, stride, factor,
    K: tl.constexpr, KEYS: tl.constexpr, IS_MASKED: tl.constexpr,
):  # fmt: skip
    """Take up the keys from `first` to `last`."""
    columns = tl.arange(0, K)
    for begin in range(first, last, KEYS):
        tokens = begin + tl.arange(0, KEYS)
        place = tokens[:, None] * stride + columns[None, :]
        score = tl.dot(query, tl.trans(tl.load(keys + place))) * factor
        if IS_MASKED:
            is_seen = (tokens[None, :] <= rows[:, None]) & (tokens[None, :] >= row_starts[:, None])
            score = tl.where(is_seen, score, _NOTHING)
        new_largest = tl.maximum(largest, tl.max(score, 1))
        share = tl.exp2(score - new_largest[:, None])
        shrinks = tl.exp2(largest - new_largest)
        weight_sum = weight_sum * shrinks + tl.sum(share, 1)
        value = tl.load(values + place)
        total = tl.dot(share.to(value.dtype), value, total * shrinks[:, None])
        largest = new_largest
    return total, largest, weight_sum


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    joined, starts, out, norms, num_tokens, factor,
    H: tl.constexpr, K: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """One program for a block of queries of one head; the longest rows of blocks first."""
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    row, head = tl.program_id(1).to(tl.int64) // H, tl.program_id(1) % H
    stride = 3 * H * K
    base = joined + row * num_tokens * stride + head * K
    first_query = block * QUERIES
    rows = first_query + tl.arange(0, QUERIES)
    columns = tl.arange(0, K)
    row_starts = tl.load(starts + row * num_tokens + rows)
    first_start = tl.load(starts + row * num_tokens + first_query)
    last_start = tl.load(starts + row * num_tokens + first_query + QUERIES - 1)
    query = tl.load(base + rows[:, None] * stride + columns[None, :])
    keys, values = base + H * K, base + 2 * H * K
    total = tl.zeros((QUERIES, K), dtype=tl.float32)
    largest = tl.full((QUERIES,), _NOTHING, dtype=tl.float32)
    weight_sum = tl.zeros((QUERIES,), dtype=tl.float32)
    begin = first_start // KEYS * KEYS
    diagonal = first_query // KEYS * KEYS
    whole = tl.minimum((last_start + KEYS - 1) // KEYS * KEYS, diagonal)
    total, largest, weight_sum = _attend_to(
        total, largest, weight_sum, query, keys, values, begin, whole, rows, row_starts, stride, factor, K, KEYS, True
    )
    total, largest, weight_sum = _attend_to(
        total, largest, weight_sum, query, keys, values, whole, diagonal, rows, row_starts, stride, factor, K, KEYS, False
    )
    total, largest, weight_sum = _attend_to(
        total, largest, weight_sum, query, keys, values, diagonal, first_query + QUERIES, rows, row_starts, stride, factor,
        K, KEYS, True,
    )  # fmt: skip
    mixed = total / weight_sum[:, None]
    place = (row * num_tokens + rows)[:, None] * (H * K) + head * K + columns[None, :]
    tl.store(out + place, mixed.to(out.dtype.element_ty))
    tl.store(norms + (row * H + head) * num_tokens + rows, largest + tl.log2(weight_sum))


@triton.jit  # type: ignore[untyped-decorator]
def _take_queries(  # type: ignore[no-untyped-def]
    key_grad, value_grad, key, value, queries, grads, norms, sums, starts, first, last, tokens, stride, factor,
    D: tl.constexpr, K: tl.constexpr, QUERIES: tl.constexpr, IS_MASKED: tl.constexpr,
):  # fmt: skip
    """Add what the queries from `first` to `last` give to the gradients of keys and values."""
    columns = tl.arange(0, K)
    for begin in range(first, last, QUERIES):
        rows = begin + tl.arange(0, QUERIES)
        query = tl.load(queries + rows[:, None] * stride + columns[None, :])
        grad = tl.load(grads + rows[:, None] * D + columns[None, :])
        share = tl.exp2(tl.dot(key, tl.trans(query)) * factor - tl.load(norms + rows)[None, :])
        if IS_MASKED:
            row_starts = tl.load(starts + rows)
            is_seen = (tokens[:, None] <= rows[None, :]) & (tokens[:, None] >= row_starts[None, :])
            share = tl.where(is_seen, share, 0.0)
        value_grad = tl.dot(share.to(grad.dtype), grad, value_grad)
        slope = share * (tl.dot(value, tl.trans(grad)) - tl.load(sums + rows)[None, :])
        key_grad = tl.dot(slope.to(query.dtype), query, key_grad)
    return key_grad, value_grad


@triton.jit  # type: ignore[untyped-decorator]
def _key_gradients(  # type: ignore[no-untyped-def]
    joined, grad, norms, sums, starts, ends, out, num_tokens, factor, scale,
    H: tl.constexpr, K: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """One program for a block of keys of one head: the gradients of keys and values."""
    row, head = tl.program_id(1).to(tl.int64) // H, tl.program_id(1) % H
    stride = 3 * H * K
    start = row * num_tokens * stride + head * K
    base, place_out = joined + start, out + start
    first_key = tl.program_id(0) * KEYS
    tokens = first_key + tl.arange(0, KEYS)
    columns = tl.arange(0, K)
    place = tokens[:, None] * stride + columns[None, :]
    key, value = tl.load(base + H * K + place), tl.load(base + 2 * H * K + place)
    key_grad = tl.zeros((KEYS, K), dtype=tl.float32)
    value_grad = tl.zeros((KEYS, K), dtype=tl.float32)
    grads = grad + row * num_tokens * (H * K) + head * K
    numbers = (row * H + head) * num_tokens
    first_end = tl.load(ends + row * num_tokens + first_key)
    last_end = tl.load(ends + row * num_tokens + first_key + KEYS - 1)
    after = first_key + KEYS
    whole = tl.maximum(first_end // QUERIES * QUERIES, after)
    row_starts = starts + row * num_tokens
    key_grad, value_grad = _take_queries(
        key_grad, value_grad, key, value, base, grads, norms + numbers, sums + numbers, row_starts, first_key, after,
        tokens, stride, factor, H * K, K, QUERIES, True,
    )  # fmt: skip
    key_grad, value_grad = _take_queries(
        key_grad, value_grad, key, value, base, grads, norms + numbers, sums + numbers, row_starts, after, whole,
        tokens, stride, factor, H * K, K, QUERIES, False,
    )  # fmt: skip
    key_grad, value_grad = _take_queries(
        key_grad, value_grad, key, value, base, grads, norms + numbers, sums + numbers, row_starts, whole, last_end,
        tokens, stride, factor, H * K, K, QUERIES, True,
    )  # fmt: skip
    tl.store(place_out + H * K + place, (key_grad * scale).to(out.dtype.element_ty))
    tl.store(place_out + 2 * H * K + place, value_grad.to(out.dtype.element_ty))


@triton.jit  # type: ignore[untyped-decorator]
def _take_keys(  # type: ignore[no-untyped-def]
    query_grad, query, grad, norm, total, keys, values, first, last, rows, row_starts, stride, factor,
    K: tl.constexpr, KEYS: tl.constexpr, IS_MASKED: tl.constexpr,
):  # fmt: skip
    """Add what the keys from `first` to `last` give to the gradient of queries."""
    columns = tl.arange(0, K)
    for begin in range(first, last, KEYS):
        tokens = begin + tl.arange(0, KEYS)
        place = tokens[:, None] * stride + columns[None, :]
        key, value = tl.load(keys + place), tl.load(values + place)
        share = tl.exp2(tl.dot(query, tl.trans(key)) * factor - norm[:, None])
        if IS_MASKED:
            is_seen = (tokens[None, :] <= rows[:, None]) & (tokens[None, :] >= row_starts[:, None])
            share = tl.where(is_seen, share, 0.0)
        slope = share * (tl.dot(grad, tl.trans(value)) - total[:, None])
        query_grad = tl.dot(slope.to(key.dtype), key, query_grad)
    return query_grad


@triton.jit  # type: ignore[untyped-decorator]
def _query_gradients(  # type: ignore[no-untyped-def]
    joined, grad, norms, sums, mixed, starts, out, num_tokens, factor, scale,
    H: tl.constexpr, K: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """One program for a block of queries of one head; it leaves the sums of output times gradient, which the keys' need, too."""
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    row, head = tl.program_id(1).to(tl.int64) // H, tl.program_id(1) % H
    stride = 3 * H * K
    start = row * num_tokens * stride + head * K
    base = joined + start
    first_query = block * QUERIES
    rows = first_query + tl.arange(0, QUERIES)
    columns = tl.arange(0, K)
    row_starts = tl.load(starts + row * num_tokens + rows)
    first_start = tl.load(starts + row * num_tokens + first_query)
    last_start = tl.load(starts + row * num_tokens + first_query + QUERIES - 1)
    query = tl.load(base + rows[:, None] * stride + columns[None, :])
    place = (row * num_tokens + rows)[:, None] * (H * K) + head * K + columns[None, :]
    above = tl.load(grad + place)
    total = tl.sum(above.to(tl.float32) * tl.load(mixed + place).to(tl.float32), 1)
    numbers = (row * H + head) * num_tokens + rows
    norm = tl.load(norms + numbers)
    tl.store(sums + numbers, total)
    keys, values = base + H * K, base + 2 * H * K
    begin = first_start // KEYS * KEYS
    diagonal = first_query // KEYS * KEYS
    whole = tl.minimum((last_start + KEYS - 1) // KEYS * KEYS, diagonal)
    query_grad = tl.zeros((QUERIES, K), dtype=tl.float32)
    query_grad = _take_keys(
        query_grad, query, above, norm, total, keys, values, begin, whole, rows, row_starts, stride, factor, K, KEYS, True
    )
    query_grad = _take_keys(
        query_grad, query, above, norm, total, keys, values, whole, diagonal, rows, row_starts, stride, factor, K, KEYS, False
    )
    query_grad = _take_keys(
        query_grad, query, above, norm, total, keys, values, diagonal, first_query + QUERIES, rows, row_starts, stride,
        factor, K, KEYS, True,
    )  # fmt: skip
    tl.store(out + start + rows[:, None] * stride + columns[None, :], (query_grad * scale).to(out.dtype.element_ty))


def _options(tiles: _Tiles) -> dict[str, int]:
    """For a kernel's call."""
    return {"QUERIES": tiles.queries, "KEYS": tiles.keys, "num_warps": tiles.warps, "num_stages": tiles.stages}


class _AttendWithin(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, joined: torch.Tensor, num_heads: int, starts: torch.Tensor, ends: torch.Tensor, is_whole: bool
    ) -> torch.Tensor:
        joined = joined.contiguous()
        out, norms = _attend_by_library(joined, num_heads) if is_whole else _attend(joined, num_heads, starts)
        ctx.save_for_backward(joined, starts, ends, out, norms)
        ctx.num_heads = num_heads
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        joined, starts, ends, out, norms = ctx.saved_tensors
        grad = grads[0].contiguous()
        given = _Gradients(joined, grad, norms, torch.empty_like(norms), torch.empty_like(joined))
        _give_query_gradients(given, ctx.num_heads, out, starts)
        _give_key_gradients(given, ctx.num_heads, Spans(starts, ends))
        return given.out, None, None, None, None


def _attend(joined: torch.Tensor, num_heads: int, starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What attention gives, (B, T, D), and the logarithm of its weights' sum, (B, H, T)."""
    num_rows, num_tokens, width = joined.shape[0], joined.shape[1], joined.shape[2] // 3
    out = joined.new_empty(num_rows, num_tokens, width)
    norms = torch.empty(num_rows, num_heads, num_tokens, dtype=torch.float32, device=joined.device)
    grid, factor = (num_tokens // _FORWARD.queries, num_rows * num_heads), math.log2(math.e) * (width // num_heads) ** -0.5
    _forward[grid](joined, starts, out, norms, num_tokens, factor, num_heads, width // num_heads, **_options(_FORWARD))
    return out, norms


def _attend_by_library(joined: torch.Tensor, num_heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_attend`, where a row is one document, by cuDNN."""
    num_rows, num_tokens, width = joined.shape[0], joined.shape[1], joined.shape[2] // 3
    parts = joined.view(num_rows, num_tokens, 3, num_heads, width // num_heads).permute(2, 0, 3, 1, 4)
    attend = torch.ops.aten._scaled_dot_product_cudnn_attention
    out, norms = attend(parts[0], parts[1], parts[2], None, True, 0.0, True, False)[:2]
    norms = norms.reshape(num_rows, num_heads, num_tokens) * math.log2(math.e)
    return out.transpose(1, 2).reshape(num_rows, num_tokens, width), norms.contiguous()


class _Gradients(NamedTuple):
    """What the gradients of queries, keys and values are made from, and where they go."""

    joined: torch.Tensor
    grad: torch.Tensor
    norms: torch.Tensor
    sums: torch.Tensor  # (B, H, T) of output times gradient, over a head's width: those of queries leave them for those of keys
    out: torch.Tensor


def _give_query_gradients(given: _Gradients, num_heads: int, mixed: torch.Tensor, starts: torch.Tensor) -> None:
    grid, sizes = _measure(given.grad, num_heads, _QUERIES.queries)
    _query_gradients[grid](*given[:4], mixed, starts, given.out, *sizes, **_options(_QUERIES))


def _give_key_gradients(given: _Gradients, num_heads: int, spans: Spans) -> None:
    grid, sizes = _measure(given.grad, num_heads, _KEYS.keys)
    _key_gradients[grid](*given[:4], *spans, given.out, *sizes, **_options(_KEYS))


def _measure(grad: torch.Tensor, num_heads: int, block: int) -> tuple[tuple[int, int], tuple[int | float, ...]]:
    """Programs of a kernel that takes `block` tokens each, and the numbers that both kernels are told."""
    num_rows, num_tokens, width = grad.shape
    scale = (width // num_heads) ** -0.5
    sizes = num_tokens, math.log2(math.e) * scale, scale, num_heads, width // num_heads
    return (num_tokens // block, num_rows * num_heads), sizes


def attend_within(joined: torch.Tensor, num_heads: int, spans: Spans) -> torch.Tensor:
    """Causal attention within documents: queries, keys and values side by side, (B, T, 3D), bf16 -> (B, T, D).

    T is a multiple of `MULTIPLE`, K a power of two from 16 on.
    """
    mixed: torch.Tensor = _AttendWithin.apply(joined, num_heads, *spans, False)
    return mixed


def attend_whole(joined: torch.Tensor, num_heads: int) -> torch.Tensor:
    """As `attend_within`, where a row is one document: forward by cuDNN, backward by kernels of our own."""
    spans = _make_whole_spans(joined.shape[0], joined.shape[1], joined.device)
    mixed: torch.Tensor = _AttendWithin.apply(joined, num_heads, *spans, True)
    return mixed


@functools.lru_cache(maxsize=4)
def _make_whole_spans(num_rows: int, num_tokens: int, device: torch.device) -> Spans:
    return make_spans(torch.zeros(num_rows, num_tokens, dtype=torch.int64, device=device))


def has_working_kernels(device: torch.device, num_heads: int, head_width: int) -> bool:
    """Whether kernels give on this device what plain attention gives, output and gradients; tried once."""
    with _trying:  # in a thread of `warm_up`, perhaps
        return _try_kernels(device, num_heads, head_width)


@functools.cache
def _try_kernels(device: torch.device, num_heads: int, head_width: int) -> bool:
    if head_width < 16 or head_width > 128 or head_width & (head_width - 1):
        return False
    fault = find_fault(lambda: _measure_errors(device, num_heads, head_width), allowed=_LARGEST_ERROR)
    if fault is not None:
        log.warning(
            "documents are kept apart by the framework's compiler, slower to start: kernels of our own fail (%s)", fault
        )
    return fault is None


def _use_first(device: torch.device, num_heads: int, head_width: int) -> None:
    """Have all kernels compiled, side by side."""
    joined = torch.zeros(1, MULTIPLE, 3 * num_heads * head_width, dtype=torch.bfloat16, device=device)
    grad, sums = torch.zeros_like(joined[..., : num_heads * head_width]), torch.zeros(1, num_heads, MULTIPLE, device=device)
    spans = make_spans(torch.zeros(1, MULTIPLE, dtype=torch.int64, device=device))
    given = _Gradients(joined, grad, sums, sums, torch.empty_like(joined))

    def use(kernel: Callable[[], object]) -> None:
        with torch.cuda.device(device):
            kernel()

    uses: list[Callable[[], object]] = [
        lambda: _attend(joined, num_heads, spans.starts),
        lambda: _give_key_gradients(given, num_heads, spans),
        lambda: _give_query_gradients(given, num_heads, grad, spans.starts),
    ]
    with ThreadPoolExecutor(len(uses)) as threads:
        list(threads.map(use, uses))


def _measure_errors(device: torch.device, num_heads: int, head_width: int, num_tokens: int = 3 * MULTIPLE) -> list[float]:
    """Relative distances of output and gradients from plain attention in float32."""
    if device.type == "cuda":
        _use_first(device, num_heads, head_width)
    draw = torch.Generator().manual_seed(0)
    joined = torch.randn(2, num_tokens, 3 * num_heads * head_width, generator=draw).to(device)
    grad = torch.randn(2, num_tokens, num_heads * head_width, generator=draw).to(device)
    begins = torch.rand((2, num_tokens), generator=draw) < torch.tensor([[0.005], [0.03]])
    places = torch.arange(num_tokens)
    starts = torch.where(begins, places, 0).cummax(dim=1).values
    mask = ((places[:, None] >= places) & (places >= starts.unsqueeze(2))).unsqueeze(1).to(device)  # (B, 1, T, T)
    found = []
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for is_ours in (True, False):
            given = joined.to(torch.bfloat16 if is_ours and device.type == "cuda" else torch.float32).requires_grad_()
            if is_ours:
                mixed = attend_within(given, num_heads, make_spans(starts.to(device)))
            else:
                parts = given.view(2, num_tokens, 3, num_heads, head_width).permute(2, 0, 3, 1, 4)
                mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask).transpose(1, 2).flatten(2)
            (slope,) = torch.autograd.grad(mixed, given, grad.to(mixed.dtype))
            found.append([mixed.detach(), *slope.chunk(3, dim=-1)])
    return [measure_relative_error(*pair) for pair in zip(*found, strict=True)]
