"""Any causal language model of transformers behind the interface of ours: trained, evaluated, continued and saved as they are.

Documents in a row are unpacked into rows of their own: the one way that is right for every architecture, whatever it does
with masks and positions. In generating each slot keeps the model's own cache; the price is one call of the model for each
row and step. A model that hands no cache out reads its whole text for every token: right, and slow.
Shapes: B rows, T tokens in a row, N documents, V vocabulary.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from whelp.artifacts.checkpoint import find_model_folder
from whelp.artifacts.document_starts import find_starts
from whelp.artifacts.targets import IGNORED
from whelp.base.errors import ArtifactError, ConfigError, MissingExtraError, say_first_line
from whelp.base.files import read_json
from whelp.base.paths import as_path
from whelp.model.config import ModelSpec
from whelp.model.language_model import LanguageModel

_HEADS = ("ForCausalLM", "LMHeadModel")
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")  # the vocabulary's business, not the architecture's
_LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")


class HuggingFaceModel(LanguageModel):
    """A `PreTrainedModel` with a language model's head.

    Raises:
        ConfigError: When transformers cannot build what the spec describes.
    """

    def __init__(self, spec: ModelSpec, inner: Any = None) -> None:
        super().__init__(spec)
        self.inner: Any = _build(spec) if inner is None else inner

    def init_weights(self, generator: torch.Generator) -> None:
        """Nothing is left to draw: the architecture drew its first weights, its own way, while it was built."""

    @property
    def head_weight(self) -> torch.Tensor:
        head = self.inner.get_output_embeddings()
        weight: torch.Tensor = next(self.parameters()) if head is None else head.weight
        return weight

    def forward(self, ids: torch.Tensor, cache: Any = None, documents: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of the next token at every position: (B, T) -> (B, T, V)."""
        assert cache is None, "it is continued by its own decoder"
        return self._read(ids) if documents is None else self._read_documents(ids, documents)

    def _read(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(input_ids=ids, use_cache=False).logits
        return logits

    def _read_documents(self, ids: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """Each document in a row of its own, filled up behind its end, where no token of it looks."""
        begins = find_starts(documents)
        begins[:, 0] = True
        number = begins.flatten().cumsum(0) - 1  # (B * T,): which document of the batch
        starts = begins.flatten().nonzero()[:, 0]  # (N,)
        place = torch.arange(number.numel(), device=ids.device) - starts[number]  # (B * T,): where in it
        rows = ids.new_zeros(starts.numel(), int(place.max()) + 1)
        rows[number, place] = ids.flatten()
        return self._read(rows)[number, place].view(*ids.shape, -1)

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor:
        """Cross-entropy in nats, summed over targets that are not `IGNORED`; a float32 scalar."""
        logits = self(ids, None, documents)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")

    def make_decoder(self, num_slots: int, capacity: int) -> HuggingFaceDecoder:  # type: ignore[override]  # like one
        """The model with room for `num_slots` texts."""
        return HuggingFaceDecoder(self.inner, num_slots)

    def cache_bytes(self, num_slots: int, capacity: int) -> int:
        """Nothing is set aside: caches grow with their texts."""
        return 0

    def checkpoint_activations(self) -> None:
        """Ask the architecture for it.

        Raises:
            ConfigError: When it does not know how.
        """
        if not self.inner.supports_gradient_checkpointing:
            kind = self.inner.config.model_type
            raise ConfigError(
                "train.checkpoint_activations", [f"{kind} of transformers keeps all activations"], "Leave it out."
            )
        super().checkpoint_activations()
        names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")  # of today, and before transformers 5
        enable = next(getattr(self.inner, name) for name in names if hasattr(self.inner, name))
        enable({"use_reentrant": False})

    def compile_parts(self) -> None:
        """Compile it as one: where its blocks are, only it knows."""
        self._read = torch.compile(self._read, dynamic=False)  # type: ignore[method-assign]  # the compiled one

    def is_block_matrix(self, name: str) -> bool:
        """Whether a matrix is in one of the blocks, which every architecture numbers."""
        return re.search(r"\.\d+\.", name) is not None

    def to_hugging_face(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """For the class of transformers that it is; a shared head is written once."""
        config = _plain(self.inner.config)
        shared = self._shared_names()
        weights = {name: tensor for name, tensor in self.inner.state_dict().items() if name not in shared}
        return {**config, "architectures": [type(self.inner).__name__], "dtype": "float32"}, weights

    def load_hugging_face(self, weights: Mapping[str, torch.Tensor]) -> None:
        """From the same class of transformers."""
        found = self.inner.load_state_dict(weights, strict=False)
        missing = set(found.missing_keys) - self._shared_names()
        if missing or found.unexpected_keys:
            odd = [f"{name} is missing" for name in sorted(missing)]
            odd += [f"{name} is unknown" for name in found.unexpected_keys]
            raise RuntimeError("; ".join(odd[:3]))

    def _shared_names(self) -> set[str]:
        """Other names of weights that have one already."""
        once = {name for name, _ in self.inner.named_parameters()}
        return {name for name, _ in self.inner.named_parameters(remove_duplicate=False)} - once


class HuggingFaceDecoder:
    """Slots of a model of transformers."""

    def __init__(self, inner: Any, num_slots: int) -> None:
        self.inner = inner
        self.lengths = [0] * num_slots
        self.is_step_recorded = self.is_slow = self.can_screen = False
        self.drafter = None
        self._caches: list[Any] = [None] * num_slots
        self._ids: list[list[int]] = [[] for _ in range(num_slots)]
        parameters = inspect.signature(inner.forward).parameters
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"  # the newer name, and the older one
        self._options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}

    def step(self, ids: list[int] | torch.Tensor, screen: object = None) -> torch.Tensor:
        """One more token for each of the first B slots; logits (B, V)."""
        return self.read(0, [[int(token)] for token in ids])

    def read(self, first: int, ids: list[list[int]]) -> torch.Tensor:
        """More tokens for each of the slots from `first` on; logits after the last of each (B, V)."""
        return torch.cat([self._read_slot(slot, row) for slot, row in enumerate(ids, first)])

    def _read_slot(self, slot: int, ids: list[int]) -> torch.Tensor:
        return self._read(slot, ids, self._options)[:, -1]

    def score(self, slot: int, ids: list[int]) -> torch.Tensor:
        """More tokens for one slot; logits after each of them (T, V)."""
        return self._read(slot, ids, {})[0, -len(ids) :]

    @property
    def can_forget(self) -> bool:
        """Whether the last tokens of a slot can be taken back, as far as the caches that are there tell."""
        cache = next((cache for cache in self._caches if cache is not None), None)  # all are of one kind
        return cache is None or _can_forget(cache)

    def check(self, ids: list[list[int]], screen: object = None) -> list[torch.Tensor]:
        """More tokens for each of the first B slots; logits after each token, (T, V) for a row of T.

        A slot forgets its last tokens when its length is set to less, where `can_forget`.
        """
        return [self.score(slot, row) for slot, row in enumerate(ids)]

    def _read(self, slot: int, ids: list[int], options: dict[str, Any]) -> torch.Tensor:
        past = self._caches[slot] if self.lengths[slot] else None
        if past is not None and len(self._ids[slot]) > self.lengths[slot]:
            past.crop(self.lengths[slot] - len(self._ids[slot]))  # so many fewer
        self._ids[slot] = [*self._ids[slot][: self.lengths[slot]], *ids]
        self.lengths[slot] += len(ids)
        if past is None:
            output = self.inner(input_ids=self._tensor(self._ids[slot]), use_cache=True, **options)
        else:
            output = self.inner(input_ids=self._tensor(ids), use_cache=True, **{self._cache_name: past}, **options)
        self._caches[slot] = getattr(output, self._cache_name, None)
        logits: torch.Tensor = output.logits
        return logits

    def _tensor(self, ids: list[int]) -> torch.Tensor:
        return torch.tensor([ids], device=self.inner.device)

    def copy(self, source: int, target: int, num_tokens: int) -> bool:
        """Let a slot hold the first tokens of another; False where the model's cache cannot forget its last tokens."""
        if source != target:
            snapshot = self.snapshot(source, 0, num_tokens)
            if snapshot is None:
                return False
            self.restore(target, snapshot, num_tokens)
        self.lengths[target] = num_tokens
        return True

    def snapshot(self, slot: int, first: int, num_tokens: int) -> HuggingFaceSnapshot | None:
        """What is remembered of the first tokens of a slot, until that goes on; None where there is no memory of so many.

        Never in pieces, whatever `first` is.
        """
        ids, cache = self._ids[slot], self._caches[slot]  # also of tokens that were taken back
        if not num_tokens:
            ids, cache = [], None
        can_be_cut = cache is None or _can_forget(cache)
        return HuggingFaceSnapshot(ids, cache, can_be_cut) if can_be_cut or num_tokens == len(ids) else None

    def restore(self, slot: int, snapshot: HuggingFaceSnapshot, num_tokens: int) -> None:
        """Let a slot hold the first tokens of a snapshot: all, or fewer where it can be cut."""
        num_extra = len(snapshot.ids) - num_tokens
        assert not num_extra or snapshot.can_be_cut, f"a memory of {len(snapshot.ids)} tokens is not one of {num_tokens}"
        cache = _copy_cache(snapshot.cache)
        if cache is not None and num_extra:
            cache.crop(-num_extra)  # so many fewer
        self._ids[slot], self._caches[slot], self.lengths[slot] = snapshot.ids[:num_tokens], cache, num_tokens


@dataclass(frozen=True)
class HuggingFaceSnapshot:
    """What `SlotSnapshot` is to our families: a model's own cache after some ids; a slot's, until `detach` was called."""

    ids: list[int]
    cache: Any
    can_be_cut: bool
    first: int = 0

    @property
    def num_bytes(self) -> int:
        """Memory that a copy takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in _iter_cache(self.cache))

    def detach(self) -> HuggingFaceSnapshot:
        """A copy that stays what it is when the slot goes on."""
        return replace(self, cache=_copy_cache(self.cache))


def _copy_cache(cache: Any) -> Any:
    """A copy with tensors of its own: of one that is a view of more, such as a window of what was read, only what is seen."""
    copies = {id(tensor): tensor.clone(memory_format=torch.contiguous_format) for tensor in _iter_cache(cache)}
    return copy.deepcopy(cache, copies)


def _iter_cache(cache: Any) -> Iterator[torch.Tensor]:
    """Every tensor that a cache's layers hold."""
    return _iter_tensors([vars(layer) for layer in getattr(cache, "layers", [])])


def _iter_tensors(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in lists and dictionaries."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _iter_tensors(part)


def _can_forget(cache: Any) -> bool:
    """Whether a cache is keys and values of every token and nothing else."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in getattr(cache, "layers", [None]))


def resolve_spec(name: str, overrides: Mapping[str, Any], *, vocab_size: int, context_tokens: int) -> ModelSpec:
    """The spec of an architecture with these values.

    Args:
        name: A kind that transformers knows (`llama`), with its defaults; a folder or file with a `config.json`; a hub id.

    Raises:
        ConfigError: When there is none, it is no causal language model, or it has no such value.
        MissingExtraError: When transformers is not installed.
    """
    values = _find_values(name)
    kind = str(values.pop("model_type"))
    known = _make_config(kind, values)
    aliases = dict(getattr(known, "attribute_map", {}))
    names = sorted({*_plain(known), *aliases})
    problems = []
    for key in overrides:
        if aliases.get(key, key) == "vocab_size":
            problems.append("model.hf_overrides.vocab_size is set. Use model.vocab_size")
        elif key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            problems.append(f"unknown key model.hf_overrides.{key}: {kind} has no such value.{hint}")
    length = next((aliases.get(key, key) for key in _LENGTHS if key in names), None)
    given = {aliases.get(key, key): value for key, value in overrides.items()}
    asked = given.get(length, context_tokens) if length else context_tokens
    if asked < context_tokens:
        problems.append(f"model.hf_overrides.{length} is {asked}, but a row has {context_tokens} tokens")
    if problems:
        raise ConfigError("model", problems)
    values |= given | dict.fromkeys(_SPECIAL) | {"vocab_size": vocab_size}
    if length:
        values[length] = asked
    return describe_config(_plain(_make_config(kind, values)), context_tokens)


def describe_config(config: Mapping[str, Any], context_tokens: int) -> ModelSpec:
    """The numbers that a plan asks for, by the names that most architectures have."""
    text = _make_config(str(config["model_type"]), config).get_text_config()
    width, num_heads = int(text.hidden_size), int(getattr(text, "num_attention_heads", None) or 1)
    drops = [value for key, value in _plain(text).items() if "drop" in key and isinstance(value, float)]
    return ModelSpec(
        family="hf",
        n_layer=int(text.num_hidden_layers),
        n_head=num_heads,
        n_kv_head=int(getattr(text, "num_key_value_heads", None) or num_heads),
        head_width=int(getattr(text, "head_dim", None) or max(1, width // num_heads)),
        n_embd=width,
        ffn_width=int(getattr(text, "intermediate_size", None) or 4 * width),
        vocab_size=int(text.vocab_size),
        context_tokens=context_tokens,
        dropout=max(drops, default=0.0),
        tie_embeddings=bool(getattr(config, "tie_word_embeddings", True)),
        hf_config=dict(config),
    )


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A `config.json` with the defaults of its kind written out."""
    return _plain(_make_config(str(config["model_type"]), config))


def _find_values(name: str) -> dict[str, Any]:
    """The `config.json` that a name means; of a kind, its name alone."""
    try:
        from transformers import AutoConfig
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    except ImportError:
        raise MissingExtraError("model.family: hf", "transformers", "hf") from None
    path = as_path(name)
    if path.exists():
        file = path if path.is_file() else find_model_folder(path) / "config.json"
        try:
            values = dict(read_json(file))
        except (ValueError, TypeError) as error:
            raise ConfigError("model.hf_config", [f"{file} is no config.json ({say_first_line(error)})"]) from None
        if values.get("model_type") not in CONFIG_MAPPING_NAMES:
            raise ConfigError(
                "model.hf_config", [f"{file} has model_type {values.get('model_type')!r}, which is not known here"]
            )
        return values
    if name in CONFIG_MAPPING_NAMES:
        return {"model_type": name}
    if "/" not in name:
        near = difflib.get_close_matches(name, CONFIG_MAPPING_NAMES, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ConfigError(
            "model.hf_config",
            [f"there is no folder {name!r}, and transformers knows no such kind"],
            f"{hint}Give a kind such as llama, a folder with a config.json, or a hub id.",
        )
    try:
        return _plain(AutoConfig.from_pretrained(name, trust_remote_code=False))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError("model.hf_config", [f"{name!r} cannot be had ({say_first_line(error)})"]) from None


def _make_config(kind: str, values: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.for_model(kind, **{key: value for key, value in values.items() if key != "model_type"})
    except Exception as error:  # every kind checks its values in its own way
        raise ConfigError("model.hf_overrides", [f"{kind} refuses these values ({say_first_line(error)})"]) from None


def _plain(config: Any) -> dict[str, Any]:
    return dict(json.loads(config.to_json_string(use_diff=False)))


def _build(spec: ModelSpec) -> Any:
    from transformers import AutoModelForCausalLM

    assert spec.hf_config is not None, "a spec of this family has a config"
    kind = spec.hf_config["model_type"]
    config = _make_config(kind, spec.hf_config)
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ConfigError(
            "model.hf_config",
            [f"transformers has no causal language model of the kind {kind}"],
            "Choose another, such as llama.",
        )
    try:
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except Exception as error:  # sizes that do not fit together are found where they meet
        raise ConfigError("model.hf_overrides", [f"{kind} cannot be built ({say_first_line(error)})"]) from None


def open_hugging_face(folder: Path, config: dict[str, Any]) -> HuggingFaceModel:
    """Open a model folder with transformers; safetensors only, and no code from the folder is run.

    Raises:
        ArtifactError: When it is no causal language model, or transformers cannot open it.
        MissingExtraError: When transformers is not installed.
    """
    kind, architectures = config.get("model_type"), config.get("architectures") or []
    if not any(str(name).endswith(_HEADS) for name in architectures):
        raise ArtifactError(
            folder,
            f"its architecture is {kind!r} ({', '.join(map(str, architectures)) or 'no model class is named'})",
            "a causal language model",
            "Use a model that continues text.",
        )
    try:
        from transformers import AutoModelForCausalLM
    except ImportError:
        raise MissingExtraError(f"{folder} (architecture {kind})", "transformers", "hf") from None
    try:
        inner = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="auto"
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ArtifactError(
            folder, f"transformers cannot open it ({say_first_line(error)})", "", "Copy the folder again."
        ) from None
    if inner.device.type == "cpu":
        inner = inner.float()
    text = inner.config.get_text_config()
    found = next((getattr(text, name) for name in _LENGTHS if isinstance(getattr(text, name, None), int)), 2048)
    return HuggingFaceModel(describe_config(_plain(inner.config), found), inner)
