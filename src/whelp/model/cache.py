"""Keys and values of the tokens a model has already read, in memory that is allocated once."""

from __future__ import annotations

import torch

from whelp.model.config import ModelSpec


class Cache:
    """Room for `capacity` tokens of `num_rows` sequences that grow together.

    Shapes: B rows, H key/value heads, C capacity in tokens, K head width; one pair of tensors for each layer.
    """

    def __init__(
        self,
        spec: ModelSpec,
        num_rows: int,
        capacity: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (spec.n_layer, num_rows, spec.n_kv_head, capacity, spec.head_width)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (L, B, H, C, K)
        self.values = torch.zeros(shape, device=device, dtype=dtype)  # (L, B, H, C, K)
        self.num_tokens = 0  # read so far

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    def append(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the new tokens' keys and values (B, H, T, K) of one layer; return all so far (B, H, N + T, K)."""
        start, stop = self.num_tokens, self.num_tokens + keys.shape[2]
        assert stop <= self.capacity, f"{stop} tokens do not fit a cache of {self.capacity}"
        self.keys[layer, :, :, start:stop] = keys
        self.values[layer, :, :, start:stop] = values
        return self.keys[layer, :, :, :stop], self.values[layer, :, :, :stop]

    def advance(self, num_tokens: int) -> None:
        """Count the tokens that every layer has stored."""
        self.num_tokens += num_tokens

    def expand(self, num_rows: int) -> Cache:
        """Repeat a cache of one row for several continuations of it."""
        assert self.keys.shape[1] == 1, f"only a single row can be repeated, not {self.keys.shape[1]}"
        grown = object.__new__(Cache)
        grown.keys = self.keys.repeat(1, num_rows, 1, 1, 1)
        grown.values = self.values.repeat(1, num_rows, 1, 1, 1)
        grown.num_tokens = self.num_tokens
        return grown

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Keep only these rows (indices), for example those still being generated."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
