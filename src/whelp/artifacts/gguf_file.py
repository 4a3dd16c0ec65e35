"""A model as one GGUF file, the format of llama.cpp and what is built on it.

Layout: metadata (sizes, vocabulary), then tensors by llama.cpp's names. The vocabulary must be a byte-level BPE: llama.cpp
cuts text before merging by rules of its own, which `tokenizer.ggml.pre` names, so the rule must be one that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whelp.base.errors import ArtifactError, MissingExtraError, TokenizerError

if TYPE_CHECKING:
    import torch

DTYPES = ("f32", "f16", "bf16", "q8_0")
_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")  # Conv1D: (in, out)
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PRE_OF_PATTERN = {  # a tokenizer.json's pattern -> llama.cpp's name of the same rule
    _CONTRACTIONS + r"\p{N}{1,3}" + _TAIL: "dbrx",
    _CONTRACTIONS + r"\p{N}" + _TAIL: "qwen2",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt-2",
}


def write_gguf(
    path: Path,
    *,
    name: str,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    tokenizer: Mapping[str, Any],
    control_ids: Mapping[str, int],
    chat_template: str | None,
    dtype: str,
) -> dict[str, int]:
    """Write a model; returns how many tensors are stored in each type.

    Args:
        config: Contents of `config.json`; gpt2 or qwen3.
        weights: State dict under Hugging Face names.
        tokenizer: Contents of `tokenizer.json`.
        control_ids: Role (`eos`, `bos`, `pad`, `unk`) -> id.
        dtype: Of the matrices: f32, f16, bf16 or q8_0. Vectors, and GPT-2's positions, stay f32.

    Raises:
        ArtifactError: When the architecture is another.
        TokenizerError: When llama.cpp has no rule for the vocabulary.
        MissingExtraError: When the package gguf is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtraError("whelp export --format gguf", "gguf", "gguf") from None

    kind = str(config.get("model_type"))
    if kind not in ("gpt2", "qwen3"):
        raise ArtifactError(
            name, f"its architecture is {kind!r}", "gpt2 or qwen3", "llama.cpp's own convert_hf_to_gguf.py knows others."
        )
    pre = find_pre_tokenizer(tokenizer, name)
    arch = gguf.MODEL_ARCH.GPT2 if kind == "gpt2" else gguf.MODEL_ARCH.QWEN3
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[{"f32": "ALL_F32"}.get(dtype, f"MOSTLY_{dtype.upper()}")])
    if dtype == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    num_blocks = _add_sizes(writer, config)
    num_ids = next(tensor.shape[0] for key, tensor in weights.items() if key.endswith(("wte.weight", "embed_tokens.weight")))
    _add_vocabulary(writer, tokenizer, pre, control_ids, int(num_ids))
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    names = gguf.get_tensor_name_map(arch, num_blocks)
    counts: dict[str, int] = {}
    for key, tensor in weights.items():
        if key == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue  # llama.cpp takes the embedding where there is no head
        target = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert target is not None, f"llama.cpp has no name for {key}"
        values = (tensor.t() if key.endswith(_TRANSPOSED) and kind == "gpt2" else tensor).detach().float().cpu().numpy()
        stored = "f32" if values.ndim < 2 or target.startswith("position_embd") else dtype
        if stored == "q8_0" and values.shape[-1] % 32:
            stored = "f16"  # a row must be blocks of 32
        packed = gguf.quants.quantize(np.ascontiguousarray(values), gguf.GGMLQuantizationType[stored.upper()])
        writer.add_tensor(target, packed, raw_dtype=gguf.GGMLQuantizationType[stored.upper()])
        counts[stored] = counts.get(stored, 0) + 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return counts


def _add_sizes(writer: Any, config: Mapping[str, Any]) -> int:
    """The numbers of the architecture; returns the number of blocks."""
    if config["model_type"] == "gpt2":
        writer.add_block_count(config["n_layer"])
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return int(config["n_layer"])
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
    return int(config["num_hidden_layers"])


def _add_vocabulary(writer: Any, tokenizer: Mapping[str, Any], pre: str, control_ids: Mapping[str, int], num_ids: int) -> None:
    """Tokens by id, their types, and the merges; ids that no token has become unused ones."""
    import gguf

    tokens = [f"[PAD{token_id}]" for token_id in range(num_ids)]
    types = [gguf.TokenType.UNUSED] * num_ids
    for token, token_id in tokenizer["model"]["vocab"].items():
        tokens[token_id], types[token_id] = token, gguf.TokenType.NORMAL
    for entry in tokenizer.get("added_tokens") or []:
        is_control = entry.get("special") or entry["id"] in control_ids.values()
        tokens[entry["id"]] = entry["content"]
        types[entry["id"]] = gguf.TokenType.CONTROL if is_control else gguf.TokenType.USER_DEFINED
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    add = {"eos": "add_eos_token_id", "bos": "add_bos_token_id", "pad": "add_pad_token_id", "unk": "add_unk_token_id"}
    for role, token_id in control_ids.items():
        getattr(writer, add[role])(token_id)
    writer.add_add_bos_token(False)


def find_pre_tokenizer(tokenizer: Mapping[str, Any], name: str) -> str:
    """llama.cpp's name of the rule by which a tokenizer.json cuts text.

    Raises:
        TokenizerError: When it is no byte-level BPE, or llama.cpp has no such rule.
    """
    model = tokenizer.get("model") or {}
    step = "Use --format hf, or learn a vocabulary with `whelp tokenizer train`."
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise TokenizerError(name, f"its vocabulary is a {model.get('type')}, which GGUF cannot say", "a byte-level BPE", step)
    before = tokenizer.get("pre_tokenizer") or {}
    parts = before.get("pretokenizers", [before])
    last = parts[-1]
    pattern = None
    if last.get("type") == "ByteLevel" and not last.get("add_prefix_space"):
        if len(parts) == 1 and last.get("use_regex", True):
            return "gpt-2"
        if len(parts) == 2 and parts[0].get("type") == "Split" and not last.get("use_regex", True):
            pattern = parts[0].get("pattern", {}).get("Regex")
    pre = _PRE_OF_PATTERN.get(str(pattern))
    if pre is None:
        raise TokenizerError(
            name, "it cuts text by a rule that llama.cpp is not known to have", "GPT-2's, GPT-4's or Qwen's", step
        )
    return "llama-bpe" if pre == "dbrx" and model.get("ignore_merges") else pre
