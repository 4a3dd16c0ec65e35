"""From a spec, or from a Hugging Face folder's contents, to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from whelp.base.errors import ArtifactError, say_first_line
from whelp.base.seeds import make_seed
from whelp.model.config import RECURRENT_FAMILIES, ModelSpec, name_family
from whelp.model.cpu.huge_pages import ask_for_huge_pages, move_to_huge_pages
from whelp.model.gpt2 import GPT2
from whelp.model.hugging_face import HuggingFaceModel
from whelp.model.language_model import LanguageModel
from whelp.model.qwen3 import Qwen3
from whelp.model.rwkv.rwkv4 import Rwkv4
from whelp.model.rwkv.rwkv5 import Rwkv5
from whelp.model.rwkv.rwkv6 import Rwkv6
from whelp.model.rwkv.rwkv7 import Rwkv7

Family = type[GPT2] | type[Qwen3] | type[Rwkv4] | type[Rwkv5] | type[Rwkv6] | type[Rwkv7]
FAMILIES: dict[str, Family] = {
    "gpt2": GPT2,
    "qwen3": Qwen3,
    "rwkv7": Rwkv7,
    "rwkv6": Rwkv6,
    "rwkv5": Rwkv5,
    "rwkv4": Rwkv4,
}

# settings of a `config.json` that change the arithmetic, and the only value our families compute
_ONLY: dict[str, dict[str, object]] = {
    "gpt2": {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False},
    "qwen3": {"attention_bias": False, "hidden_act": "silu", "use_sliding_window": False},
    "rwkv7": {"hidden_act": "sqrelu", "norm_first": True, "norm_bias": True, "attn": None, "tie_word_embeddings": False},
    "rwkv6": {"tie_word_embeddings": False},
    "rwkv5": {"tie_word_embeddings": False},
    "rwkv4": {"tie_word_embeddings": False, "layer_norm_epsilon": 1e-5},
}


def build_model(spec: ModelSpec, seed: int = 0) -> LanguageModel:
    """Allocate a model and draw its first weights; the same seed gives the same weights, to the bit."""
    number = make_seed(seed, "init")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)  # architectures of transformers draw while they are built
        model = find_family(spec)(spec)
    model.init_weights(torch.Generator().manual_seed(number))
    return model


def build_skeleton(spec: ModelSpec) -> LanguageModel:
    """A model whose weights have shapes and take no memory."""
    with torch.device("meta"), _Undrawn():
        return find_family(spec)(spec)


class _Undrawn(TorchFunctionMode):
    """Inside, layers do not draw their first weights: without memory there are none, and asking for them imports the compiler."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        arguments = kwargs or {}
        if getattr(function, "__module__", None) == torch.nn.init.__name__ and "tensor" in arguments:
            return arguments["tensor"]
        return function(*args, **arguments)


def find_family(spec: ModelSpec) -> Family | type[HuggingFaceModel]:
    """The class of a spec."""
    return HuggingFaceModel if spec.family == "hf" else FAMILIES[spec.family]


def count_parameters(spec: ModelSpec) -> int:
    """How many numbers a model of this spec has, without allocating it."""
    return build_skeleton(spec).num_parameters()


def count_token_flops(spec: ModelSpec) -> int:
    """Arithmetic of training on one token: 6 for each number that is multiplied, 12 x layers x width of all heads x context for
    attention (Chowdhery et al. 2022, PaLM, appendix B); the embedding is looked up, not multiplied."""
    looked_up = 0 if spec.tie_embeddings else spec.vocab_size * spec.n_embd
    width = spec.n_layer * spec.n_head * spec.head_width
    if spec.family in RECURRENT_FAMILIES:  # the state of a head is looked up, added to and read: a (K, K) product each
        attention = 18 * width * spec.head_width
    else:
        attention = 12 * width * spec.context_tokens
    return 6 * (count_parameters(spec) - looked_up) + attention


def model_from_hugging_face(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], where: object) -> LanguageModel:
    """Build the model that a `config.json` describes and fill in its weights.

    Raises:
        ArtifactError: When `find_obstacle` finds one, or weights are missing or of another shape.
    """
    obstacle = find_obstacle(config, where)
    if obstacle is not None:
        raise obstacle
    family = FAMILIES[name_family(config["model_type"])]
    with _Undrawn():
        model = family(family.spec_from_hugging_face(config))
    ask_for_huge_pages(model.parameters())
    try:
        model.load_hugging_face(weights)
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(
            where, f"its weights do not fit its config.json ({say_first_line(error)})", "", "Copy the folder again."
        ) from None
    move_to_huge_pages(model.parameters())  # the few that had been written to before
    return model


def model_from_official(weights: Mapping[str, torch.Tensor], where: object, *, context_tokens: int) -> LanguageModel:
    """Build the RWKV model that official weights are of, and fill them in.

    Args:
        context_tokens: What it is to be trained on at a time; the weights do not say.

    Raises:
        ArtifactError: When they are of another generation than ours, or none, or some are missing.
    """
    family = find_official_family(weights, where)
    try:
        model = family(family.spec_from_official(weights, context_tokens))
        model.load_official(weights)
    except (KeyError, RuntimeError, ValueError, StopIteration) as error:
        raise ArtifactError(
            where, f"its weights are not those of a whole {family.__name__} ({say_first_line(error)})", "", "Copy it again."
        ) from None
    return model


def find_official_family(
    weights: Mapping[str, torch.Tensor], where: object
) -> type[Rwkv4] | type[Rwkv5] | type[Rwkv6] | type[Rwkv7]:
    """The generation that official weights are of, by names that only it has.

    Raises:
        ArtifactError: When it is none of ours.
    """
    first = {name.removeprefix("blocks.0.att.") for name in weights if name.startswith("blocks.0.att.")}
    if "r_k" in first:
        return Rwkv7
    if {"gate.weight", "time_faaaa"} <= first:
        return Rwkv6 if "time_maa_x" in first else Rwkv5
    is_fourth = "time_first" in first and "ln_x.weight" not in first
    found = _describe_variant(weights) if is_fourth else "an early RWKV-5" if "time_decay" in first else "no RWKV"
    if found is None:
        return Rwkv4
    raise ArtifactError(where, f"its weights are of {found}", "RWKV-7, RWKV-6, RWKV-5.2 or RWKV-4", "Use a model of those.")


def _describe_variant(weights: Mapping[str, torch.Tensor]) -> str | None:
    """What sets official RWKV-4 weights apart from RWKV-4 itself; None: nothing."""
    if any(".tiny_" in name for name in weights):
        return "an RWKV-4 with tiny attention"
    norm, inner = weights.get("blocks.0.ln1.weight"), weights["blocks.0.att.time_first"].numel()
    if norm is None or norm.numel() == inner:
        return None
    return f"an RWKV-4 whose time mixing is {inner} wide, and the rest {norm.numel()}"


def find_obstacle(config: Mapping[str, Any], where: object) -> ArtifactError | None:
    """Why our own code cannot compute what a `config.json` describes, or None."""
    kind = name_family(config.get("model_type"))
    family = FAMILIES.get(kind)
    if family is None:
        return ArtifactError(
            where, f"its architecture is {config.get('model_type')!r}", f"one of {', '.join(FAMILIES)}", "Use a model of those."
        )
    if family is GPT2 and config.get("activation_function", "gelu_new") not in ("gelu", "gelu_new", "gelu_pytorch_tanh"):
        return ArtifactError(where, f"its activation is {config['activation_function']!r}", "gelu_new or gelu", "")
    for name, only in _ONLY[kind].items():
        if config.get(name, only) != only:
            return ArtifactError(where, f"its {name} is {config[name]!r}", f"{only!r}", "Use a model without.")
    width = config.get("attention_hidden_size")
    if family is Rwkv4 and width not in (None, config.get("hidden_size")):
        return ArtifactError(where, f"its attention_hidden_size is {width}", "the hidden_size", "Use a model without.")
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    rule = scaling.get("rope_type", scaling.get("type", "default"))
    if rule != "default":
        return ArtifactError(where, f"its rotary positions are scaled ({rule!r})", "plain ones", "Use a model without.")
    return None
