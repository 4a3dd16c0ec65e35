"""What a model remembers of the beginning of a text, outside of the slots in which texts are continued."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class SlotSnapshot:
    """The memory of a text's tokens from place `first` on.

    Attributes:
        tensors: What a cache holds of them; views of a slot, until `detach` was called.
        can_be_cut: Whether the memory of fewer tokens is in it: in keys and values it is, in a state it is not.
    """

    first: int
    tensors: dict[str, torch.Tensor]
    can_be_cut: bool

    @property
    def num_bytes(self) -> int:
        """Memory that a copy takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def detach(self) -> SlotSnapshot:
        """A copy that stays what it is when the slot goes on."""
        tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in self.tensors.items()}
        return replace(self, tensors=tensors)
