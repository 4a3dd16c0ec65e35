"""A few new tokens for each row on a CPU: the arithmetic of our families without modules, autograd or copies.

A small model reads so little for a token that calling modules costs as much as computing: here a block is some thirty calls
of the framework, each with weights that were looked up once. They are the model's own (but for the small norms of queries and
keys), and large ones also in another order once several tokens are read at a time (`few_rows.py`).
Shapes: B rows, T new tokens, N = B * T, D width, H heads, G key/value heads, K head width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F

from whelp.model.cpu.few_rows import MOST_COPIED, Product
from whelp.model.decoding.key_value_cache import Cache
from whelp.model.gpt2 import GPT2
from whelp.model.language_model import LanguageModel
from whelp.model.qwen3 import Qwen3

MakeProduct = Callable[[torch.Tensor, torch.Tensor | None], "AnyProduct"]
"""From a weight (O, I) and a bias (O,)."""
Step = Callable[[torch.Tensor, Cache], torch.Tensor]
"""Ids (B, T) and a cache whose rows are selected; the normalised last hidden states (N, D), the tokens of a row together."""
MOST_TOKENS = 64  # read in this way at a time; for more the modules are as fast


class AnyProduct(Protocol):
    """Multiplies with a weight (O, I)."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...
    def add_to(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor: ...


def make_product(model: LanguageModel, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Product:
    """A product with one of the model's matrices."""
    may_copy = model.num_parameters() <= MOST_COPIED
    return Product(weight, bias, may_copy=may_copy, is_rounded=model.reads_rounded)


def make_step(model: LanguageModel, make: MakeProduct | None = None) -> Step | None:
    """The quick step of a model, or None where the model itself is as good.

    Args:
        make: Makes the products with its matrices; default: `make_product`.
    """
    weight = model.head_weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    if type(model) is Qwen3:
        return _make_qwen3_step(model, make or partial(make_product, model))
    return _make_gpt2_step(model, make or partial(make_product, model)) if type(model) is GPT2 else None


def _make_qwen3_step(model: Qwen3, make: MakeProduct) -> Step:
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
        products = [make(weights[name], None) for name in ("query_key_value", "project", "gate_up", "down")]
        blocks.append((both_norms, weights["norm_1"], weights["norm_2"], products))
    embed, last = model.embed.weight.detach(), model.norm.weight.detach()

    def step(ids: torch.Tensor, cache: Cache) -> torch.Tensor:
        num_rows, num_new = ids.shape
        positions = cache.begin(ids)
        cosine, sine = model.rotation(positions, cache.capacity, ids.device)  # (T, 1, K/2) or (B, T, 1, K/2)
        if num_rows > 1 and num_new > 1:
            cosine, sine = (part.expand(num_rows, num_new, 1, -1) for part in (cosine, sine))
        cosine, sine = (part.reshape(-1, 1, 1, width // 2) for part in (cosine, sine))
        sine = torch.cat((-sine, sine), dim=2)  # (1 or N, 1, 2, K/2)
        x = F.embedding(ids.flatten(), embed)  # (N, D)
        for layer, (both_norms, norm_1, norm_2, products) in enumerate(blocks):
            query_key_value, project, gate_up, down = products
            mixed = query_key_value(normalise(x, norm_1)).view(num_rows * num_new, -1, width)  # (N, H + 2G, K)
            both = normalise(mixed[:, : heads + groups], both_norms).view(num_rows * num_new, -1, 2, width // 2)
            both = torch.addcmul(both * cosine, both.flip(2), sine).view(num_rows, num_new, -1, width).transpose(1, 2)
            values = mixed[:, heads + groups :].view(num_rows, num_new, -1, width).transpose(1, 2)
            mixed = cache.attend(layer, both[:, :heads], both[:, heads:], values).transpose(1, 2)  # (B, T, H, K)
            x = project.add_to(x, mixed.reshape(num_rows * num_new, -1))
            gate, up = gate_up(normalise(x, norm_2)).chunk(2, dim=-1)
            x = down.add_to(x, F.silu(gate).mul_(up))
        cache.end()
        return normalise(x, last)

    return step


def _make_gpt2_step(model: GPT2, make: MakeProduct) -> Step:
    spec = model.spec
    heads, width = spec.n_head, spec.head_width
    exactness = "tanh" if spec.activation == "gelu_tanh" else "none"

    def parts(module: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight, bias = module.weight, module.bias
        assert isinstance(weight, torch.Tensor), f"{module} has no weight"
        return weight.detach(), bias.detach() if isinstance(bias, torch.Tensor) else None

    norms, matrices = ("norm_1", "norm_2"), ("query_key_value", "project", "expand", "contract")
    blocks = [
        (
            [parts(getattr(block, name)) for name in norms],
            [make(*parts(getattr(block, name))) for name in matrices],
        )
        for block in model.blocks
    ]
    embed, places, last = model.embed.weight.detach(), model.positions.weight.detach(), parts(model.norm)

    def normalise(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return torch.layer_norm(x, (x.shape[-1],), weight, bias, spec.norm_eps)

    def step(ids: torch.Tensor, cache: Cache) -> torch.Tensor:
        num_rows, num_new = ids.shape
        x = F.embedding(ids, embed) + places[cache.begin(ids)]  # (B, T, D)
        x = x.view(num_rows * num_new, -1)  # (N, D)
        for layer, ((norm_1, norm_2), (query_key_value, project, expand, contract)) in enumerate(blocks):
            mixed = query_key_value(normalise(x, *norm_1)).view(num_rows, num_new, 3, heads, width)
            mixed = cache.attend(layer, *mixed.permute(2, 0, 3, 1, 4).unbind(0)).transpose(1, 2)  # (B, T, H, K)
            x = project.add_to(x, mixed.reshape(num_rows * num_new, -1))
            hidden = F.gelu(expand(normalise(x, *norm_2)), approximate=exactness)
            x = contract.add_to(x, hidden)
        cache.end()
        return normalise(x, *last)

    return step
