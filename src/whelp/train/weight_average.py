"""An exponential moving average of all weights: often a better model than the last weights themselves (Polyak 1990)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch

from whelp.train.optimizer import Optimizer

_PREFIX = "ema."


class WeightAverage:
    """Averages beside the optimizer's flat buffers. Early on it forgets faster, so that the first weights do not linger."""

    def __init__(self, optimizer: Optimizer, decay: float) -> None:
        self.groups, self.decay = optimizer.groups, decay
        self.averages = [group.data.clone() for group in self.groups]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from one."""
        decay = min(self.decay, step / (9 + step))
        for average, group in zip(self.averages, self.groups, strict=True):
            average.lerp_(group.data, 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the averages as its weights; afterwards its own again, to the bit."""
        own = [group.data.clone() for group in self.groups]
        for group, average in zip(self.groups, self.averages, strict=True):
            group.data.copy_(average)
        try:
            yield
        finally:
            for group, weights in zip(self.groups, own, strict=True):
                group.data.copy_(weights)

    def state(self) -> dict[str, torch.Tensor]:
        """The averages by parameter name: `ema.NAME`."""
        return {
            f"{_PREFIX}{name}": view.detach().cpu().clone()
            for average, group in zip(self.averages, self.groups, strict=True)
            for name, view in group.views(average).items()
        }

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up a state that `state` gave."""
        for average, group in zip(self.averages, self.groups, strict=True):
            for name, view in group.views(average).items():
                view.copy_(tensors[f"{_PREFIX}{name}"])
