"""Keys and values of the tokens a model has already read, in memory that is allocated once.

Shapes: L layers, S slots, C capacity in tokens, B rows in use, T new tokens, N all tokens so far, H heads, G key/value heads,
R = H / G, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from whelp.model.config import ModelSpec
from whelp.model.decoding.slot_snapshot import SlotSnapshot
from whelp.model.gpu.triton_support import HAS_TRITON

if HAS_TRITON:
    from whelp.model.gpu import step_attention as gpu_step_attention

Positions = slice | torch.Tensor  # of the new tokens: the same for all rows, or (B, T)


@dataclass(frozen=True)
class _Window:
    """The rows that a model is reading now."""

    first: int
    starts: list[int]  # tokens each row has already
    counts: list[int]  # new tokens of each row; the rest of T is padding
    positions: Positions
    places: tuple[torch.Tensor, torch.Tensor] | None  # slot and position of one new token for each row
    num_all: int  # tokens of the longest row, with the new ones
    mask: torch.Tensor | None  # added to the scores; None where nothing is to be hidden, or all is causal
    is_fresh: bool  # nothing was read before: causal attention over the new tokens is all
    is_stored_by_kernel: bool = False  # a kernel stores one new token for each row, and attends to all up to there
    is_counted: bool = True  # the cache counts the new tokens when they are stored


class Cache:
    """Room for `capacity` tokens in each of `num_slots` slots, every one with its own length."""

    def __init__(
        self,
        spec: ModelSpec,
        num_slots: int,
        capacity: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.capacity = capacity
        self.lengths = [0] * num_slots
        self.num_repeats = spec.n_head // spec.n_kv_head
        shape = (spec.n_layer, num_slots, capacity, spec.n_kv_head, spec.head_width)  # (L, S, C, G, K)
        self.keys, self.values = (_make_zeros(shape, torch.device(device), dtype) for _ in range(2))
        self._selected: tuple[int, list[int]] | None = None
        self._window: _Window | None = None
        self._prepared: _Window | None = None
        self._heads = spec.n_head, spec.n_kv_head, spec.head_width

    def select(self, first: int, counts: list[int]) -> None:
        """Say what the next reading is: so many new tokens for each slot from `first` on. Default: all slots alike."""
        self._selected = first, counts

    def prepare(self, positions: torch.Tensor, num_all: int) -> None:
        """Say what the next reading is without a number that the processor must know: one new token for each first slot.

        Whoever does so counts the tokens in `lengths`, and sees to it that slots beyond those in use lose nothing.

        Args:
            positions: (B, 1) where the new tokens go.
            num_all: How many of each slot's tokens are attended to, at least; what lies behind a new token is hidden.
        """
        num_rows = len(positions)
        places = torch.arange(num_rows, device=positions.device), positions[:, 0]
        has_kernel = HAS_TRITON and self.keys.is_cuda
        has_kernel = has_kernel and gpu_step_attention.agrees(self.keys.device, self.keys.dtype, *self._heads)
        mask = None if has_kernel else self._make_mask(positions, num_all)
        ones = [1] * num_rows
        self._prepared = _Window(
            0, ones, ones, positions, places, num_all, mask, is_fresh=False, is_stored_by_kernel=has_kernel, is_counted=False
        )

    def begin(self, ids: torch.Tensor) -> Positions:
        """Start a reading of (B, T) ids; the positions of the new tokens."""
        if self._prepared is not None:
            self._window, self._prepared = self._prepared, None
            return self._window.positions
        (num_rows, num_tokens), device = ids.shape, ids.device
        first, counts = self._selected or (0, [num_tokens] * num_rows)
        self._selected = None
        assert len(counts) == num_rows, f"{num_rows} rows, but {len(counts)} slots are selected"
        starts = self.lengths[first : first + num_rows]
        longest = max(start + count for start, count in zip(starts, counts, strict=True))
        assert longest <= self.capacity, f"{longest} tokens do not fit a cache of {self.capacity}"
        start, mask, places = starts[0], None, None
        positions: Positions = slice(start, start + num_tokens)
        is_even = all(other == start for other in starts)
        if is_even:
            if num_tokens > 1 and start:
                rows = torch.arange(start, start + num_tokens, device=device)
                mask = self._make_mask(rows.unsqueeze(0), start + num_tokens)
            longest = start + num_tokens
        else:
            positions = torch.tensor(starts, device=device).unsqueeze(1)
            if num_tokens == 1:
                places = torch.arange(first, first + num_rows, device=device), positions[:, 0]
            else:
                positions = (positions + torch.arange(num_tokens, device=device)).clamp_(max=self.capacity - 1)
            mask = self._make_mask(positions, longest)
        is_fresh = is_even and not start and num_tokens > 1
        self._window = _Window(first, starts, counts, positions, places, longest, mask, is_fresh)
        return positions

    def attend(self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Store the new keys and values (B, G, T, K) of one layer; attention of the queries (B, H, T, K) over all."""
        window = self._window
        assert window is not None, "begin() comes first"
        if window.is_stored_by_kernel:
            assert window.places is not None, "the kernel is for one new token"
            return gpu_step_attention.step_attention(
                queries, keys, values, self.keys[layer], self.values[layer], window.places[1]
            )
        self._store(self.keys[layer], keys.transpose(1, 2), window)
        self._store(self.values[layer], values.transpose(1, 2), window)
        num_rows, num_heads, num_new, width = queries.shape
        if window.is_fresh:
            if self.num_repeats > 1:
                keys, values = (part.repeat_interleave(self.num_repeats, dim=1) for part in (keys, values))
            return F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        rows = slice(window.first, window.first + num_rows)
        all_keys, all_values = (store[layer, rows, : window.num_all].transpose(1, 2) for store in (self.keys, self.values))
        if self.num_repeats > 1:  # heads that share a key are as good as tokens that share one
            queries = queries.reshape(num_rows, -1, self.num_repeats * num_new, width)  # (B, G, R * T, K)
        mixed = F.scaled_dot_product_attention(queries, all_keys, all_values, attn_mask=window.mask)
        return mixed.reshape(num_rows, num_heads, num_new, width)

    def end(self) -> None:
        """Every layer has stored the new tokens: count them."""
        window = self._window
        assert window is not None, "begin() comes first"
        if window.is_counted:
            for row, (start, count) in enumerate(zip(window.starts, window.counts, strict=True), window.first):
                self.lengths[row] = start + count
        self._window = None

    def copy(self, source: int, target: int, num_tokens: int) -> bool:
        """Let a slot hold the first tokens of another, which keys and values always can."""
        if source != target:
            for store in (self.keys, self.values):
                store[:, target, :num_tokens] = store[:, source, :num_tokens]
        self.lengths[target] = num_tokens
        return True

    def snapshot(self, slot: int, first: int, num_tokens: int) -> SlotSnapshot:
        """The keys and values of a slot's first tokens without those before `first`, (L, num_tokens - first, G, K) each."""
        parts = {name: store[:, slot, first:num_tokens] for name, store in (("keys", self.keys), ("values", self.values))}
        return SlotSnapshot(first, parts, can_be_cut=True)

    def restore(self, slot: int, snapshot: SlotSnapshot, num_tokens: int) -> None:
        """Let a slot, which holds what was before the snapshot, hold `num_tokens` tokens."""
        for name, store in (("keys", self.keys), ("values", self.values)):
            store[:, slot, snapshot.first : num_tokens] = snapshot.tensors[name][:, : num_tokens - snapshot.first]
        self.lengths[slot] = num_tokens

    def _store(self, store: torch.Tensor, new: torch.Tensor, window: _Window) -> None:
        """Write (B, T, G, K) where it belongs; padding is left out."""
        first, num_rows, num_new = window.first, new.shape[0], new.shape[1]
        if isinstance(window.positions, slice) and min(window.counts) == num_new:
            store[first : first + num_rows, window.positions] = new
        elif window.places is not None:
            store[window.places] = new[:, 0]
        else:
            for row, (start, count) in enumerate(zip(window.starts, window.counts, strict=True)):
                store[first + row, start : start + count] = new[row, :count]

    def _make_mask(self, positions: torch.Tensor, num_all: int) -> torch.Tensor:
        """What a token at a position (B or 1, T) must not see, as numbers to add: (B or 1, 1, R * T, N)."""
        hidden = torch.arange(num_all, device=positions.device) > positions.unsqueeze(-1)  # (B, T, N)
        mask = torch.zeros(hidden.shape, dtype=self.keys.dtype, device=positions.device).masked_fill_(hidden, -torch.inf)
        return mask.unsqueeze(1).repeat(1, 1, self.num_repeats, 1)


def _make_zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Zeros; on a CPU, memory that the system hands out only when it is used. What was never written must be a number."""
    if device.type == "cpu" and dtype == torch.float32:
        return torch.from_numpy(np.zeros(shape, np.float32))
    return torch.zeros(shape, device=device, dtype=dtype)
