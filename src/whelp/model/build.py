"""From a spec, or from a Hugging Face folder's contents, to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from whelp.base.errors import ArtifactError
from whelp.base.seeds import make_seed
from whelp.model.config import ModelSpec
from whelp.model.gpt2 import GPT2
from whelp.model.hugging_face import HuggingFaceModel
from whelp.model.language_model import LanguageModel
from whelp.model.qwen3 import Qwen3

FAMILIES: dict[str, type[GPT2] | type[Qwen3]] = {"gpt2": GPT2, "qwen3": Qwen3}

# settings of a `config.json` that change the arithmetic, and the only value our families compute
_ONLY: dict[str, dict[str, object]] = {
    "gpt2": {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False},
    "qwen3": {"attention_bias": False, "hidden_act": "silu", "use_sliding_window": False},
}


def build_model(spec: ModelSpec, seed: int = 0) -> LanguageModel:
    """Allocate a model and draw its first weights; the same seed gives the same weights, to the bit."""
    number = make_seed(seed, "init")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)  # architectures of transformers draw while they are built
        model = find_family(spec)(spec)
    model.init_weights(torch.Generator().manual_seed(number))
    return model


def find_family(spec: ModelSpec) -> type[GPT2] | type[Qwen3] | type[HuggingFaceModel]:
    """The class of a spec."""
    return HuggingFaceModel if spec.family == "hf" else FAMILIES[spec.family]


def count_parameters(spec: ModelSpec) -> int:
    """How many numbers a model of this spec has, without allocating it."""
    with torch.device("meta"):
        return find_family(spec)(spec).num_parameters()


def count_token_flops(spec: ModelSpec) -> int:
    """Arithmetic of training on one token: 6 for each number that is multiplied, 12 x layers x width of all heads x context for
    attention (Chowdhery et al. 2022, PaLM, appendix B); the embedding is looked up, not multiplied."""
    looked_up = 0 if spec.tie_embeddings else spec.vocab_size * spec.n_embd
    attention = 12 * spec.n_layer * spec.n_head * spec.head_width * spec.context_tokens
    return 6 * (count_parameters(spec) - looked_up) + attention


def model_from_hugging_face(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], where: object) -> LanguageModel:
    """Build the model that a `config.json` describes and fill in its weights.

    Raises:
        ArtifactError: When `find_obstacle` finds one, or weights are missing or of another shape.
    """
    obstacle = find_obstacle(config, where)
    if obstacle is not None:
        raise obstacle
    family = FAMILIES[str(config["model_type"])]
    model = family(family.spec_from_hugging_face(config))
    try:
        model.load_hugging_face(weights)
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(where, f"its weights do not fit its config.json ({error})", "", "Copy the folder again.") from None
    return model


def find_obstacle(config: Mapping[str, Any], where: object) -> ArtifactError | None:
    """Why our own code cannot compute what a `config.json` describes, or None."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return ArtifactError(
            where, f"its architecture is {config.get('model_type')!r}", f"one of {', '.join(FAMILIES)}", "Use a model of those."
        )
    if family is GPT2 and config.get("activation_function", "gelu_new") not in ("gelu", "gelu_new", "gelu_pytorch_tanh"):
        return ArtifactError(where, f"its activation is {config['activation_function']!r}", "gelu_new or gelu", "")
    for name, only in _ONLY[str(config["model_type"])].items():
        if config.get(name, only) != only:
            return ArtifactError(where, f"its {name} is {config[name]!r}", f"{only!r}", "Use a model without.")
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        return ArtifactError(where, f"its rotary positions are scaled ({kind!r})", "plain ones", "Use a model without.")
    return None
