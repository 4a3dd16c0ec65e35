"""The weights rounded to bf16, kept beside them: who multiplies in bf16 reads them there, instead of rounding them in every step.

The optimizer writes them in the pass in which it writes the weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from whelp.base.beside_parameter import put_beside, take_away
from whelp.train.optimizer import Optimizer


class NarrowWeights:
    """Rounded copies of the weights that AdamW updates, up to date whenever a batch begins; none are kept after `close`."""

    def __init__(self, optimizer: Optimizer, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        self._optimizer = optimizer
        self._kept = [(parameters[name], rounded) for name, rounded in optimizer.keep_narrow().items()]
        for parameter, rounded in self._kept:
            put_beside(parameter, "narrow", rounded)
        self._versions = self._read_versions()

    def _read_versions(self) -> list[int]:
        return [parameter._version for parameter, _ in self._kept]

    @torch.no_grad()
    def check(self) -> None:
        """Round anew where somebody else than the optimizer has written to a weight."""
        versions = self._read_versions()
        if versions != self._versions:
            for parameter, rounded in self._kept:
                rounded.copy_(parameter)
            self._versions = versions

    def close(self) -> None:
        """Leave the parameters as they were."""
        for parameter, rounded in self._kept:
            take_away(parameter, "narrow", rounded)
        self._optimizer.drop_narrow()
