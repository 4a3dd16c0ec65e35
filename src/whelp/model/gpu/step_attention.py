"""Attention of one new token for each row on a GPU, over keys and values that lie in slots: stored and attended to in one kernel.

The framework's kernel works on tiles of 64 new tokens, of which one is real, wants a mask, and reads as far as the recorded length:
377 of 1,913 microseconds of a step (H200, GPT-2 in float32, 32 rows), and storing another 90. Here every row is read as far as it
goes. `agrees` compares with PyTorch before anything is trusted to it.
Shapes: B rows, H heads, G key/value heads, R = H / G, K head width, S slots, C capacity; in the kernel N tokens at a time.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl

_BLOCK_NUMBERS = 4096  # that a program holds of keys, as often as it has heads


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    queries, keys, values, all_keys, all_values, positions, out, scale,
    query_row, query_head, key_row, key_head, value_row, value_head, slot_stride, token_stride, group_stride,
    R: tl.constexpr, K: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    row, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    position = tl.load(positions + row).to(tl.int32)
    heads, width = tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_K)
    is_inside = (heads < R)[:, None] & (width < K)[None, :]
    query = tl.load(
        queries + row * query_row + (group * R + heads)[:, None] * query_head + width[None, :], mask=is_inside, other=0.0
    ).to(tl.float32)
    query = query * scale  # (R, K)
    new_key = tl.load(keys + row * key_row + group * key_head + width, mask=width < K, other=0.0)
    new_value = tl.load(values + row * value_row + group * value_head + width, mask=width < K, other=0.0)
    start = row * slot_stride + group * group_stride
    here = start + position.to(tl.int64) * token_stride + width
    tl.store(all_keys + here, new_key, mask=width < K)
    tl.store(all_values + here, new_value, mask=width < K)
    largest = tl.sum(query * new_key.to(tl.float32)[None, :], axis=1)  # (R,)
    total = largest * 0.0 + 1.0
    mixed = query * 0.0 + new_value.to(tl.float32)[None, :]  # (R, K)
    for first in range(0, position, BLOCK_N):
        tokens = first + tl.arange(0, BLOCK_N)
        places = start + tokens.to(tl.int64)[:, None] * token_stride + width[None, :]
        is_seen = (tokens < position)[:, None] & (width < K)[None, :]
        key = tl.load(all_keys + places, mask=is_seen, other=0.0).to(tl.float32)  # (N, K)
        value = tl.load(all_values + places, mask=is_seen, other=0.0).to(tl.float32)
        scores = tl.sum(query[:, None, :] * key[None, :, :], axis=2)  # (R, N)
        scores = tl.where((tokens < position)[None, :], scores, float("-inf"))
        larger = tl.maximum(largest, tl.max(scores, axis=1))
        shares, shrink = tl.exp(scores - larger[:, None]), tl.exp(largest - larger)
        total = total * shrink + tl.sum(shares, axis=1)
        mixed = mixed * shrink[:, None] + tl.sum(shares[:, :, None] * value[None, :, :], axis=1)
        largest = larger
    target = out + row * tl.num_programs(1) * R * K + (group * R + heads)[:, None] * K + width[None, :]
    tl.store(target, (mixed / total[:, None]).to(out.dtype.element_ty), mask=is_inside)


def step_attention(
    queries: torch.Tensor,  # (B, H, 1, K)
    keys: torch.Tensor,  # (B, G, 1, K)
    values: torch.Tensor,  # (B, G, 1, K)
    all_keys: torch.Tensor,  # (S, C, G, K)
    all_values: torch.Tensor,  # (S, C, G, K)
    positions: torch.Tensor,  # (B,)
) -> torch.Tensor:
    """Store each row's new key and value at its position of its slot; attention over all up to there, (B, H, 1, K)."""
    (num_rows, num_heads, _, width), num_groups = queries.shape, keys.shape[1]
    queries, keys, values = (part if part.stride(-1) == 1 else part.contiguous() for part in (queries, keys, values))
    assert all_keys.stride() == all_values.stride(), f"{all_keys.stride()}, {all_values.stride()}"
    out = torch.empty(num_rows, 1, num_heads, width, dtype=queries.dtype, device=queries.device)
    block_r, block_k = triton.next_power_of_2(num_heads // num_groups), triton.next_power_of_2(width)
    strides = [stride for part in (queries, keys, values) for stride in part.stride()[:2]]
    with torch.cuda.device_of(queries):
        _attend[num_rows, num_groups](
            queries, keys, values, all_keys, all_values, positions, out, width**-0.5, *strides, *all_keys.stride()[:3],
            num_heads // num_groups, width, block_r, block_k, max(_BLOCK_NUMBERS // (block_r * block_k), 4),
        )  # fmt: skip
    return out.transpose(1, 2)


@functools.cache
def agrees(device: torch.device, dtype: torch.dtype, num_heads: int, num_groups: int, width: int) -> bool:
    """Whether the kernel runs here, and gives what PyTorch gives, for a model's heads."""
    try:
        return _is_same(device, dtype, num_heads, num_groups, width)
    except Exception:  # the compiler of kernels raises what it likes
        return False


def _is_same(device: torch.device, dtype: torch.dtype, num_heads: int, num_groups: int, width: int) -> bool:
    num_rows, capacity, draw = 3, 150, torch.Generator().manual_seed(0)

    def make(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw).to(device, dtype)

    queries = make(num_rows, num_heads, 1, width)
    keys, values = (make(num_rows, num_groups, 1, width) for _ in range(2))
    stores = [make(num_rows + 1, capacity, num_groups, width) for _ in range(2)]
    wanted = [store.clone() for store in stores]
    places = [0, 70, capacity - 1]
    found = step_attention(queries, keys, values, stores[0], stores[1], torch.tensor(places, device=device))
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for row, place in enumerate(places):
        for store, new in zip(wanted, (keys, values), strict=True):
            store[row, place] = new[row, :, 0]
        seen = [store[row, : place + 1].transpose(0, 1).float() for store in wanted]  # (G, T, K)
        repeated = [part.repeat_interleave(num_heads // num_groups, dim=0) for part in seen]
        shares = (queries[row].float() @ repeated[0].mT * width**-0.5).softmax(dim=-1)  # (H, 1, T)
        if not torch.allclose(found[row].float(), shares @ repeated[1], rtol=tolerance, atol=tolerance):
            return False
    return all(torch.equal(one, other) for one, other in zip(stores, wanted, strict=True))
