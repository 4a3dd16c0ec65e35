"""`whelp compare`: the same prompts and seeds, several models side by side, and how well each knows a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whelp.artifacts.checkpoint import choose_model_folder, find_checkpoints
from whelp.base.as_list import as_list
from whelp.base.errors import ArtifactError, ConfigError, SourceError, TokenizerError
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.generate import LoadedModel, iter_completions, load_model, make_settings
from whelp.cli.screens.draw_events import Progress, watch_models


@dataclass(frozen=True)
class Compared(ResultRepr):
    """One model: its measurements on the text, and its continuations of each prompt."""

    name: str
    folder: str
    numbers: dict[str, Any] = field(default_factory=dict)
    texts: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison(ResultRepr):
    """Several models, and what they were asked."""

    prompts: list[str]
    settings: dict[str, Any]
    models: list[Compared]

    def to_html(self, title: str) -> str:
        """One page that opens offline."""
        from whelp.report import make_compare_report

        return make_compare_report(title, [vars(model) for model in self.models], self.prompts, self.settings)

    def _repr_html_(self) -> str:
        from whelp.cli.screens.result_tables import make_html
        from whelp.cli.screens.show import show_comparison

        return make_html(show_comparison, self)


def compare(
    models: str | Path | Sequence[str | Path],
    *,
    prompts: str | Sequence[str] = (),
    text_file: str | Path | None = None,
    steps: str | None = None,
    n: int = 1,
    device: str = "auto",
    on_progress: Progress | None = None,
    **settings: Any,
) -> Comparison:
    """Ask every model the same; measure every model on the same text.

    Args:
        models: Runs, checkpoints or Hugging Face model folders.
        text_file: A text to measure loss, perplexity and bits per byte on. Bits per byte compares models of different
            vocabularies; the others do not.
        steps: Which checkpoints of each run: `0,500,last` or `all`. Default: the last one.
        on_progress: Is told, before each model, its name, how many were asked before it, and how many there are. Default: said
            where somebody looks on.
        settings: Any field of `GenerateConfig`.

    Raises:
        ArtifactError: When a run has no checkpoint of an asked step.
    """
    models, prompts = as_list(models), as_list(prompts)
    if not prompts and text_file is None:
        raise ConfigError("whelp compare", ["there is nothing to compare by"], "Give --prompt, --prompts or --text-file.")
    config = make_settings(settings)
    text = _read_text(as_path(text_file)) if text_file is not None else None
    found, tell = [], watch_models(on_progress)
    expanded = _expand(models, steps)
    for number, (name, folder) in enumerate(expanded):
        tell(name, number, len(expanded))
        loaded = load_model(folder, device)  # one at a time: they may be large
        numbers = _measure(loaded, text, f"{text_file}", name) if text is not None else {}
        answers = iter_completions(loaded, prompts, n=n, **settings) if prompts else iter(())
        texts = [[completion.text for completion in completions] for completions in answers]
        found.append(Compared(name, str(folder), numbers, texts))
    shown = {name: getattr(config, name) for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")}
    return Comparison(list(prompts), {**shown, "max_tokens": config.max_tokens}, found)


def _expand(models: Sequence[str | Path], steps: str | None) -> list[tuple[str, Path]]:
    """Names and folders; a run becomes its checkpoints of the asked steps."""
    folders: list[tuple[str, Path]] = []
    for model in models:
        path = as_path(model)
        checkpoints = find_checkpoints(path / "checkpoints")
        if steps is None or not checkpoints:
            folders.append((str(model), choose_model_folder(path)))
            continue
        by_step = {int(folder.name.removeprefix("step-")): folder for folder in checkpoints}
        if steps == "all":
            asked = sorted(by_step)
        else:
            words = [word.strip() for word in steps.split(",") if word.strip()]
            asked = [max(by_step) if word == "last" else _read_step(word) for word in words]
        for step in dict.fromkeys(asked):
            if step not in by_step:
                there = ", ".join(map(str, sorted(by_step)))
                raise ArtifactError(
                    path,
                    f"there is no checkpoint of step {step}",
                    f"one of {there}",
                    "Runs keep their newest ones only: train.keep_checkpoints says how many.",
                )
            folders.append((f"{model} step {step}", by_step[step]))
    return folders


def _read_step(word: str) -> int:
    if not word.isdigit():
        raise ConfigError("--steps", [f"{word!r} is no step"], "For example: --steps 0,500,last, or --steps all.")
    return int(word)


def _read_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(path, f"not UTF-8 (byte {error.start})", "UTF-8 text", "Convert it first.") from None
    if not text:
        raise SourceError(path, "the file is empty", "some text")
    return text


def _measure(loaded: LoadedModel, text: str, text_name: str, model_name: str) -> dict[str, Any]:
    """Loss, perplexity and bits per byte over the whole text, in windows of the model's context.

    Raises:
        TokenizerError: When the model's vocabulary cannot write the text.
    """
    from whelp.evaluate import evaluate_text

    vocabulary = loaded.vocabulary
    try:
        ids = vocabulary.encode(text)
    except TokenizerError as error:
        next_step = f"{model_name} cannot be measured on it: take another text, or leave that model out."
        raise TokenizerError(f"{text_name}{error.where.removeprefix('text')}", error.found, error.expected, next_step) from None
    result = evaluate_text(
        loaded.model,
        ids,
        first_id=vocabulary.eos_id,
        num_bytes=len(text.encode()),
        context_tokens=loaded.model.context_tokens,
        device=loaded.device,
    )
    return {
        "bits_per_byte": result.bits_per_byte,
        "nats_per_token": result.nats_per_token,
        "perplexity": result.perplexity,
        "num_tokens": result.num_tokens,
        "num_parameters": loaded.model.num_parameters(),
    }
