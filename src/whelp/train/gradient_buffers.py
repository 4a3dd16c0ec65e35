"""The first gradient of a batch is put where others would be added to zeros: a pass over all gradients and the zeros are saved.

Autograd adds a parameter's gradient to the one that is there, and keeps it as it is where there is none. So there is none at first, and
what comes is moved into the optimizer's flat buffer, where later gradients of the batch are added to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from whelp.base.beside_parameter import put_beside, take_away
from whelp.train.flat_group import HasGroups, comes_late

_SMALL = 1 << 15  # numbers: moving fewer takes a GPU as long as beginning to


class GradientBuffers:
    """The optimizer's buffers of gradients, between `begin` and `finish` of a batch.

    Large gradients are moved as soon as they come. Those that nobody waits for are moved at the end, all at once: small ones where the
    process `is_alone`, else those of buffers that are sent at the end.
    """

    def __init__(self, optimizer: HasGroups, parameters: Mapping[str, torch.nn.Parameter], *, is_alone: bool) -> None:
        views = [(group, name, view) for group in optimizer.groups for name, view in group.views(group.grad).items()]
        self._places = [(parameters[name], view) for _, name, view in views]
        for parameter, view in self._places:
            put_beside(parameter, "gradient", view)
        self._hooks = [
            parameters[name].register_post_accumulate_grad_hook(_make_hook(view))
            for group, name, view in views
            if (view.numel() > _SMALL if is_alone else not comes_late(group))
        ]  # before those of others, who read the buffers

    def begin(self) -> None:
        """Forget the gradients of the batch before."""
        for parameter, _ in self._places:
            parameter.grad = None

    def take_up(self) -> None:
        """Take what lies in the buffers, where recorded work has put it, for the gradients of the batch."""
        for parameter, view in self._places:
            parameter.grad = view

    @torch.no_grad()
    def finish(self) -> None:
        """Move what is still elsewhere, and put zeros where no gradient came."""
        moved, places = [], []
        for parameter, view in self._places:
            if parameter.grad is None:
                view.zero_()
            elif parameter.grad.data_ptr() != view.data_ptr():
                moved.append(parameter.grad)
                places.append(view)
            parameter.grad = view
        if moved:
            torch._foreach_copy_(places, moved)

    def close(self) -> None:
        """Take the hooks off; gradients are added to the buffers again, also where a pass failed and left some of its own elsewhere."""
        for hook in self._hooks:
            hook.remove()
        self.take_up()
        for parameter, view in self._places:
            take_away(parameter, "gradient", view)


def _make_hook(view: torch.Tensor) -> Any:
    def hook(parameter: torch.Tensor) -> None:
        if parameter.grad is not None and parameter.grad is not view:
            if parameter.grad.data_ptr() != view.data_ptr():  # a kernel may have put it there
                view.copy_(parameter.grad)
            parameter.grad = view

    return hook
