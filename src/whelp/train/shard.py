"""A model and its optimizer divided over all processes (FSDP2): each keeps a part of every weight, gradient and state.

Before a block computes, its whole weights are gathered; afterwards they are let go, and its gradient is added up and
divided again. See Rajbhandari et al. 2020 (ZeRO) and Zhao et al. 2023 (FSDP).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard

from whelp.artifacts.checkpoint_parts import OwnRows
from whelp.train.optimizer import HasMatrices, OptimizerSettings, describe_parameter, is_for_muon
from whelp.train.process_group import ProcessGroup
from whelp.train.sharded_muon import ShardedMuon


class HasBlocks(Protocol):
    """A model of blocks, each of which is gathered by itself."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


def shard_model(model: nn.Module, device: torch.device, processes: ProcessGroup) -> None:
    """Divide a model, which every process has built alike, over all of them; its parameters become `DTensor`s.

    One without memory (on the device `meta`) is filled by `fill_model`, so that no process has all weights on its device.
    """
    mesh = init_device_mesh(device.type, (processes.size,))
    blocks = model.blocks
    assert isinstance(blocks, nn.ModuleList), f"blocks are a {type(blocks).__name__}"
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for name in ("loss", "loss_and_state"):
        if hasattr(model, name):
            register_fsdp_forward_method(model, name)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)  # the loss is a share of the batch's mean: add, do not average
            module.set_gradient_divide_factor(1.0)


@torch.no_grad()
def fill_model(model: nn.Module, whole: nn.Module | None, device: torch.device, processes: ProcessGroup) -> None:
    """Give a divided model without memory the weights of the first process's `whole`, one after the other; others have None."""
    assert (whole is not None) == processes.is_first, "the first process has the weights"
    model.to_empty(device=device)
    for name, parameter in model.named_parameters():
        assert isinstance(parameter, DTensor), f"{name} is not divided"
        if whole is not None:
            tensor = whole.get_parameter(name).detach().to(device, copy=True)
        else:
            tensor = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
        processes.copy_from_first(tensor)
        parameter.to_local().copy_(_own_rows(tensor, parameter))


def gather_weights(model: HasBlocks, processes: ProcessGroup) -> dict[str, torch.Tensor]:
    """All weights, whole, on the CPU of the first process; the others help, and get nothing."""
    gathered = {}
    for name, parameter in model.named_parameters():
        whole = parameter.detach()
        if isinstance(whole, DTensor):
            whole = whole.full_tensor()
        if processes.is_first:
            gathered[name] = whole.cpu().clone()
    return gathered


class ShardedOptimizer:
    """AdamW, and Muon for matrices, over the parts of this process.

    It is saved in parts, in the names of `Optimizer`, so that either goes on from either.
    """

    is_sharded = True

    def __init__(self, model: HasMatrices, settings: OptimizerSettings, processes: ProcessGroup) -> None:
        self.processes = processes
        self.parameters = dict(model.named_parameters())
        matrices: dict[str, DTensor] = {}
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, parameter in self.parameters.items():
            if is_for_muon(model, settings, name, parameter):
                assert isinstance(parameter, DTensor), f"{name} is not divided"
                matrices[name] = parameter
                continue
            groups.setdefault(describe_parameter(model, name, parameter), []).append(parameter)
        betas = (settings.beta1, settings.beta2)
        self.adam = torch.optim.AdamW(
            [
                {"params": parameters, "weight_decay": settings.weight_decay if decays else 0.0, "learning_rate_scale": scale}
                for (decays, scale), parameters in groups.items()
            ],
            lr=0.0,  # said at every step
            betas=betas,
            eps=settings.epsilon,
            foreach=True,
        )
        self.muon = ShardedMuon(matrices, settings, model.split_matrix, processes) if matrices else None

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def clip(self, largest_norm: float) -> torch.Tensor:
        """Scale the whole gradient down to `largest_norm` if it is longer; return its norm before, a scalar tensor."""
        parts = [_local(parameter.grad) for parameter in self.parameters.values() if parameter.grad is not None]
        square = torch.stack([torch.linalg.vector_norm(part) for part in parts]).square().sum()
        self.processes.add_tensor(square)
        norm = square.sqrt()
        if largest_norm > 0:
            scale = (largest_norm / (norm + 1e-6)).clamp(max=1.0)
            for part in parts:
                part.mul_(scale)
        return norm

    def step(self, learning_rate: float) -> None:
        """Update all parameters once."""
        for group in self.adam.param_groups:
            group["lr"] = learning_rate * group["learning_rate_scale"]
        self.adam.step()
        if self.muon is not None:
            self.muon.step(learning_rate)

    def own_rows(self) -> dict[str, OwnRows]:
        """Copies on the CPU of the state that this process has, by parameter name, in the names of `Optimizer.state`."""
        states: dict[str, Any] = {name: self.adam.state[p] for name, p in self.parameters.items() if p in self.adam.state}
        divided = {f"adamw.mean.{name}": state["exp_avg"] for name, state in states.items()}
        divided |= {f"adamw.square.{name}": state["exp_avg_sq"] for name, state in states.items()}
        if self.muon is not None:
            divided |= {f"muon.momentum.{name}": momentum for name, momentum in self.muon.divided_momenta().items()}
        rows = {}
        for name, tensor in divided.items():
            own = tensor.to_local().detach()
            rows[name] = OwnRows(own.cpu().clone() if own.is_cpu else own.cpu(), _find_first_row(tensor))
        if states and self.processes.is_first:
            rows["adamw.step"] = OwnRows(next(iter(states.values()))["step"].detach().cpu().reshape(1).clone())
        return rows

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up a state that an `Optimizer` saved, or the processes of a divided model, as many as there were."""
        if self.muon is not None:
            for name, momentum in self.muon.divided_momenta().items():
                momentum.to_local().copy_(_own_rows(tensors[f"muon.momentum.{name}"], momentum))
        for name, parameter in self.parameters.items() if "adamw.step" in tensors else ():
            if self.muon is not None and name in self.muon.parameters:
                continue
            self.adam.state[parameter] = {
                "step": tensors["adamw.step"].reshape(()).clone(),
                "exp_avg": _divide(tensors[f"adamw.mean.{name}"], parameter),
                "exp_avg_sq": _divide(tensors[f"adamw.square.{name}"], parameter),
            }


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _own_rows(whole: torch.Tensor, like: DTensor) -> torch.Tensor:
    """The rows of a whole tensor that this process has of one that is divided."""
    assert like.placements == (Shard(0),), f"divided otherwise: {like.placements}"
    first = _find_first_row(like)
    return whole[first : first + like.to_local().shape[0]]


def _find_first_row(divided: DTensor) -> int:
    """Which row of the whole the first of this process is; rows are divided as `torch.chunk` does it."""
    at_most = -(-divided.shape[0] // divided.device_mesh.size())
    return min(divided.device_mesh.get_local_rank() * at_most, divided.shape[0])


def _divide(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Divide a tensor as another one is divided; what this process does not have is let go."""
    assert isinstance(like, DTensor), "not divided"
    own = _own_rows(whole, like).to(like.device, copy=True)
    return DTensor.from_local(own, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())
