"""`whelp generate`: continue a prompt with any model folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import find_model_folder, read_model_folder
from whelp.base.config import load_config

if TYPE_CHECKING:
    import torch

    from whelp.generate import Completion, TextPiece
    from whelp.model import LanguageModel
    from whelp.tokenizer.vocabulary import Vocabulary


# How a small model shows itself best: it repeats itself when it is too sure.
SAMPLE_STYLE: dict[str, Any] = {"temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.15}


@dataclass(frozen=True)
class LoadedModel:
    """A model, its vocabulary, and where they are."""

    model: LanguageModel
    vocabulary: Vocabulary
    folder: Path
    device: torch.device


def load_model(path: str | Path, device: str = "auto") -> LoadedModel:
    """Open MODEL: a run folder (its last checkpoint), a checkpoint, or a Hugging Face model folder.

    Raises:
        ArtifactError: When there is no model, or not one of our families.
        TokenizerError: When the folder has no tokenizer.
    """
    from whelp.model import model_from_hugging_face
    from whelp.model.build import FAMILIES
    from whelp.model.hugging_face import open_hugging_face
    from whelp.tokenizer import load_tokenizer
    from whelp.train.device import choose_device

    folder = find_model_folder(Path(path))
    chosen = choose_device(device)
    config, weights = read_model_folder(folder)
    if config.get("model_type") in FAMILIES:
        model = model_from_hugging_face(config, weights, folder).to(chosen)
    else:
        model = open_hugging_face(folder, config).to(chosen)
    model.eval()
    return LoadedModel(model, load_tokenizer(folder), folder, chosen)


def generate(model: str | Path | LoadedModel, prompt: str, *, device: str = "auto", **settings: Any) -> list[Completion]:
    """Continue a prompt; one completion for each of `n`.

    Args:
        model: A run, a checkpoint or a Hugging Face model folder, or what `load_model` gave.
        settings: Any field of `GenerateConfig`: max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, stop,
            seed, n.
    """
    from whelp.generate import GenerateConfig, complete

    config = load_config(GenerateConfig, settings, "generate")
    loaded = model if isinstance(model, LoadedModel) else load_model(model, device)
    return complete(loaded.model, loaded.vocabulary, prompt, config, device=loaded.device)


def stream(loaded: LoadedModel, prompt: str, **settings: Any) -> Iterator[TextPiece]:
    """Continue a prompt, piece by piece as it comes."""
    from whelp.generate import GenerateConfig, stream_text

    config = load_config(GenerateConfig, settings, "generate")
    return stream_text(loaded.model, loaded.vocabulary, prompt, config, device=loaded.device)
