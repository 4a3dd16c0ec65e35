"""Muon over a flat buffer: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/).

Momentum, then the nearest semi-orthogonal matrix by five Newton-Schulz steps; scaled by 0.2 sqrt(max(rows, columns)) as in Liu et
al. 2025 ("Muon is scalable for LLM training"), so that one learning rate and one weight decay serve AdamW and Muon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from whelp.train.flat_group import FlatGroup
from whelp.train.process_group import ProcessGroup

if TYPE_CHECKING:
    from whelp.train.optimizer import OptimizerSettings

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic coefficients of Jordan et al.


class Muon:
    """Momentum, orthogonalised matrix by matrix; matrices of one shape are done in one batch.

    Of many processes, each orthogonalises its share of the matrices; the sum of all shares is the update of all.
    """

    def __init__(
        self,
        group: FlatGroup,
        settings: OptimizerSettings,
        split_matrix: Callable[[str, torch.Tensor], list[torch.Tensor]],
        processes: ProcessGroup,
        product_type: torch.dtype | None = None,
    ) -> None:
        self.group, self.settings, self.processes, self.product_type = group, settings, processes, product_type
        self.momentum = torch.zeros_like(group.data)
        self.update = torch.zeros_like(group.data)
        matrices = [matrix for name, view in group.views(self.update).items() for matrix in split_matrix(name, view)]
        by_shape = [matrix for same in group_by_shape(matrices) for matrix in same]
        self._own = by_shape[processes.rank :: processes.size]
        self._theirs = [matrix for number, matrix in enumerate(by_shape) if number % processes.size != processes.rank]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update the matrices once."""
        momentum = self.settings.momentum
        self.momentum.lerp_(self.group.grad, 1 - momentum)
        torch.lerp(self.group.grad, self.momentum, momentum, out=self.update)  # Nesterov: look one step ahead
        for matrix in self._theirs:
            matrix.zero_()
        make_updates(self._own, self.product_type)
        self.processes.add_tensor(self.update)
        self.group.data.mul_(1 - learning_rate * self.settings.weight_decay)
        self.group.data.add_(self.update, alpha=-learning_rate)


def group_by_shape(matrices: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """The same matrices in lists of one shape each, in the order in which shapes first come."""
    groups: dict[torch.Size, list[torch.Tensor]] = {}
    for matrix in matrices:
        groups.setdefault(matrix.shape, []).append(matrix)
    return list(groups.values())


def make_updates(matrices: Sequence[torch.Tensor], product_type: torch.dtype | None = None) -> None:
    """Replace each matrix of momentum by Muon's update: orthogonal, and scaled as the top of this file says."""
    for same in group_by_shape(matrices):
        scale = 0.2 * max(same[0].shape) ** 0.5
        for matrix, orthogonal in zip(same, orthogonalise(torch.stack(same), product_type=product_type), strict=True):
            torch.mul(orthogonal, scale, out=matrix)


def orthogonalise(matrices: torch.Tensor, num_steps: int = 5, *, product_type: torch.dtype | None = None) -> torch.Tensor:
    """Approximately replace each matrix U S V^T of a batch (N, R, C) by U V^T; singular values end in about 0.7 .. 1.2.

    Args:
        product_type: Of the products; by default bf16 on a GPU, and float32 on a CPU.
    """
    a, b, c = _NEWTON_SCHULZ
    x = matrices.to(product_type or (torch.bfloat16 if matrices.is_cuda else torch.float32))
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / (torch.linalg.matrix_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(num_steps):
        gram = x @ x.mT  # (N, R, R)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)
