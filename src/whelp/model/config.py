"""What a model is: as asked for in a recipe, and as resolved with every number known."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from whelp.base.config import option
from whelp.base.errors import ConfigError

RECURRENT_FAMILIES = ("rwkv7", "rwkv6", "rwkv5", "rwkv4")
_MODEL_TYPES = {"rwkv": "rwkv4"}  # what transformers calls a family of ours, where it is not our name
_OF_ONE_FAMILY = {  # options that one family alone has
    "n_kv_head": "qwen3",
    "head_width": "qwen3",
    "rope_base": "qwen3",
    "dropout": "gpt2",
    "activation": "gpt2",
    "bias": "gpt2",
}
VOCAB_MULTIPLE = 64  # rows of the embedding are rounded up to this: an odd vocabulary costs up to 5x in the head on a GPU


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The `model` section of a recipe."""

    family: Literal["gpt2", "qwen3", "rwkv7", "rwkv6", "rwkv5", "rwkv4", "hf"] = option(
        "qwen3",
        "architecture: gpt2 (exactly GPT-2), qwen3 (RMSNorm, RoPE, QK norm, SwiGLU), rwkv7, rwkv6, rwkv5 or rwkv4 (recurrent: "
        "constant memory), or hf (any of transformers: hf_config)",
        known_as=("architecture", "model_type"),
    )
    hf_config: str | None = option(
        None,
        "hf: a kind that transformers knows, such as llama, with its default sizes; a folder with a config.json; a hub id",
        is_path=True,
        if_there=True,
    )
    hf_overrides: dict[str, Any] = option(
        {}, "hf: values of the config to replace, by its own names, such as {num_hidden_layers: 4}"
    )
    n_layer: int = option(
        6, "number of blocks", at_least=1, known_as=("num_hidden_layers", "num_layers", "n_layers", "layers", "depth")
    )
    n_head: int = option(
        6,
        "number of attention heads (rwkv4 has none)",
        at_least=1,
        known_as=("num_attention_heads", "num_heads", "n_heads", "heads"),
    )
    n_embd: int = option(384, "width", at_least=1, known_as=("hidden_size", "d_model", "dim", "width", "n_embed"))
    n_kv_head: int | None = option(
        None,
        "qwen3: number of key/value heads, shared by groups of heads; default n_head",
        at_least=1,
        known_as=("num_key_value_heads", "num_kv_heads"),
    )
    head_width: int | None = option(
        None, "qwen3: width of one head; default n_embd / n_head", at_least=2, known_as=("head_dim", "head_size")
    )
    ffn_width: int | None = option(
        None,
        "hidden width of the feed-forward; default 4 x n_embd (gpt2, rwkv7, rwkv4), 3.5 x (rwkv5, rwkv6), 8/3 x (qwen3)",
        at_least=1,
        known_as=("intermediate_size", "d_ff", "dim_ffn", "n_inner"),
    )
    vocab_size: int | None = option(
        None, "rows of the embedding; default: the tokenizer's size, rounded up to a multiple of 64", at_least=2
    )
    dropout: float = option(0.0, "dropout probability while training (gpt2 only)", at_least=0.0, at_most=0.9)
    activation: Literal["gelu_tanh", "gelu"] = option(
        "gelu_tanh", "gpt2: tanh form, as GPT-2 has it, or the exact one (faster on a CPU)"
    )
    bias: bool = option(True, "gpt2: biases in linear layers and norms, as GPT-2 has them; without, they are saved as zeros")
    rope_base: float = option(
        10_000.0, "qwen3: base of the rotary position frequencies", at_least=1.0, known_as=("rope_theta",)
    )
    tie_embeddings: bool = option(
        True,
        "the output head shares the embedding's weights (never in rwkv4, 5, 6 and 7)",
        known_as=("tie_word_embeddings", "tie_weights"),
    )

    def __post_init__(self) -> None:
        problems = self._check_hugging_face()
        if self.family == "hf":
            if problems:
                raise ConfigError("model", problems)
            return
        if self.family != "rwkv4" and self.head_width is None and self.n_embd % self.n_head:
            problems.append(
                f"model.n_embd ({self.n_embd}) must be divisible by model.n_head ({self._say_heads()}). "
                f"Set model.n_head to {_find_divisor(self.n_embd, self.n_head)}, or another divisor"
            )
        if self.n_kv_head is not None and self.n_head % self.n_kv_head:
            problems.append(f"model.n_head ({self.n_head}) must be divisible by model.n_kv_head ({self.n_kv_head})")
        if self.family == "qwen3":
            width = self.head_width or self.n_embd // self.n_head
            if width % 2:
                problems.append(f"the head width ({width}) must be even for rotary positions")
        problems += [
            f"model.{name} is set, but {self.family} has no such option. Remove it, or use family {family}"
            for name, family in _OF_ONE_FAMILY.items()
            if self.family != family and name in self._list_set()
        ]
        if problems:
            raise ConfigError("model", problems)

    def _say_heads(self) -> str:
        return str(self.n_head) if "n_head" in self._list_set() else f"{self.n_head}, if nothing is set"

    def _list_set(self) -> list[str]:
        """The options that are not as they are when nothing is set."""
        return [field.name for field in fields(self) if getattr(self, field.name) not in (field.default, {})]

    def _check_hugging_face(self) -> list[str]:
        if self.family != "hf":
            given = [name for name in ("hf_config", "hf_overrides") if getattr(self, name)]
            return [f"model.{name} is set, but model.family is {self.family}. Remove it, or use family hf" for name in given]
        problems = (
            [] if self.hf_config else ["model.family is hf, but model.hf_config is missing. Example: model.hf_config=llama"]
        )
        problems += [
            f"model.{name} is set, but with family hf sizes have the architecture's own names: "
            "use model.hf_overrides (num_hidden_layers, num_attention_heads, hidden_size, ...)"
            for name in self._list_set()
            if name not in ("family", "hf_config", "hf_overrides", "vocab_size")
        ]
        return problems


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model with every number known."""

    family: str
    n_layer: int
    n_head: int
    n_kv_head: int
    head_width: int
    n_embd: int
    ffn_width: int
    vocab_size: int
    context_tokens: int
    dropout: float = 0.0
    rope_base: float = 10_000.0
    norm_eps: float = 1e-6
    tie_embeddings: bool = True
    activation: str = "gelu_tanh"
    bias: bool = True
    hf_config: dict[str, Any] | None = None  # of family hf: the whole `config.json`
    low_ranks: tuple[int, ...] | None = (
        None  # of rwkv6 and rwkv7: widths of its thin matrices, where they are not the usual ones
    )

    @property
    def architecture(self) -> str:
        """The family; of family hf, what transformers calls the architecture."""
        return self.family if self.hf_config is None else str(self.hf_config["model_type"])


def _find_divisor(width: int, num_heads: int) -> int:
    """The number of heads nearest to `num_heads` that divides a width, into even parts where it can."""
    divisors = [number for number in range(1, width + 1) if width % number == 0]
    even = [number for number in divisors if width // number % 2 == 0]
    return min(even or divisors, key=lambda number: abs(number - num_heads))


def name_family(model_type: object) -> str:
    """Our name of the architecture that a `config.json` calls so; its own name, where it is none of ours."""
    return _MODEL_TYPES.get(str(model_type), str(model_type))


def make_spec(config: ModelConfig, *, num_ids: int, context_tokens: int) -> ModelSpec:
    """Resolve a model for a vocabulary of `num_ids` ids and rows of `context_tokens`.

    Raises:
        ConfigError: When the asked vocabulary is smaller than the tokenizer's, or transformers has no such architecture.
        MissingExtraError: When family hf is asked for, and transformers is not installed.
    """
    vocab_size = config.vocab_size or -(-num_ids // VOCAB_MULTIPLE) * VOCAB_MULTIPLE
    if vocab_size < num_ids:
        raise ConfigError(
            "model.vocab_size",
            [f"is {vocab_size:,}, but the tokenizer has {num_ids:,} ids"],
            f"Leave it out, or set it to {num_ids} or more.",
        )
    if config.family == "hf":
        from whelp.model.hugging_face import resolve_spec

        assert config.hf_config is not None, "checked when the section was read"
        return resolve_spec(config.hf_config, config.hf_overrides, vocab_size=vocab_size, context_tokens=context_tokens)
    is_recurrent = config.family in RECURRENT_FAMILIES
    num_heads = config.n_embd if config.family == "rwkv4" else config.n_head  # each of its channels remembers by itself
    if config.family in ("gpt2", "rwkv7", "rwkv4"):
        ffn_width = config.ffn_width or 4 * config.n_embd
    elif config.family in ("rwkv5", "rwkv6"):
        ffn_width = config.ffn_width or max(int(config.n_embd * 3.5) // 32, 1) * 32
    else:
        ffn_width = config.ffn_width or -(-config.n_embd * 8 // 3 // 32) * 32
    return ModelSpec(
        family=config.family,
        n_layer=config.n_layer,
        n_head=num_heads,
        n_kv_head=config.n_kv_head or num_heads,
        head_width=config.head_width or config.n_embd // num_heads,
        n_embd=config.n_embd,
        ffn_width=ffn_width,
        vocab_size=vocab_size,
        context_tokens=context_tokens,
        dropout=config.dropout,
        rope_base=config.rope_base,
        norm_eps=1e-6 if config.family == "qwen3" else 1e-5,
        tie_embeddings=config.tie_embeddings and not is_recurrent,
        activation=config.activation,
        bias=config.bias,
    )
