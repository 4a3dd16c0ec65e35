"""Any causal language model of transformers, behind the interface of ours: it can be continued and evaluated, not trained.

Each slot keeps the model's own cache; the price is one call of the model for each row and step. A model that hands no
`past_key_values` out reads its whole text for every token: right, and slow.
"""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from whelp.artifacts.targets import IGNORED
from whelp.base.errors import ArtifactError, MissingExtraError

_HEADS = ("ForCausalLM", "LMHeadModel")


class HuggingFaceModel(nn.Module):
    """A `PreTrainedModel` with a language model's head."""

    def __init__(self, inner: Any, context_tokens: int) -> None:
        super().__init__()
        self.inner, self.context_tokens = inner, context_tokens

    def make_decoder(self, num_slots: int, capacity: int) -> HuggingFaceDecoder:
        """The model with room for `num_slots` texts."""
        return HuggingFaceDecoder(self.inner, num_slots)

    def cache_bytes(self, num_slots: int, capacity: int) -> int:
        """Nothing is set aside: caches grow with their texts."""
        return 0

    def num_parameters(self) -> int:
        """All numbers; a shared head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def loss(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy in nats, summed over targets that are not `IGNORED`; ids and targets (B, T)."""
        logits = self.inner(input_ids=ids).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")


class HuggingFaceDecoder:
    """Slots of a model of transformers."""

    def __init__(self, inner: Any, num_slots: int) -> None:
        self.inner = inner
        self.lengths = [0] * num_slots
        self._caches: list[Any] = [None] * num_slots
        self._ids: list[list[int]] = [[] for _ in range(num_slots)]
        parameters = inspect.signature(inner.forward).parameters
        self._options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}

    def step(self, ids: list[int]) -> torch.Tensor:
        """One more token for each of the first B slots; logits (B, V)."""
        return self.read(0, [[token] for token in ids])

    def read(self, first: int, ids: list[list[int]]) -> torch.Tensor:
        """More tokens for each of the slots from `first` on; logits after the last of each (B, V)."""
        return torch.cat([self._read_slot(slot, row) for slot, row in enumerate(ids, first)])

    def _read_slot(self, slot: int, ids: list[int]) -> torch.Tensor:
        past = self._caches[slot] if self.lengths[slot] else None
        self._ids[slot] = [*self._ids[slot][: self.lengths[slot]], *ids]
        self.lengths[slot] += len(ids)
        if past is None:
            output = self.inner(input_ids=self._tensor(self._ids[slot]), use_cache=True, **self._options)
        else:
            output = self.inner(input_ids=self._tensor(ids), past_key_values=past, use_cache=True, **self._options)
        self._caches[slot] = getattr(output, "past_key_values", None)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _tensor(self, ids: list[int]) -> torch.Tensor:
        return torch.tensor([ids], device=self.inner.device)

    def copy(self, source: int, target: int, num_tokens: int) -> bool:
        """Let a slot hold the first tokens of another; False where the model's cache cannot forget its last tokens."""
        if source != target:
            is_whole = num_tokens == self.lengths[source]
            cache = self._caches[source]
            if cache is not None and not is_whole and not _can_forget(cache):
                return False
            self._ids[target] = self._ids[source][:num_tokens]
            self._caches[target] = copy.deepcopy(cache)
            if cache is not None and not is_whole:
                self._caches[target].crop(num_tokens)
        self.lengths[target] = num_tokens
        return True


def _can_forget(cache: Any) -> bool:
    """Whether a cache is keys and values of every token and nothing else."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in getattr(cache, "layers", [None]))


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
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArtifactError(folder, f"transformers cannot open it ({reason})", "", "Copy the folder again.") from None
    if inner.device.type == "cpu":
        inner = inner.float()
    text = inner.config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")
    found = next((getattr(text, name) for name in names if isinstance(getattr(text, name, None), int)), 2048)
    return HuggingFaceModel(inner, found)
