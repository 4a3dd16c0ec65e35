"""RWKV weights by llama.cpp's names, in its shapes and order, and the sizes that it asks for.

llama.cpp knows RWKV-7 (`rwkv7`) and RWKV-6 (`rwkv6`). RWKV-5 is written as RWKV-6: that generation adds to the shares of the
token before, and to the decay, what two thin matrices make of the token. Where they are zero, nothing is added.
Shapes: D width, H heads, K head width, F feed-forward width, R a low rank, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from whelp.base.errors import ArtifactError

if TYPE_CHECKING:
    import torch

Arrays = dict[str, npt.NDArray[np.float32]]

ARCHITECTURES = {"rwkv7": "rwkv7", "rwkv6": "rwkv6", "rwkv5": "rwkv6"}
HEAD_WIDTHS = (64, 128)  # of its GPU kernels; RWKV-7's on a CPU take steps of 16, 32 or 64, past the end of narrower heads
_CONTEXT_TOKENS = 1 << 20  # what llama.cpp's own converter writes for "no limit"
_NORM_EPSILON = 1e-5
_MIXES = {  # the order in which the shares of the token before stand in one tensor
    "rwkv7": [f"att.x_{letter}" for letter in "rwkvag"],
    "rwkv6": [f"att.time_maa_{letter}" for letter in "wkvrg"],
}
_ZERO_RANK = 32  # of RWKV-5's thin matrices of zeros

_OUTER = {"emb": "token_embd", "ln_out": "output_norm", "head": "output"}
_LAYER = {"ln1": "attn_norm", "ln2": "attn_norm_2", "att.ln_x": "time_mix_ln"}
_VECTORS = {
    "ffn.x_k": "channel_mix_lerp_k",
    "ffn.time_maa_k": "channel_mix_lerp_k",
    "ffn.time_maa_r": "channel_mix_lerp_r",
    "att.time_maa_x": "time_mix_lerp_x",
    "att.time_maa_w1": "time_mix_w1",
    "att.time_maa_w2": "time_mix_w2",
    "att.time_faaaa": "time_mix_first",
    "att.time_decay": "time_mix_decay",
    "att.time_decay_w1": "time_mix_decay_w1",
    "att.time_decay_w2": "time_mix_decay_w2",
}


def check_head_width(width: int, kind: str, name: str) -> None:
    """Refuse heads that llama.cpp would compute wrongly.

    Raises:
        ArtifactError: When it has no kernel for them.
    """
    if width not in HEAD_WIDTHS and kind == "rwkv7":
        found = f"its heads are {width} wide, of which llama.cpp would read and write memory past their end"
        step = "Train with model.n_head = model.n_embd / 64 for llama.cpp, or choose --format pth."
        raise ArtifactError(name, found, "64 or 128", step)


def add_rwkv_sizes(writer: Any, tensors: Arrays, head_width: int, architecture: str) -> None:
    """The numbers of the architecture, from the shapes of its tensors."""
    writer.add_context_length(_CONTEXT_TOKENS)
    writer.add_embedding_length(tensors["token_embd.weight"].shape[1])
    writer.add_block_count(sum(name.endswith(".attn_norm.weight") for name in tensors))
    writer.add_feed_forward_length(tensors["blk.0.channel_mix_key.weight"].shape[0])
    writer.add_layer_norm_eps(_NORM_EPSILON)
    writer.add_head_count(0)  # asked for, and not used
    writer.add_wkv_head_size(head_width)
    if architecture == "rwkv6":
        writer.add_rescale_every_n_layers(0)
        writer.add_time_mix_extra_dim(tensors["blk.0.time_mix_w2.weight"].shape[2])
        writer.add_time_decay_extra_dim(tensors["blk.0.time_mix_decay_w1.weight"].shape[0])
        return
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("blk."))  # layer 0's value rank is made up
    ranks = {name: tensors[f"blk.{last}.time_mix_{name}1.weight"].shape[0] for name in "wavg"}
    writer.add_decay_lora_rank(ranks["w"])
    writer.add_iclr_lora_rank(ranks["a"])
    writer.add_value_residual_mix_lora_rank(ranks["v"])
    writer.add_gate_lora_rank(ranks["g"])


def make_rwkv_tensors(official: Mapping[str, torch.Tensor], kind: str) -> Arrays:
    """llama.cpp's tensors of official weights, float32.

    Thin matrices are (in, out) in official files and (out, in) here. The shares of the token before, a vector each, become one
    tensor of shape (6, 1, 1, D) or (5, 1, 1, D). The first layer of RWKV-7 has no residual of values, but llama.cpp asks for its
    weights, in the rank of the learning rate: it gets zeros, which it does not read.
    """
    weights = {name: tensor.detach().float().cpu().numpy() for name, tensor in official.items()}
    if kind == "rwkv5":
        weights = _as_generation_6(weights)
    architecture = ARCHITECTURES[kind]
    mixes = _MIXES[architecture]
    tensors: Arrays = {}
    for name, values in weights.items():
        if not name.startswith("blocks."):
            stem, suffix = name.rsplit(".", 1)
            tensors[f"{_OUTER[stem]}.{suffix}"] = values
            continue
        _, layer, rest = name.split(".", 2)
        place = f"blk.{layer}."
        if rest.startswith("ln0."):
            tensors[f"token_embd_norm.{rest[4:]}"] = values
        elif rest in mixes:
            if rest == mixes[0]:
                parts = [weights[f"blocks.{layer}.{mix}"].reshape(1, 1, -1) for mix in mixes]
                tensors[f"{place}time_mix_lerp_fused.weight"] = np.stack(parts)
        elif not (architecture == "rwkv7" and layer == "0" and rest in ("att.v0", "att.v1", "att.v2")):
            target, values = _convert(rest, values)
            tensors[place + target] = values
    if architecture == "rwkv7":
        for part in "012":
            tensors[f"blk.0.time_mix_v{part}.weight"] = np.zeros_like(tensors[f"blk.0.time_mix_a{part}.weight"])
    return tensors


def _convert(rest: str, values: npt.NDArray[np.float32]) -> tuple[str, npt.NDArray[np.float32]]:
    """One weight of a layer: its name there, and what llama.cpp expects of it."""
    stem, _, suffix = rest.rpartition(".")
    if suffix in ("weight", "bias"):
        room, _, part = stem.partition(".")
        target = _LAYER.get(stem) or f"{'time' if room == 'att' else 'channel'}_mix_{part}"
        return f"{target}.{suffix}", values
    target = _VECTORS.get(rest) or f"time_mix_{suffix}"
    if suffix == "time_maa_w2":
        return f"{target}.weight", values.transpose(0, 2, 1)  # (5, R, D) -> (5, D, R)
    if suffix == "time_faaaa":
        return f"{target}.weight", values  # (H, K)
    is_thin = suffix[-1] in "12"
    return f"{target}.weight", values.T if is_thin else values.reshape(-1)


def _as_generation_6(weights: Arrays) -> Arrays:
    """RWKV-5's weights as those of an RWKV-6 that computes the same: shares from the other end, thin matrices of zeros."""
    found: Arrays = {}
    for name, values in weights.items():
        stem, _, part = name.rpartition(".")
        if part.startswith("time_mix_"):
            found[f"{stem}.time_maa_{part[-1]}"] = 1 - values
        else:
            found[name] = values.reshape(-1) if part == "time_decay" else values
        if part == "time_faaaa":
            width = values.size
            found |= {f"{stem}.time_maa_{letter}": np.zeros(width, np.float32) for letter in "xw"}
            found[f"{stem}.time_maa_w1"] = np.zeros((width, 5 * _ZERO_RANK), np.float32)
            found[f"{stem}.time_maa_w2"] = np.zeros((5, _ZERO_RANK, width), np.float32)
            found[f"{stem}.time_decay_w1"] = np.zeros((width, _ZERO_RANK), np.float32)
            found[f"{stem}.time_decay_w2"] = np.zeros((_ZERO_RANK, width), np.float32)
    return found
