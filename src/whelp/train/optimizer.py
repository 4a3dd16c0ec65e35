"""The optimizer of a model in one process: Muon for matrices, AdamW for all else, over flat buffers.

All parameters of a group are views of one long tensor, their gradients views of another (`flat_group.py`): clipping is one norm, AdamW
one fused kernel (on a GPU one of our own, `gpu_adamw.py`). On a small model on a CPU this is a quarter of the step's time.
AdamW: Loshchilov & Hutter 2019. Muon: `muon.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from whelp.base.errors import say_first_line
from whelp.base.log import log
from whelp.train.adamw import AdamW
from whelp.train.flat_group import FlatGroup, flatten
from whelp.train.muon import Muon
from whelp.train.process_group import ProcessGroup

_LARGEST_ERROR = 1e-5  # of AdamW in one pass beside the framework's, as a share of the way: float32 rounds to 3e-7


class OptimizerSettings(Protocol):
    """What the optimizer is told; `TrainConfig` has these."""

    @property
    def optimizer(self) -> str: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def beta1(self) -> float: ...
    @property
    def beta2(self) -> float: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def momentum(self) -> float: ...


class HasMatrices(Protocol):
    """A model that says which matrices a fused weight holds."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def split_matrix(self, name: str, tensor: torch.Tensor) -> list[torch.Tensor]: ...
    def is_block_matrix(self, name: str) -> bool: ...
    def decays(self, name: str, parameter: torch.Tensor) -> bool: ...
    def learning_rate_scale(self, name: str) -> float: ...


@dataclass(frozen=True)
class AdamGroup:
    """Parameters that AdamW treats alike."""

    parameters: FlatGroup
    decays: bool
    learning_rate_scale: float  # of the learning rate of all


class Optimizer:
    """One optimizer for the whole model: Muon for the matrices it is given, AdamW for all else."""

    is_sharded = False  # every process has all weights

    def __init__(
        self,
        matrices: FlatGroup | None,
        others: Sequence[AdamGroup],
        settings: OptimizerSettings,
        split_matrix: Callable[[str, torch.Tensor], list[torch.Tensor]],
        processes: ProcessGroup,
        product_type: torch.dtype | None = None,
    ) -> None:
        self.settings, self.processes = settings, processes
        self.matrices, self.others = matrices, others
        self.groups = [*([] if matrices is None else [matrices]), *(other.parameters for other in others)]
        adam_groups = []
        for other in others:
            parameter = nn.Parameter(other.parameters.data)
            parameter.grad = other.parameters.grad
            adam_groups.append({"params": [parameter], "weight_decay": settings.weight_decay if other.decays else 0.0})
        self.adam = AdamW(adam_groups, betas=(settings.beta1, settings.beta2), eps=settings.epsilon)
        self.muon = Muon(matrices, settings, split_matrix, processes, product_type) if matrices is not None else None
        self.in_one_pass = has_one_pass(self.groups[0].data.device)
        self.narrow: dict[int, torch.Tensor] = {}  # by number among `others`: their weights rounded to bf16, up to date
        self.scale: torch.Tensor | None = None  # what clipping asked for, and the step has still to do

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.groups:
            group.grad.zero_()

    def clip(self, largest_norm: float) -> torch.Tensor:
        """Scale the whole gradient down to `largest_norm` if it is longer; return its norm before, a scalar tensor.

        On a GPU AdamW's gradients are scaled within the next `step`.
        """
        norms = torch.stack([torch.linalg.vector_norm(group.grad) for group in self.groups])
        norm: torch.Tensor = torch.linalg.vector_norm(norms)
        if largest_norm > 0:
            scale = (largest_norm / (norm + 1e-6)).clamp(max=1.0)
            self.scale = scale if self.in_one_pass else None
            for group in self.groups:
                if not self.in_one_pass or (self.muon is not None and group is self.muon.group):
                    group.grad.mul_(scale)
        return norm

    def step(self, learning_rate: float) -> None:
        """Update all parameters once."""
        for adam_group, other in zip(self.adam.param_groups, self.others, strict=True):
            adam_group["lr"] = learning_rate * other.learning_rate_scale
        if self.in_one_pass:
            self._step_in_one_pass()
        else:
            self.adam.step()
        if self.muon is not None:
            self.muon.step(learning_rate)

    @torch.no_grad()
    def _step_in_one_pass(self) -> None:
        """What `self.adam.step` does, on its own state, with the scale of the gradient."""
        from whelp.train import gpu_adamw

        scale, self.scale = self.scale, None
        for number, (adam_group, other) in enumerate(zip(self.adam.param_groups, self.others, strict=True)):
            weights, parameter = other.parameters.data, adam_group["params"][0]
            if not self.adam.state[parameter]:
                self.adam.state[parameter] = gpu_adamw.make_state(weights)
            gpu_adamw.update(
                weights,
                other.parameters.grad,
                self.adam.state[parameter],
                torch.ones((), device=weights.device) if scale is None else scale,
                self.narrow.get(number),
                learning_rate=adam_group["lr"],
                betas=(self.settings.beta1, self.settings.beta2),
                epsilon=self.settings.epsilon,
                weight_decay=adam_group["weight_decay"],
            )

    def keep_narrow(self) -> dict[str, torch.Tensor]:
        """From now on keep AdamW's weights rounded to bf16 as well, if steps are one pass: views of them by parameter name."""
        if not self.in_one_pass:
            return {}
        self.narrow = {number: other.parameters.data.to(torch.bfloat16) for number, other in enumerate(self.others)}
        views: dict[str, torch.Tensor] = {}
        for number, rounded in self.narrow.items():
            views |= self.others[number].parameters.views(rounded)
        return views

    def drop_narrow(self) -> None:
        """No longer keep what `keep_narrow` gave."""
        self.narrow = {}

    def state(self) -> dict[str, torch.Tensor]:
        """All state by parameter name, so that it fits any layout: `adamw.mean.NAME`, `muon.momentum.NAME`, ..."""
        tensors: dict[str, torch.Tensor] = {}
        for group, adam_state in self._adam_states():
            if adam_state:
                tensors |= {f"adamw.mean.{name}": view for name, view in group.views(adam_state["exp_avg"]).items()}
                tensors |= {f"adamw.square.{name}": view for name, view in group.views(adam_state["exp_avg_sq"]).items()}
                tensors["adamw.step"] = adam_state["step"].reshape(1)
        if self.muon is not None:
            tensors |= {f"muon.momentum.{name}": view for name, view in self.muon.group.views(self.muon.momentum).items()}
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up a state that `state` gave."""
        for group, adam_state in self._adam_states():
            if "adamw.step" in tensors:
                step_device = torch.device("cpu") if self.in_one_pass else group.data.device
                adam_state["step"] = tensors["adamw.step"].reshape(()).clone().to(step_device)
                for ours, theirs in (("mean", "exp_avg"), ("square", "exp_avg_sq")):
                    adam_state[theirs] = torch.zeros_like(group.data)
                    for name, view in group.views(adam_state[theirs]).items():
                        view.copy_(tensors[f"adamw.{ours}.{name}"])
        if self.muon is not None:
            for name, view in self.muon.group.views(self.muon.momentum).items():
                view.copy_(tensors[f"muon.momentum.{name}"])

    def _adam_states(self) -> list[tuple[FlatGroup, dict[str, torch.Tensor]]]:
        parameters = [adam_group["params"][0] for adam_group in self.adam.param_groups]
        return [
            (other.parameters, self.adam.state[parameter]) for other, parameter in zip(self.others, parameters, strict=True)
        ]


@functools.cache
def has_one_pass(device: torch.device) -> bool:
    """Whether clipping and AdamW are one kernel of ours on this device; it is compared with PyTorch's step first."""
    if device.type != "cuda" or torch.version.cuda is None:
        return False
    try:
        from whelp.train import gpu_adamw

        error = gpu_adamw.measure_error(device)
        if error <= _LARGEST_ERROR:
            log.debug("clipping and AdamW are one pass: %.2g away from the framework's", error)
            return True
        reason = f"it is {error:.2g} away from the framework's"
    except Exception as problem:  # whatever a compiler may say: the other way is always there
        reason = say_first_line(problem, with_kind=True)
    log.warning("clipping and AdamW take separate passes, slower: the step in one pass fails (%s)", reason)
    return False


def build_optimizer(
    model: HasMatrices,
    settings: OptimizerSettings,
    processes: ProcessGroup | None = None,
    *,
    product_type: torch.dtype | None = None,
) -> Optimizer:
    """Group a model's parameters and flatten them. The model must be on its device already.

    Matrices of blocks go to Muon when asked for; all else to AdamW, with the weight decay and at the rate that the model says:
    for most, matrices decay and vectors do not, at one rate. Of many processes, all begin with the weights of the first.

    Args:
        product_type: Of Muon's products; by default bf16 on a GPU, and float32 on a CPU.
    """
    matrices: dict[str, nn.Parameter] = {}
    others: dict[tuple[bool, float], dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if is_for_muon(model, settings, name, parameter):
            matrices[name] = parameter
        else:
            others.setdefault(describe_parameter(model, name, parameter), {})[name] = parameter
    ordered = sorted(others.items(), key=lambda item: (not item[0][0], item[0][1]))  # those that decay first
    groups = [AdamGroup(flatten(named), decays, scale) for (decays, scale), named in ordered]
    flat = flatten(matrices) if matrices else None
    optimizer = Optimizer(flat, groups, settings, model.split_matrix, processes or ProcessGroup(), product_type)
    for group in optimizer.groups:
        optimizer.processes.copy_from_first(group.data)
    return optimizer


def is_for_muon(model: HasMatrices, settings: OptimizerSettings, name: str, parameter: torch.Tensor) -> bool:
    """Whether a parameter is a matrix that Muon updates."""
    return settings.optimizer == "muon" and parameter.ndim == 2 and model.is_block_matrix(name)


def describe_parameter(model: HasMatrices, name: str, parameter: torch.Tensor) -> tuple[bool, float]:
    """Whether AdamW lets a parameter decay, and how many times as fast as others it learns."""
    return model.decays(name, parameter), model.learning_rate_scale(name)
