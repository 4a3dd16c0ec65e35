"""One new token for each row on a CPU: the arithmetic of our families without modules, autograd or copies.

A small model reads so little for a token that calling modules costs as much as computing: here a block is some thirty calls
of the framework, each with weights that were looked up once. They are the model's own, not copies (but for the small norms of
queries and keys).
Shapes: B rows, D width, H heads, G key/value heads, K head width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from whelp.model.cache import Cache
from whelp.model.gpt2 import GPT2
from whelp.model.language_model import LanguageModel
from whelp.model.qwen3 import Qwen3

Step = Callable[[torch.Tensor, Cache], torch.Tensor]
"""Ids (B, 1) and a cache whose rows are selected; the normalised last hidden states (B, D)."""


def make_step(model: LanguageModel) -> Step | None:
    """The quick step of a model, or None where the model itself is as good."""
    weight = model.head_weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    if type(model) is Qwen3:
        return _make_qwen3_step(model)
    return _make_gpt2_step(model) if type(model) is GPT2 else None


def _make_qwen3_step(model: Qwen3) -> Step:
    spec = model.spec
    heads, groups, width = spec.n_head, spec.n_kv_head, spec.head_width
    epsilon = torch.full((1,), spec.norm_eps)

    def normalise(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return (x * torch.addcmul(epsilon, norm, norm, value=1 / x.shape[-1]).rsqrt_()).mul_(weight)

    blocks = []
    for block in model.blocks:
        weights = {name.removesuffix(".weight"): weight.detach() for name, weight in block.named_parameters()}
        both_norms = torch.cat((weights["query_norm"].expand(heads, -1), weights["key_norm"].expand(groups, -1)))
        project, down = weights["project"].t(), weights["down"].t()  # to multiply and add in one call
        blocks.append(
            (both_norms, weights["norm_1"], weights["query_key_value"], project, weights["norm_2"], weights["gate_up"], down)
        )
    embed, last = model.embed.weight.detach(), model.norm.weight.detach()

    def step(ids: torch.Tensor, cache: Cache) -> torch.Tensor:
        num_rows = ids.shape[0]
        positions = cache.begin(ids)
        cosine, sine = model.rotation(positions, cache.capacity, ids.device)  # (1 or B, [1,] 1, K/2)
        cosine, sine = (part.reshape(-1, 1, 1, width // 2) for part in (cosine, sine))
        sine = torch.cat((-sine, sine), dim=2)  # (1 or B, 1, 2, K/2)
        x = F.embedding(ids[:, 0], embed)  # (B, D)
        for layer, (both_norms, norm_1, query_key_value, project, norm_2, gate_up, down) in enumerate(blocks):
            mixed = F.linear(normalise(x, norm_1), query_key_value).view(num_rows, -1, width)  # (B, H + 2G, K)
            both = normalise(mixed[:, : heads + groups], both_norms).view(num_rows, -1, 2, width // 2)
            both = torch.addcmul(both * cosine, both.flip(2), sine).view(num_rows, -1, 1, width)
            mixed = cache.attend(layer, both[:, :heads], both[:, heads:], mixed[:, heads + groups :].unsqueeze(2))
            x = torch.addmm(x, mixed.reshape(num_rows, -1), project)
            gate, up = F.linear(normalise(x, norm_2), gate_up).chunk(2, dim=-1)
            x = torch.addmm(x, F.silu(gate).mul_(up), down)
        cache.end()
        return normalise(x, last)

    return step


def _make_gpt2_step(model: GPT2) -> Step:
    spec = model.spec
    heads, width = spec.n_head, spec.head_width
    exactness = "tanh" if spec.activation == "gelu_tanh" else "none"

    def parts(module: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight, bias = module.weight, module.bias
        assert isinstance(weight, torch.Tensor), f"{module} has no weight"
        return weight.detach(), bias.detach() if isinstance(bias, torch.Tensor) else None

    names = ("norm_1", "query_key_value", "project", "norm_2", "expand", "contract")
    blocks = [tuple(parts(getattr(block, name)) for name in names) for block in model.blocks]
    embed, places, last = model.embed.weight.detach(), model.positions.weight.detach(), parts(model.norm)

    def normalise(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return torch.layer_norm(x, (x.shape[-1],), weight, bias, spec.norm_eps)

    def step(ids: torch.Tensor, cache: Cache) -> torch.Tensor:
        num_rows = ids.shape[0]
        positions = cache.begin(ids)
        if isinstance(positions, torch.Tensor):
            positions = positions[:, 0]
        x = F.embedding(ids[:, 0], embed) + places[positions]  # (B, D)
        for layer, (norm_1, query_key_value, project, norm_2, expand, contract) in enumerate(blocks):
            mixed = F.linear(normalise(x, *norm_1), *query_key_value).view(num_rows, 3, heads, 1, width)
            mixed = cache.attend(layer, *mixed.unbind(1))  # (B, H, 1, K)
            x = x + F.linear(mixed.reshape(num_rows, -1), *project)
            hidden = F.gelu(F.linear(normalise(x, *norm_2), *expand), approximate=exactness)
            x = x.add_(F.linear(hidden, *contract))
        cache.end()
        return normalise(x, *last)

    return step
