"""A model as one GGUF file, the format of llama.cpp and what is built on it.

Layout: metadata (sizes, vocabulary), then tensors by llama.cpp's names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.gguf_rwkv import ARCHITECTURES, HEAD_WIDTHS, add_rwkv_sizes, check_head_width, make_rwkv_tensors
from whelp.artifacts.gguf_vocabulary import add_vocabulary, find_pre_tokenizer
from whelp.base.errors import ArtifactError, MissingExtraError
from whelp.base.log import log

if TYPE_CHECKING:
    import torch

_ARCHITECTURES = {"gpt2": "gpt2", "qwen3": "qwen3", **ARCHITECTURES}
_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")  # Conv1D: (in, out)
_EXACT = ("position_embd", "time_mix_first")  # matrices that llama.cpp reads as float32


def write_gguf(
    path: Path,
    *,
    name: str,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    tokenizer: Mapping[str, Any],
    control_ids: Mapping[str, int],
    read_token: Callable[[int], bytes],
    chat_template: str | None,
    dtype: str,
    license: str | None = None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, int]:
    """Write a model; returns how many tensors are stored in each type.

    Args:
        config: Contents of `config.json`; of gpt2, qwen3 or an RWKV.
        weights: State dict under Hugging Face names; of an RWKV under those of the official files.
        tokenizer: Contents of `tokenizer.json`.
        control_ids: Role (`eos`, `bos`, `pad`, `unk`) -> id.
        read_token: From an id to the bytes that it stands for.
        dtype: Of the matrices: f32, f16, bf16 or q8_0. Vectors, GPT-2's positions and RWKV's thin matrices stay f32.
        license: Of the weights.
        more: Texts for the metadata, by keys of our own. Programs that do not know them pass them over; llama.cpp's own keep them
            where they store the weights in other numbers.

    Raises:
        ArtifactError: When llama.cpp does not have the architecture, or not with such heads.
        TokenizerError: When llama.cpp has no rule for the vocabulary.
        MissingExtraError: When the package gguf is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtraError("whelp export --format gguf", "gguf", "gguf") from None

    kind = str(config.get("model_type"))
    check_fit(config, tokenizer, name)
    writer = gguf.GGUFWriter(path, _ARCHITECTURES[kind])
    writer.add_name(name)
    if license is not None:
        writer.add_license(license)
    for key, text in more.items():
        writer.add_string(key, text)
    writer.add_file_type(gguf.LlamaFileType[{"f32": "ALL_F32"}.get(dtype, f"MOSTLY_{dtype.upper()}")])
    if dtype == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if kind in ARCHITECTURES:
        tensors = make_rwkv_tensors(weights, kind)
        width = _head_width(config)
        add_rwkv_sizes(writer, tensors, width, ARCHITECTURES[kind])
        if width not in HEAD_WIDTHS:
            log.warning("%s: its heads are %d wide; on a GPU llama.cpp computes heads of 64 and 128 alone.", name, width)
    else:
        _add_sizes(writer, config)
        tensors = _make_tensors(config, weights)
    num_ids = tensors["token_embd.weight"].shape[0]
    add_vocabulary(writer, name=name, tokenizer=tokenizer, control_ids=control_ids, num_ids=num_ids, read_token=read_token)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    counts: dict[str, int] = {}
    for target, values in tensors.items():
        stored = _choose_type(target, values, dtype)
        packed = gguf.quants.quantize(np.ascontiguousarray(values), gguf.GGMLQuantizationType[stored.upper()])
        writer.add_tensor(target, packed, raw_dtype=gguf.GGMLQuantizationType[stored.upper()])
        counts[stored] = counts.get(stored, 0) + 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return counts


def check_fit(config: Mapping[str, Any], tokenizer: Mapping[str, Any], name: str) -> None:
    """Refuse a model that llama.cpp cannot run.

    Raises:
        ArtifactError, TokenizerError: As `write_gguf`.
    """
    kind = str(config.get("model_type"))
    if kind == "rwkv":
        found, step = "it is an RWKV-4, which llama.cpp does not know", "Choose --format hf, which transformers opens, or pth."
        raise ArtifactError(name, found, "RWKV-7, RWKV-6 or RWKV-5", step)
    if kind not in _ARCHITECTURES:
        *firsts, last = _ARCHITECTURES
        raise ArtifactError(
            name,
            f"its architecture is {kind!r}",
            f"{', '.join(firsts)} or {last}",
            "llama.cpp's own convert_hf_to_gguf.py knows others.",
        )
    if kind in ARCHITECTURES:
        check_head_width(_head_width(config), kind, name)
    find_pre_tokenizer(tokenizer, name)


def _head_width(config: Mapping[str, Any]) -> int:
    """Of an RWKV; flash-linear-attention's name of it, or ours."""
    return int(config.get("head_dim") or config.get("head_size") or 64)


def _choose_type(target: str, values: npt.NDArray[np.float32], dtype: str) -> str:
    """The type in which a tensor is stored: `dtype` for the large matrices."""
    is_thin = target.startswith("blk.") and target.split(".")[2].startswith("time_mix_") and target.split(".")[2][-1].isdigit()
    if values.ndim != 2 or is_thin or any(name in target for name in _EXACT):
        return "f32"
    return "f16" if dtype == "q8_0" and values.shape[-1] % 32 else dtype  # a row of q8_0 must be blocks of 32


def _make_tensors(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> dict[str, npt.NDArray[np.float32]]:
    """Weights of gpt2 or qwen3 by llama.cpp's names, float32."""
    import gguf

    is_gpt2 = config["model_type"] == "gpt2"
    arch = gguf.MODEL_ARCH.GPT2 if is_gpt2 else gguf.MODEL_ARCH.QWEN3
    names = gguf.get_tensor_name_map(arch, config["n_layer" if is_gpt2 else "num_hidden_layers"])
    tensors = {}
    for key, tensor in weights.items():
        if key == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue  # llama.cpp takes the embedding where there is no head
        target = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert target is not None, f"llama.cpp has no name for {key}"
        values = tensor.t() if is_gpt2 and key.endswith(_TRANSPOSED) else tensor
        tensors[target] = values.detach().float().cpu().numpy()
    return tensors


def _add_sizes(writer: Any, config: Mapping[str, Any]) -> None:
    """The numbers of the architecture gpt2 or qwen3."""
    if config["model_type"] == "gpt2":
        writer.add_block_count(config["n_layer"])
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_freq_base(float(config.get("rope_theta") or rope.get("rope_theta", 10_000.0)))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
