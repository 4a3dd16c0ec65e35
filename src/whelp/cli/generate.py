"""`whelp generate`: continue a prompt with any model folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import choose_model_folder, find_weight_files, read_model_config, read_model_folder
from whelp.base.config import load_config
from whelp.base.errors import ConfigError, PlanError, SourceError, WhelpError
from whelp.base.paths import as_path

if TYPE_CHECKING:
    import torch

    from whelp.generate import Completion, Engine, GenerateConfig, TextPiece, TokenLogprob
    from whelp.model import HuggingFaceModel, LanguageModel
    from whelp.tokenizer.vocabulary import Vocabulary


# How a small model shows itself best: it repeats itself when it is too sure.
SAMPLE_STYLE: dict[str, Any] = {"temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.15}


@dataclass(frozen=True)
class LoadedModel:
    """A model, its vocabulary, and where they are."""

    model: LanguageModel | HuggingFaceModel
    vocabulary: Vocabulary
    folder: Path
    device: torch.device
    end_ids: tuple[int, ...] = ()  # that end a text, besides end-of-text


def load_model(
    path: str | Path, device: str = "auto", state: str | Path | None = None, *, precision: str = "auto"
) -> LoadedModel:
    """Open MODEL: a run folder (its best checkpoint where it keeps that, else its last), a checkpoint, or a Hugging Face model folder.

    Args:
        state: A file of `whelp state`: every text goes on from there. Recurrent models only.
        precision: auto and fp32: numbers as they are stored, on a CPU float32; bf16: rounded, less to read for each token.

    Raises:
        ArtifactError: When there is no model, or none that can continue text.
        MissingExtraError: When the model is not of our families, and transformers is not installed.
        TokenizerError: When the folder has no tokenizer.
        PlanError: When the state is of another model, or bf16 is asked for where it is not possible or brings nothing.
        ConfigError: When there is no such precision.
    """
    from whelp.model import find_obstacle, model_from_hugging_face, open_hugging_face
    from whelp.tokenizer import load_tokenizer
    from whelp.train.device import choose_device

    folder = choose_model_folder(as_path(path))
    chosen = choose_device(device, option="--device")
    config = read_model_config(folder)
    find_weight_files(folder)  # first: without weights, no architecture helps
    model: LanguageModel | HuggingFaceModel
    if find_obstacle(config, folder) is None:
        model = model_from_hugging_face(*read_model_folder(folder), folder)
    else:
        model = open_hugging_face(folder, config)
    model.to(chosen)
    model.eval()
    _set_precision(model, precision, chosen)
    if state is not None:
        from whelp.cli.state import take_up_state

        take_up_state(model, as_path(state))
    return LoadedModel(model, load_tokenizer(folder), folder, chosen, _read_end_ids(folder))


def _set_precision(model: LanguageModel | HuggingFaceModel, precision: str, device: torch.device) -> None:
    import torch

    from whelp.model.cpu.few_rows import has_bf16_instructions

    if precision not in ("auto", "fp32", "bf16"):
        raise ConfigError("--precision", [f"it is {precision!r}, but expected auto, fp32 or bf16"])
    if precision != "bf16":
        return
    if model.spec.family not in ("gpt2", "qwen3") and (device.type == "cpu" or model.is_recurrent):
        raise PlanError("--precision bf16", f"the model is of the family {model.spec.family}", "gpt2 or qwen3", "Leave it out.")
    if device.type != "cpu":
        model.to(torch.bfloat16)
    elif has_bf16_instructions():
        model.reads_rounded = True
    else:
        raise PlanError(
            "--precision bf16", "this processor does not compute with bf16", "one with AVX512_BF16 or AMX", "Leave it out."
        )


def _read_end_ids(folder: Path) -> tuple[int, ...]:
    """The ids that `generation_config.json` says end a text: one, a list, or none."""
    from whelp.base.files import read_json

    try:
        ids = read_json(folder / "generation_config.json").get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        return ()
    return tuple(token for token in (ids if isinstance(ids, list) else [ids]) if type(token) is int)


def generate(
    model: str | Path | LoadedModel,
    prompt: str,
    *,
    n: int = 1,
    device: str = "auto",
    precision: str = "auto",
    **settings: Any,
) -> list[Completion]:
    """Continue a prompt; one completion for each of `n`. A text may grow longer than the model's context.

    Args:
        model: A run, a checkpoint or a Hugging Face model folder, or what `load_model` gave.
        precision: As for `load_model`.
        settings: Any field of `GenerateConfig`: max_tokens, temperature, top_k, top_p, min_p, repetition_penalty,
            presence_penalty, frequency_penalty, logit_bias, stop, regex, choice, json_schema (a schema, or its file), grammar,
            logprobs, when_full, prompt_lookup_tokens, draft_tokens, seed.
    """
    from whelp.generate import complete

    config = make_settings(settings)
    check_prompt(prompt)
    loaded = model if isinstance(model, LoadedModel) else load_model(model, device, precision=precision)
    return complete(loaded.model, loaded.vocabulary, prompt, config, n=n, end_ids=loaded.end_ids)


def check_prompt(prompt: object) -> None:
    """Refuse what is neither a text nor ids of tokens.

    Raises:
        PlanError: Saying how several are continued.
    """
    kind = type(prompt).__name__
    if isinstance(prompt, list | tuple) and any(isinstance(one, str) for one in prompt):
        next_step = "Give one; `whelp.cli.generate.iter_completions` continues many side by side."
        raise PlanError("the prompt", f"is a {kind} of texts", "a text", next_step)
    if not isinstance(prompt, Iterable):
        raise PlanError("the prompt", f"is a {kind}", "a text")


def stream(loaded: LoadedModel, prompt: str, **settings: Any) -> Iterator[TextPiece]:
    """Continue a prompt, piece by piece as it comes."""
    from whelp.generate import stream_text

    return stream_text(loaded.model, loaded.vocabulary, prompt, make_settings(settings), end_ids=loaded.end_ids)


def iter_completions(loaded: LoadedModel, prompts: Sequence[str], *, n: int = 1, **settings: Any) -> Iterator[list[Completion]]:
    """Continue many prompts side by side; the completions of each, in the order of the prompts."""
    from whelp.generate import Completion
    from whelp.generate.prompt import PROMPT

    config = make_settings(settings)
    with open_engine(loaded) as engine:
        waiting = []
        for number, prompt in enumerate(prompts, 1):
            try:
                waiting.append(engine.submit(prompt, config, n=n))
            except WhelpError as error:
                error.where = error.where.replace(PROMPT, f"prompt {number:,} of {len(prompts):,}", 1)
                raise
        for generations in waiting:
            yield [Completion.collect(generation) for generation in generations]


def read_prompts(path: Path) -> list[str]:
    """Read prompts from a file: JSON lines (texts, or objects with a `prompt`) in `*.jsonl`, else one a line.

    Raises:
        SourceError: When it has none, or a line is not of that form.
    """
    prompts = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        if path.suffix != ".jsonl":
            prompts.append(line)
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        prompt = value.get("prompt") if isinstance(value, dict) else value
        if not isinstance(prompt, str):
            raise SourceError(path, f"line {number} holds no prompt", 'a JSON text, or {"prompt": "..."}')
        prompts.append(prompt)
    if not prompts:
        raise SourceError(path, "there is no prompt in it", "one a line")
    return prompts


def read_text(path: Path) -> str:
    """Read a file of text.

    Raises: SourceError: When it is none.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(path, f"not UTF-8 text (byte {error.start})", "text", "Convert it first.") from None


def describe(completion: Completion) -> dict[str, Any]:
    """A completion for JSON; log-probabilities only where they were asked for."""
    values = {"text": completion.text, "reason": completion.reason, "num_tokens": completion.num_tokens}
    if completion.logprobs is None:
        return values
    return {**values, "logprobs": [_describe_token(entry) for entry in completion.logprobs]}


def _describe_token(entry: TokenLogprob) -> dict[str, Any]:
    values = {"id": entry.id, "text": entry.text, "bytes": list(entry.bytes), "logprob": entry.logprob}
    return {**values, "top": [_describe_token(other) for other in entry.top]} if entry.top else values


def make_settings(settings: Mapping[str, Any]) -> GenerateConfig:
    """Settings of a request of the terminal: unlike a server's, a text goes on when the context is full."""
    from whelp.generate import GenerateConfig
    from whelp.generate.pattern_grammar import read_json_schema

    schema = settings.get("json_schema")
    if isinstance(schema, (str, Path)):
        settings = {**settings, "json_schema": read_json_schema(read_text(as_path(schema)), schema)}
    return load_config(GenerateConfig, {"when_full": "slide", **settings}, "generate")


def open_engine(
    loaded: LoadedModel,
    *,
    max_rows: int = 16,
    max_context_tokens: int | None = None,
    prefix_cache_bytes: int | None = None,
) -> Engine:
    """An engine for a loaded model, with every token that ends its texts."""
    from whelp.generate import Engine

    return Engine(
        loaded.model,
        loaded.vocabulary,
        max_rows=max_rows,
        max_context_tokens=max_context_tokens,
        end_ids=loaded.end_ids,
        device=loaded.device,
        prefix_cache_bytes=prefix_cache_bytes,
    )
