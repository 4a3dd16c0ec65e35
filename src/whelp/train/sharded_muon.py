"""Muon of a model that is divided over processes: its update needs whole matrices, and each process has some rows of all.

Momentum stays divided. In every step the processes exchange rows once, so that each has some matrices whole, makes their
updates, and gives the rows back: two messages a step, together as many numbers as the matrices have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.distributed.tensor import DTensor, Shard

from whelp.train.muon import make_updates
from whelp.train.optimizer import OptimizerSettings
from whelp.train.process_group import ProcessGroup


class ShardedMuon:
    """`Muon` over the rows of this process.

    Shapes: (R, C) a whole matrix; its first `ceil(R / processes)` rows are the first process's, and so on.
    """

    def __init__(
        self,
        parameters: Mapping[str, DTensor],
        settings: OptimizerSettings,
        split_matrix: Callable[[str, torch.Tensor], list[torch.Tensor]],
        processes: ProcessGroup,
    ) -> None:
        self.parameters, self.settings, self.split_matrix, self.processes = parameters, settings, split_matrix, processes
        self.momenta = {name: torch.zeros_like(parameter.to_local()) for name, parameter in parameters.items()}
        for name, parameter in parameters.items():
            assert parameter.placements == (Shard(0),), f"{name} is divided otherwise: {parameter.placements}"
        self.owners = share_out({name: parameter.shape for name, parameter in parameters.items()}, processes.size)

    def divided_momenta(self) -> dict[str, DTensor]:
        """The momenta as parts of whole matrices, which share memory with `momenta`."""
        return {
            name: DTensor.from_local(
                self.momenta[name],
                parameter.device_mesh,
                parameter.placements,
                run_check=False,
                shape=parameter.shape,
                stride=parameter.stride(),
            )
            for name, parameter in self.parameters.items()
        }

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update the matrices once."""
        momentum, given = self.settings.momentum, {}
        for name, parameter in self.parameters.items():
            own = self.momenta[name]
            gradient = torch.zeros_like(own) if parameter.grad is None else _local(parameter.grad)
            own.lerp_(gradient, 1 - momentum)
            given[name] = torch.lerp(gradient, own, momentum)  # Nesterov: look one step ahead
        updates = self._make_updates(given)
        for name, parameter in self.parameters.items():
            local = parameter.to_local()
            local.mul_(1 - learning_rate * self.settings.weight_decay)
            local.add_(updates[name], alpha=-learning_rate)

    def _make_updates(self, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """From the rows of this process of all matrices to the same rows of their updates."""
        ranks, rank = range(self.processes.size), self.processes.rank
        numbers = [sum(given[name].numel() for name in self.owners[owner]) for owner in ranks]
        mine = {name: self.parameters[name].shape for name in self.owners[rank]}
        parts = {
            name: [_count_rows(shape[0], peer, self.processes.size) * shape[1] for peer in ranks]
            for name, shape in mine.items()
        }
        taken_numbers = [sum(counts[peer] for counts in parts.values()) for peer in ranks]
        rows = torch.cat([given[name].reshape(-1) for owner in ranks for name in self.owners[owner]])
        pieces = rows.new_empty(sum(taken_numbers))
        self.processes.exchange(rows, numbers, pieces, taken_numbers)
        places, place = {}, 0  # of each process's piece of each matrix of mine
        for peer in ranks:
            for name in mine:
                places[name, peer] = slice(place, place + parts[name][peer])
                place += parts[name][peer]
        whole = {name: torch.cat([pieces[places[name, peer]] for peer in ranks]).view(shape) for name, shape in mine.items()}
        make_updates([matrix for name, tensor in whole.items() for matrix in self.split_matrix(name, tensor)])
        for name, tensor in whole.items():
            for peer, piece in zip(ranks, tensor.view(-1).split(parts[name]), strict=True):
                pieces[places[name, peer]] = piece
        self.processes.exchange(pieces, taken_numbers, rows, numbers)
        names = [name for owner in ranks for name in self.owners[owner]]
        found = rows.split([given[name].numel() for name in names])
        return {name: part.view_as(given[name]) for name, part in zip(names, found, strict=True)}


def share_out(shapes: Mapping[str, torch.Size], num_processes: int) -> list[list[str]]:
    """Which matrices each process makes updates of: the dearest first, always to the one that has least to do."""
    costs = {name: shape[0] * shape[1] * min(shape) for name, shape in shapes.items()}
    shares: list[list[str]] = [[] for _ in range(num_processes)]
    loads = [0] * num_processes
    for name in sorted(costs, key=lambda name: -costs[name]):
        least = loads.index(min(loads))
        shares[least].append(name)
        loads[least] += costs[name]
    return shares


def _count_rows(num_rows: int, rank: int, num_processes: int) -> int:
    """Rows of a process, as `torch.chunk` divides them."""
    at_most = -(-num_rows // num_processes)
    return max(0, min(num_rows - rank * at_most, at_most))


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
