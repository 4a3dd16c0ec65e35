"""Parameters laid end to end in one buffer, their gradients in another.

What is done to all of them is then a handful of calls instead of a handful for each parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

_ALIGNMENT = 64  # floats: every parameter starts on its own cache line
_LATE_NUMBERS = 1 << 20  # 4 MiB: GPT-2 124M's norms and biases are 98 gradients of together half a MiB


@dataclass
class FlatGroup:
    """Parameters laid end to end."""

    names: list[str]
    shapes: list[torch.Size]
    starts: list[int]
    data: torch.Tensor  # (N,)
    grad: torch.Tensor  # (N,)

    def views(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each parameter's part of a flat tensor, in its shape."""
        return {
            name: flat[start : start + shape.numel()].view(shape)
            for name, shape, start in zip(self.names, self.shapes, self.starts, strict=True)
        }


class HasGroups(Protocol):
    """An optimizer over flat buffers."""

    @property
    def groups(self) -> Sequence[FlatGroup]: ...


def comes_late(group: FlatGroup) -> bool:
    """Whether a buffer of gradients is so small that it is filled, and sent to other processes, at the end of a backward pass, at once."""
    return group.grad.numel() <= _LATE_NUMBERS


def flatten(parameters: Mapping[str, nn.Parameter]) -> FlatGroup:
    """Move parameters into one buffer; afterwards they and their gradients are views of it."""
    names, shapes, starts, total = [], [], [], 0
    for name, parameter in parameters.items():
        names.append(name)
        shapes.append(parameter.shape)
        starts.append(total)
        total += -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
    first = next(iter(parameters.values()))
    group = FlatGroup(names, shapes, starts, torch.zeros(total, device=first.device), torch.zeros(total, device=first.device))
    grads = group.views(group.grad)
    for name, view in group.views(group.data).items():
        view.copy_(parameters[name].data)
        parameters[name].data = view
        parameters[name].grad = grads[name]
    return group
