"""The first gradient of a batch is put where others would be added to zeros: a pass over all gradients and the zeros are saved.

Autograd adds a parameter's gradient to the one that is there, and keeps it as it is where there is none. So there is none at first, and
a hook moves what comes into the optimizer's flat buffer, where later gradients of the batch are added to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from whelp.train.team import HasGroups


class GradientBuffers:
    """The optimizer's buffers of gradients, between `begin` and `finish` of a batch."""

    def __init__(self, optimizer: HasGroups, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        views = {name: view for group in optimizer.groups for name, view in group.views(group.grad).items()}
        self._places = [(parameters[name], view) for name, view in views.items()]
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(_make_hook(view)) for parameter, view in self._places
        ]  # before those of others, who read the buffers

    def begin(self) -> None:
        """Forget the gradients of the batch before."""
        for parameter, _ in self._places:
            parameter.grad = None

    def take_up(self) -> None:
        """Take what was recorded, and lies in the buffers by now, for the gradients of the batch."""
        for parameter, view in self._places:
            parameter.grad = view

    def finish(self) -> None:
        """Put zeros where no gradient came."""
        for parameter, view in self._places:
            if parameter.grad is None:
                view.zero_()
                parameter.grad = view

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()


def _make_hook(view: torch.Tensor) -> Any:
    def hook(parameter: torch.Tensor) -> None:
        if parameter.grad is not None and parameter.grad is not view:
            view.copy_(parameter.grad)
            parameter.grad = view

    return hook
