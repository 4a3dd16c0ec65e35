"""AdamW as `torch.optim.AdamW` computes it, one fused kernel a buffer, without what that class brings along.

Making or stepping one of the framework's optimizers imports its compiler: two seconds of every run's start.
Loshchilov & Hutter 2019, "Decoupled weight decay regularization".
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch.optim.adamw import adamw


class AdamW:
    """Groups of one parameter each; `param_groups` and `state` as the framework's class has them."""

    def __init__(self, param_groups: list[dict[str, Any]], *, betas: tuple[float, float], eps: float) -> None:
        self.param_groups, self.betas, self.eps = param_groups, betas, eps
        self.state: dict[torch.nn.Parameter, dict[str, torch.Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter once, at its group's `lr`."""
        for group in self.param_groups:
            (parameter,) = group["params"]
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            adamw(
                [parameter],
                [parameter.grad],
                [state["exp_avg"]],
                [state["exp_avg_sq"]],
                [],
                [state["step"]],
                fused=True,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=self.eps,
                maximize=False,
            )
