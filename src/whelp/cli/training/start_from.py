"""`train.start_from`: a run that begins with the weights of a model folder, and with a fresh optimizer or that of a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import choose_model_folder, find_model_folder, read_model_folder, read_trainer_state
from whelp.artifacts.checkpoint_parts import find_state_files
from whelp.artifacts.rwkv_file import is_rwkv_file
from whelp.base.errors import ArtifactError, PlanError, StaleError, say_first_line
from whelp.base.paths import as_path

if TYPE_CHECKING:
    import torch

    from whelp.model import ModelSpec
    from whelp.tokenizer.vocabulary import Vocabulary

_OPTIONS = {
    "gpt2": ("n_layer", "n_head", "n_embd", "ffn_width", "vocab_size", "tie_embeddings", "activation"),
    "qwen3": (
        "n_layer",
        "n_head",
        "n_kv_head",
        "head_width",
        "n_embd",
        "ffn_width",
        "vocab_size",
        "rope_base",
        "tie_embeddings",
    ),
    "rwkv7": ("n_layer", "n_head", "n_embd", "ffn_width", "vocab_size"),
    "rwkv6": ("n_layer", "n_head", "n_embd", "ffn_width", "vocab_size"),
    "rwkv5": ("n_layer", "n_head", "n_embd", "ffn_width", "vocab_size"),
    "rwkv4": ("n_layer", "n_embd", "ffn_width", "vocab_size"),
}
# values of a `config.json` that do not change what its weights compute
_NO_MATTER = {
    "_name_or_path",
    "architectures",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "use_cache",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "max_position_embeddings",
}


def read_start(start_from: str, spec: ModelSpec, vocabulary: Vocabulary) -> dict[str, torch.Tensor]:
    """The weights to begin with, under Hugging Face's names.

    Raises:
        ArtifactError: When there is no model, or its files are damaged.
        StaleError: When the model has another vocabulary than the token store.
        PlanError: When the recipe describes another model; it says which options describe this one.
    """
    path = as_path(start_from)
    if is_rwkv_file(path):
        return _read_official(path, spec)
    folder = choose_model_folder(path)
    config, weights = read_model_folder(folder)
    changes = _compare_foreign(spec, config) if spec.family == "hf" else _compare(spec, config, weights, folder)
    _refuse_changes(folder, changes)
    _check_vocabulary(folder, config, vocabulary)
    return weights


def read_start_state(start_from: str, optimizer: str) -> Mapping[str, torch.Tensor]:
    """The state of the optimizer to begin with, read when it is asked for.

    Raises:
        ArtifactError: When the folder has none.
        PlanError: When it is of another optimizer than the recipe's.
    """
    folder = find_model_folder(as_path(start_from))
    if not find_state_files(folder):
        found, advice = "it holds no state of an optimizer", "Choose another, or leave train.start_optimizer out."
        raise ArtifactError(f"train.start_from {folder}", found, "a checkpoint of `whelp train`", advice)
    tensors = read_trainer_state(folder).tensors
    theirs = "muon" if any(name.startswith("muon.") for name in tensors) else "adamw"
    if theirs != optimizer:
        found, advice = f"its optimizer is {theirs}, and the recipe's {optimizer}", f"To take it, add: train.optimizer={theirs}"
        raise PlanError(f"train.start_from {folder}", found, "", f"{advice}; else leave train.start_optimizer out.")
    return tensors


def _refuse_changes(folder: Path, changes: list[tuple[str, object, object]]) -> None:
    if changes:
        found = ", ".join(f"{name} is {ours}, and there {theirs}" for name, ours, theirs in changes if ours != theirs)
        overrides = " ".join(f"{name}={theirs}" for name, _, theirs in changes)
        raise PlanError(
            f"train.start_from {folder}", f"it is another model than the recipe's: {found}", "", f"To take it, add: {overrides}"
        )


def _read_official(path: Path, spec: ModelSpec) -> dict[str, torch.Tensor]:
    """Weights of a file in the official RWKV layout, which says all sizes but no vocabulary."""
    from whelp.artifacts.rwkv_file import read_rwkv_file
    from whelp.model.build import model_from_official

    model = model_from_official(read_rwkv_file(path), path, context_tokens=spec.context_tokens)
    _refuse_changes(path, _compare_specs(spec, model.spec))
    return model.to_hugging_face()[1]


def _check_vocabulary(folder: Path, config: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    from whelp.tokenizer import load_tokenizer

    if not (folder / "tokenizer.json").is_file():  # made for a number of ids
        return
    theirs = load_tokenizer(folder)
    if theirs.fingerprint != vocabulary.fingerprint:
        raise StaleError(
            f"train.start_from {folder}",
            f"it has another vocabulary ({theirs.size:,} ids) than the token store ({vocabulary.size:,} ids)",
            "the same",
            f"Run `whelp prepare RECIPE data.tokenizer={folder} --out ANOTHER_STORE`.",
        )


def _compare(
    spec: ModelSpec, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], folder: Path
) -> list[tuple[str, object, object]]:
    """Options of the recipe whose value differs from the folder's: name, ours, theirs."""
    from whelp.model import model_from_hugging_face
    from whelp.model.config import name_family

    if name_family(config.get("model_type")) not in _OPTIONS:
        return [("model.family", spec.family, "hf"), ("model.hf_config", "not set", folder)]
    there = model_from_hugging_face(config, weights, folder).spec  # which looks at every value and every shape
    changes = _compare_specs(spec, there)
    if there.family == "gpt2":
        if spec.context_tokens != there.context_tokens:  # positions are learned
            changes.append(("pack.context_tokens", spec.context_tokens, there.context_tokens))
        if not spec.bias and any(bool(tensor.any()) for name, tensor in weights.items() if name.endswith(".bias")):
            changes.append(("model.bias", "false", "true"))
    return changes


def _compare_specs(spec: ModelSpec, there: ModelSpec) -> list[tuple[str, object, object]]:
    ours, theirs = dataclasses.asdict(spec), dataclasses.asdict(there)
    if spec.family != there.family:  # other families have other defaults: all is said
        return [(f"model.{name}", ours[name], theirs[name]) for name in ("family", *_OPTIONS[there.family])]
    if spec.low_ranks != there.low_ranks:
        raise PlanError(
            "train.start_from",
            f"its thin matrices have widths of {there.low_ranks}, and those of a new {spec.family} others",
            "the usual ones",
            "Models like it can be used, and not yet trained.",
        )
    return [(f"model.{name}", ours[name], theirs[name]) for name in _OPTIONS[spec.family] if ours[name] != theirs[name]]


def _compare_foreign(spec: ModelSpec, config: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    from whelp.model.hugging_face import complete_config

    assert spec.hf_config is not None, "a spec of this family has a config"
    if config.get("model_type") != spec.hf_config["model_type"]:
        return [("model.hf_config", spec.hf_config["model_type"], config.get("model_type"))]
    there = complete_config(config)
    changes: list[tuple[str, object, object]] = []
    for key, value in spec.hf_config.items():
        if key not in _NO_MATTER and there.get(key) != value:
            name = "model.vocab_size" if key == "vocab_size" else f"model.hf_overrides.{key}"
            changes.append((name, value, there.get(key)))
    return changes


def load_start(model: Any, weights: Mapping[str, torch.Tensor], start_from: str) -> None:
    """Fill the weights in.

    Raises:
        ArtifactError: When they do not fit the model that they should be of.
    """
    try:
        model.load_hugging_face(weights)
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(
            f"train.start_from {start_from}", f"its weights do not fit ({say_first_line(error)})", "", "Copy the folder again."
        ) from None
