"""`whelp init`: random weights as a model folder, to be trained, measured or opened elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import save_checkpoint
from whelp.artifacts.manifest import find_kind
from whelp.artifacts.output_place import is_free
from whelp.base.errors import ArtifactError, ConfigError, PlanError
from whelp.base.files import hold_folder, read_json
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from whelp.model import LanguageModel
    from whelp.tokenizer.vocabulary import Vocabulary

_CONTEXT_TOKENS = 1024  # without a recipe
_HEAD_WIDTHS = (64, 32, 16, 8, 4, 2)  # the first that divides the width


@dataclass(frozen=True, kw_only=True)
class InitResult(ResultRepr):
    """A model folder with random weights. `is_reused` when one stood there before."""

    folder: str
    family: str
    num_parameters: int
    vocab_size: int
    context_tokens: int
    has_tokenizer: bool
    is_reused: bool


def init(
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
    *,
    out: str | Path,
    family: str | None = None,
    n_layer: int | None = None,
    n_head: int | None = None,
    n_embd: int | None = None,
    vocab_size: int | str | Path | None = None,
    context_tokens: int | None = None,
    seed: int | None = None,
    weights: str | Path | None = None,
    skip_if_exists: bool = False,
    overrides: Sequence[str] = (),
    scale: str | None = None,
) -> InitResult:
    """Draw the first weights of a model and write them as a checkpoint folder, whole or not at all.

    Of an RWKV model the folder holds `model.pth`, too: the same weights as the public `rwkv` package opens them.

    Args:
        recipe: Whose model, vocabulary, context and seed to take; None: the defaults, and 1,024 tokens of context.
        n_head: By default, with `n_embd`, heads of 64, or of the next smaller width that divides it.
        vocab_size: A number of ids, or the name or folder of a vocabulary, which is then saved with the model; a token store
            is such a folder. None: the vocabulary that the recipe names.
        weights: A file of official RWKV weights (.pth or .safetensors) to take instead of drawing any; it says the sizes.
        skip_if_exists: Leave a finished model that stands at `out` as it is.

    Raises:
        ConfigError: When sizes do not fit together, or no size of the vocabulary is known.
        ArtifactError: When something stands at `out`, or the file of weights is none of a family of ours.
    """
    from whelp.artifacts.rwkv_file import write_rwkv_file
    from whelp.model import build_model, make_spec
    from whelp.model.rwkv.shared import Rwkv

    folder = as_path(out)
    if not is_free(folder):
        if skip_if_exists and find_kind(folder) == "checkpoint":
            return _describe(folder, is_reused=True)
        next_step = "Choose another --out; --skip-if-exists keeps a model that stands there."
        raise ArtifactError(folder, "something stands there already", "an empty place", next_step)
    found = None
    if weights is not None:
        _refuse_sizes(recipe=recipe, family=family, n_layer=n_layer, n_head=n_head, n_embd=n_embd, seed=seed)
        found = _open_weights(as_path(weights), context_tokens or _CONTEXT_TOKENS, vocab_size)
        family, n_layer, n_head, n_embd = found.spec.family, found.spec.n_layer, found.spec.n_head, found.spec.n_embd
    resolved = _make_recipe(
        recipe,
        {"family": family, "n_layer": n_layer, "n_head": n_head, "n_embd": n_embd},
        {"pack": {"context_tokens": context_tokens}, "train": {"seed": seed}},
        overrides,
        scale,
    )
    if found is not None and vocab_size is None:
        vocab_size = found.spec.vocab_size
    number, vocabulary = _find_vocabulary(resolved, vocab_size, is_alone=recipe is None)
    if vocabulary is None:  # exactly as many rows as asked for
        resolved = load_recipe(resolved, [f"model.vocab_size={number}"])
    spec = make_spec(resolved.model, num_ids=number, context_tokens=resolved.pack.context_tokens)
    if found is not None:
        model, spec = found, found.spec
        if number > spec.vocab_size:
            asked = f"the vocabulary has {number:,} ids, but the weights {spec.vocab_size:,} rows"
            raise ConfigError("--vocab_size", [asked], "Give the vocabulary that the weights were trained with.")
    else:
        model = build_model(spec, resolved.train.seed)
    if spec.family == "hf":
        check_causal(model, resolved.model.hf_config)
    config, named = model.to_hugging_face()
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    if vocabulary is not None:
        special |= {"eos_token_id": vocabulary.eos_id, "pad_token_id": vocabulary.pad_id}

    def save_beside(place: Path) -> None:
        if vocabulary is not None:
            vocabulary.save(place)
        if isinstance(model, Rwkv):
            write_rwkv_file(place / "model.pth", model.to_official())

    with hold_folder(folder):
        save_checkpoint(
            folder,
            config={**config, **special},
            weights={name: tensor.detach() for name, tensor in named.items()},
            save_tokenizer=save_beside,
            generation={name: value for name, value in special.items() if value is not None},
            trainer=None,
            counts={
                "step": 0,
                "family": spec.family,
                "num_parameters": model.num_parameters(),
                "vocab_size": spec.vocab_size,
                "context_tokens": spec.context_tokens,
            },
        )
    return _describe(folder, is_reused=False)


def check_causal(model: LanguageModel, name: object) -> None:
    """Refuse an architecture that is no causal language model as it is configured; BERT's is one.

    Raises:
        PlanError: Saying what it sees.
    """
    from whelp.model.check import find_leak

    leak = find_leak(model)
    if leak is not None:
        raise PlanError(
            f"model.hf_config {name}",
            leak,
            "a causal language model",
            "Choose another, or make it one (BERT and its kin: model.hf_overrides='{is_decoder: true}').",
        )


def _refuse_sizes(**given: object) -> None:
    """Weights from a file have their sizes: those that were asked for, too, could only contradict them."""
    named = [name for name, value in given.items() if value is not None]
    if named:
        problems = [f"--{name} is given together with --weights, which says it" for name in named]
        raise ConfigError("whelp init", problems, "Leave one of them out.")


def _open_weights(path: Path, context_tokens: int, vocab_size: int | str | Path | None) -> LanguageModel:
    from whelp.artifacts.rwkv_file import read_rwkv_file
    from whelp.model.build import model_from_official

    model = model_from_official(read_rwkv_file(path), path, context_tokens=context_tokens)
    if isinstance(vocab_size, int) and vocab_size != model.spec.vocab_size:
        raise ConfigError("--vocab_size", [f"is {vocab_size:,}, but {path} has {model.spec.vocab_size:,} ids"], "Leave it out.")
    return model


def _make_recipe(
    recipe: str | Path | Mapping[str, Any] | Recipe | None,
    model: dict[str, Any],
    others: dict[str, dict[str, Any]],
    overrides: Sequence[str],
    scale: str | None,
) -> Recipe:
    values = {"pack": {"context_tokens": _CONTEXT_TOKENS}} if recipe is None else recipe
    asked = {name: value for name, value in model.items() if value is not None}
    if "n_embd" in asked and "n_head" not in asked:
        width = asked["n_embd"]
        head_width = next((size for size in _HEAD_WIDTHS if width % size == 0), width)
        asked["n_head"] = max(1, width // head_width)
    sections = {
        "model": asked,
        **{name: {key: value for key, value in part.items() if value is not None} for name, part in others.items()},
    }
    # the flags are overrides: laid on before the recipe is checked, and below those that are spelled out
    given = [f"{section}.{key}={value}" for section, part in sections.items() for key, value in part.items()]
    return load_recipe(values, [*given, *overrides], scale)


def _find_vocabulary(recipe: Recipe, asked: int | str | Path | None, *, is_alone: bool) -> tuple[int, Vocabulary | None]:
    """How many ids there are, and the vocabulary, where one is named."""
    from whelp.tokenizer import load_tokenizer

    if isinstance(asked, int) or (isinstance(asked, str) and asked.isdecimal()):
        return int(asked), None
    if asked is None and recipe.model.vocab_size is not None:
        return recipe.model.vocab_size, None
    name = asked if asked is not None else recipe.data.tokenizer
    if not isinstance(name, (str, os.PathLike)):
        found = (
            "no size of the vocabulary is given"
            if is_alone
            else "the recipe learns its vocabulary, so its size is not known yet"
        )
        raise ConfigError(
            "--vocab_size",
            [found],
            "Give a number, the name of a vocabulary such as gpt2, or a token store of `whelp prepare`.",
        )
    vocabulary = load_tokenizer(name)
    return vocabulary.size, vocabulary


def _describe(folder: Path, *, is_reused: bool) -> InitResult:
    counts = read_json(folder / "manifest.json")["counts"]
    if "family" not in counts:
        log.info("%s is a checkpoint of a run; it is kept as it is", folder)
    return InitResult(
        folder=str(folder),
        family=counts.get("family", read_json(folder / "config.json").get("model_type", "")),
        num_parameters=counts.get("num_parameters", 0),
        vocab_size=read_json(folder / "config.json").get("vocab_size", 0),
        context_tokens=counts.get("context_tokens", 0),
        has_tokenizer=(folder / "tokenizer.json").is_file(),
        is_reused=is_reused,
    )
