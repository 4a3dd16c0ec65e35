"""Parameters laid end to end in one buffer, their gradients in another.

What is done to all of them is then a handful of calls instead of a handful for each parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

_ALIGNMENT = 64  # floats: every parameter starts on its own cache line


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
