"""Documents kept apart as a block mask for `flex_attention`, which skips blocks without a pair of tokens that see each other.

Built from where documents start, block by block: a mask of all pairs of tokens, as `create_block_mask` makes it, never exists.
Shapes: B rows, T tokens in a row, N blocks of 128 tokens in a row.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from whelp.base.log import log
from whelp.model.kernel_check import find_fault, measure_relative_error

_BLOCK = 128  # tokens; what the kernel skips or takes whole
_LEAST_HEAD_WIDTH = 16  # of the kernel
_LARGEST_ERROR = 0.02  # of a bf16 kernel beside float32, as a share of the whole: measured ones are 0.003


def make_block_mask(starts: torch.Tensor) -> BlockMask:
    """What a causal row lets see, from where each token's document starts, (B, T); the starts of a row never fall.

    All sizes depend on (B, T) alone, nothing waits for the device, and the mask of new rows compiles nothing anew.
    """
    num_tokens = starts.shape[1]
    firsts = torch.arange(0, num_tokens, _BLOCK, device=starts.device)  # (N,) of blocks of queries and of keys
    lasts = (firsts + _BLOCK - 1).clamp(max=num_tokens - 1)
    numbers = torch.arange(len(firsts), device=starts.device)
    is_past = numbers[:, None] > numbers[None, :]  # (N, N): queries, keys
    is_seen = (is_past | (numbers[:, None] == numbers[None, :])) & (lasts >= starts[:, firsts].unsqueeze(2))  # (B, N, N)
    is_whole = is_past & (firsts >= starts[:, lasts].unsqueeze(2)) & (firsts[:, None] + _BLOCK <= num_tokens)

    def sees(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (query >= key) & (key >= starts[row, query])

    partial, whole = (_list_blocks(kept.unsqueeze(1)) for kept in (is_seen & ~is_whole, is_seen & is_whole))
    return BlockMask.from_kv_blocks(*partial, *whole, BLOCK_SIZE=_BLOCK, mask_mod=sees, seq_lengths=(num_tokens, num_tokens))


def _list_blocks(is_kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of (B, 1, N, N): how many blocks of keys each block of queries takes, and their numbers, those taken first."""
    kept = is_kept.to(torch.int32)
    order = kept.argsort(dim=-1, descending=True, stable=True)
    return kept.sum(dim=-1, dtype=torch.int32), order.to(torch.int32).contiguous()


@functools.cache
def has_working_kernel(device: torch.device, head_width: int) -> bool:
    """Whether the compiled kernel gives on this device what plain attention gives, output and gradients; tried once."""
    if head_width < _LEAST_HEAD_WIDTH:
        return False
    fault = find_fault(lambda: _measure_errors(device, head_width), allowed=_LARGEST_ERROR)
    if fault is not None:
        log.warning(
            "documents are kept apart by a whole mask, slower: the kernel that skips what they do not see fails (%s)", fault
        )
    return fault is None


def _measure_errors(device: torch.device, head_width: int, num_tokens: int = 320) -> list[float]:
    """Relative distances of output and gradients in bf16 from plain attention in float32."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn((2, 2, num_tokens, head_width), generator=generator) for _ in range(4)]
    begins = torch.rand((2, num_tokens), generator=generator) < 0.02
    starts = torch.where(begins, torch.arange(num_tokens), 0).cummax(dim=1).values.to(device)
    places = torch.arange(num_tokens, device=device)
    mask = ((places[:, None] >= places) & (places >= starts.unsqueeze(2))).unsqueeze(1)  # (B, 1, T, T)
    blocks, compiled = make_block_mask(starts), torch.compile(flex_attention, dynamic=False)
    found = []
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for kind in (torch.bfloat16, torch.float32):
            queries, keys, values, upstream = (tensor.to(device, kind) for tensor in drawn)
            inputs = [tensor.requires_grad_() for tensor in (queries, keys, values)]
            if kind == torch.bfloat16:
                output = compiled(queries, keys, values, block_mask=blocks)
            else:
                output = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
            found.append([output.detach(), *torch.autograd.grad(output, inputs, upstream)])
    return [measure_relative_error(*pair) for pair in zip(*found, strict=True)]
