"""A plain reading of GGUF files of RWKV: metadata, tensors and logits, by what llama.cpp's graph does with them, in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and tensors (dequantised), by gguf's own reader."""
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}


def compute_logits(path: Path, ids: list[int]) -> np.ndarray:
    """(T, V), token by token, from nothing but the file."""
    fields, tensors = read(path)
    kind = fields["general.architecture"]
    num_layers, eps = fields[f"{kind}.block_count"], fields[f"{kind}.attention.layer_norm_epsilon"]
    width, head = fields[f"{kind}.embedding_length"], fields[f"{kind}.wkv.head_size"]
    mix = {"rwkv6": _mix_6, "rwkv7": _mix_7}[kind]
    state = [(np.zeros(width), np.zeros(width), np.zeros((width // head, head, head))) for _ in range(num_layers)]
    found = []
    for token_id in ids:
        x, first_value = _norm(tensors["token_embd.weight"][token_id], tensors, "token_embd_norm", eps), None
        for layer, (before_time, before_channel, memory) in enumerate(state):
            part = {name.split(".", 2)[2]: value for name, value in tensors.items() if name.startswith(f"blk.{layer}.")}
            now_time = _norm(x, part, "attn_norm", eps)
            mixed, memory, first_value = mix(part, now_time, before_time - now_time, memory, first_value, head)
            x = x + mixed
            now_channel = _norm(x, part, "attn_norm_2", eps)
            change = before_channel - now_channel
            key = part["channel_mix_key.weight"] @ (now_channel + change * part["channel_mix_lerp_k.weight"])
            mixed = part["channel_mix_value.weight"] @ np.square(np.maximum(key, 0))
            if kind == "rwkv6":
                mixed_r = now_channel + change * part["channel_mix_lerp_r.weight"]
                mixed = mixed * _sigmoid(part["channel_mix_receptance.weight"] @ mixed_r)
            x = x + mixed
            state[layer] = (now_time, now_channel, memory)
        found.append(tensors["output.weight"] @ _norm(x, tensors, "output_norm", eps))
    return np.array(found)


def _mix_6(part: dict[str, np.ndarray], x: np.ndarray, change: np.ndarray, memory: np.ndarray, _: Any, head: int) -> tuple:
    thin = np.tanh(part["time_mix_w1.weight"] @ (x + change * part["time_mix_lerp_x.weight"])).reshape(5, -1)
    shares = part["time_mix_lerp_fused.weight"].reshape(5, -1) + np.einsum("mdr,mr->md", part["time_mix_w2.weight"], thin)
    xw, xk, xv, xr, xg = x + change * shares
    r, k, v = (
        (part[f"time_mix_{name}.weight"] @ value).reshape(-1, head)
        for name, value in (("receptance", xr), ("key", xk), ("value", xv))
    )
    decay = part["time_mix_decay.weight"] + part["time_mix_decay_w2.weight"] @ np.tanh(part["time_mix_decay_w1.weight"] @ xw)
    pairs = np.einsum("hk,hv->hkv", k, v)
    found = np.einsum("hk,hkv->hv", r, memory + part["time_mix_first.weight"][:, :, None] * pairs)
    memory = memory * np.exp(-np.exp(decay)).reshape(-1, head)[:, :, None] + pairs
    gate = part["time_mix_gate.weight"] @ xg
    return part["time_mix_output.weight"] @ (_norm_heads(found, part) * gate * _sigmoid(gate)), memory, None


def _mix_7(part: dict[str, np.ndarray], x: np.ndarray, change: np.ndarray, memory: np.ndarray, first: Any, head: int) -> tuple:
    xr, xw, xk, xv, xa, xg = x + change * part["time_mix_lerp_fused.weight"].reshape(6, -1)
    weight = {name.removeprefix("time_mix_").removesuffix(".weight"): value for name, value in part.items()}
    r, k, v = weight["receptance"] @ xr, weight["key"] @ xk, weight["value"] @ xv
    decay = np.exp(-0.606531 * _sigmoid(weight["w0"] + weight["w2"] @ np.tanh(weight["w1"] @ xw)))
    if first is None:
        first = v
    else:
        v = v + (first - v) * _sigmoid(weight["v0"] + weight["v2"] @ (weight["v1"] @ xv))
    rate = _sigmoid(weight["a0"] + weight["a2"] @ (weight["a1"] @ xa))
    gate = weight["g2"] @ _sigmoid(weight["g1"] @ xg)
    direction = (k * weight["k_k"]).reshape(-1, head)
    direction = direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)
    k = k * (1 + (rate - 1) * weight["k_a"])
    r, k, v, rate, decay = (value.reshape(-1, head) for value in (r, k, v, rate, decay))
    seen = np.einsum("hvk,hk->hv", memory, -direction)  # rows of the memory are values
    memory = memory * decay[:, None] + np.einsum("hv,hk->hvk", v, k) + np.einsum("hv,hk->hvk", seen, direction * rate)
    found = _norm_heads(np.einsum("hvk,hk->hv", memory, r), part)
    found = found + ((r * k * weight["r_k"].reshape(-1, head)).sum(1, keepdims=True) * v).ravel()
    return weight["output"] @ (found * gate), memory, first


def _norm_heads(x: np.ndarray, part: dict[str, np.ndarray]) -> np.ndarray:
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 64e-5)
    return x.ravel() * part["time_mix_ln.weight"] + part["time_mix_ln.bias"]


def _norm(x: np.ndarray, tensors: dict[str, np.ndarray], name: str, eps: float) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + eps) * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
