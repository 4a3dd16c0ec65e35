"""The gradients of queries, keys and values written side by side on a GPU, in one kernel instead of three slow copies.

Shapes: B rows, T tokens, H heads, K head width, D = H x K.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl

from whelp.base.log import log
from whelp.model.kernel_check import find_fault, measure_relative_error


@triton.jit  # type: ignore[untyped-decorator]
def _join(  # type: ignore[no-untyped-def]
    queries, keys, values, out, num_tokens,
    query_row, query_head, query_token, key_row, key_head, key_token, value_row, value_head, value_token,
    D: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program a token."""
    place = tl.program_id(0).to(tl.int64)
    row, token = place // num_tokens, place % num_tokens
    columns = tl.arange(0, BLOCK)
    is_inside = columns < D
    head, within = columns // K, columns % K
    start = out + place * (3 * D) + columns
    part = tl.load(queries + row * query_row + token * query_token + head * query_head + within, mask=is_inside)
    tl.store(start, part, mask=is_inside)
    part = tl.load(keys + row * key_row + token * key_token + head * key_head + within, mask=is_inside)
    tl.store(start + D, part, mask=is_inside)
    part = tl.load(values + row * value_row + token * value_token + head * value_head + within, mask=is_inside)
    tl.store(start + 2 * D, part, mask=is_inside)


def _join_by_kernel(parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    num_rows, num_heads, num_tokens, head_width = parts[0].shape
    parts = tuple(part if part.stride(3) == 1 else part.contiguous() for part in parts)
    width = num_heads * head_width
    out = parts[0].new_empty(num_rows, num_tokens, 3 * width)
    strides = [stride for part in parts for stride in part.stride()[:3]]
    block = triton.next_power_of_2(width)
    _join[(num_rows * num_tokens,)](*parts, out, num_tokens, *strides, width, head_width, block, num_warps=4)
    return out


def _join_by_copies(parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    num_rows, num_heads, num_tokens, head_width = parts[0].shape
    joined = parts[0].new_empty(num_rows, num_tokens, 3, num_heads, head_width)
    for number, part in enumerate(parts):
        joined[:, :, number].copy_(part.transpose(1, 2))
    return joined.flatten(2)


@functools.cache
def has_working_kernel(device: torch.device) -> bool:
    """Whether the kernel moves every number to its place on this device; tried once."""

    def measure() -> list[float]:
        parts = torch.randn(3, 2, 3, 32, 16, generator=torch.Generator().manual_seed(0)).to(device, torch.bfloat16).unbind(0)
        mixed = (parts[0], parts[1].transpose(1, 2).contiguous().transpose(1, 2), parts[2])
        return [measure_relative_error(_join_by_kernel(mixed), _join_by_copies(mixed))]

    fault = find_fault(measure, allowed=0.0)
    if fault is not None:
        log.warning("gradients of attention are joined by copies, slower: the kernel fails (%s)", fault)
    return fault is None


def join_heads(*parts: torch.Tensor) -> torch.Tensor:
    """Three of (B, H, T, K), laid out in whatever way, as one of (B, T, 3D), contiguous."""
    return _join_by_kernel(parts) if has_working_kernel(parts[0].device) else _join_by_copies(parts)
