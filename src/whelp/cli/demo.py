"""`whelp demo`: the whole path in one command, with no download and no account."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.manifest import read_manifest
from whelp.artifacts.run_folder import iter_records
from whelp.base.errors import ArtifactError, ConfigError, PlanError
from whelp.base.files import hold_folder
from whelp.base.last_event import run_to_end
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.prepare import VocabularyReady, iter_prepare, open_recipe_sources
from whelp.cli.recipe import Recipe, load_recipe
from whelp.cli.screens.draw_events import draw_training, watch
from whelp.cli.tokenizer import check_place, save_tokenizer
from whelp.cli.train import iter_train
from whelp.cli.training.events import Finished, Planned, TrainResult

if TYPE_CHECKING:
    from whelp.corpus.source import Source
    from whelp.generate import Completion
    from whelp.tokenizer.config import LearnConfig

CODE_PROMPTS = [
    "def say_hello():",
    "class Person:\n    def __init__(self, name):",
    "import os\n\nfor name in os.listdir(path):\n",
]
TEXT_PROMPTS = ["The", "It was", "She said"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prompt continued by the untrained and by the trained model."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class DemoResult(ResultRepr):
    """What the demo made."""

    folder: str
    train: TrainResult
    nats_per_token_before: float | None
    examples: list[Example]


def demo(*, out: str | Path = "whelp-demo", corpus: str | Path | None = None, minutes: float | None = None) -> DemoResult:
    """Learn a vocabulary, prepare, train a small modern GPT, and compare it with its untrained self.

    Args:
        out: Gets `tokenizer/`, `store/` and `run/`.
        corpus: Text of your own: a file or a folder; by default the Python standard library of this machine.
        minutes: Training time; by default two.
    """
    return run_to_end(watch(iter_demo(make_demo_recipe(corpus, minutes), as_path(out)), draw_training), DemoResult)


def make_demo_recipe(corpus: str | Path | None, minutes: float | None) -> Recipe:
    """The shipped recipe `demo`, for this corpus and time.

    Raises:
        ConfigError: When the time is none.
    """
    train: dict[str, Any] = {"sample_prompts": (TEXT_PROMPTS if corpus else CODE_PROMPTS)[:1]}
    if minutes is not None:
        if not 0 < minutes < math.inf:
            raise ConfigError("--minutes", [f"it is {minutes:g}, but expected a number above 0"])
        train["minutes"] = minutes
    values: dict[str, Any] = {"train": train}
    if corpus is not None:
        values["data"] = {"source": str(corpus)}
    return load_recipe(_lay_on("demo", values))


def _lay_on(name: str, values: dict[str, Any]) -> dict[str, Any]:
    from whelp.base.config import merge, read_yaml
    from whelp.cli.recipe import find_recipe

    return merge(read_yaml(find_recipe(name)), values)


def iter_demo(recipe: Recipe, out: Path) -> Iterator[object]:
    """The demo, yielding the events of every stage; the last one is a `DemoResult`. Run again, it goes on."""
    from whelp.corpus import iter_texts
    from whelp.model import build_model, make_spec
    from whelp.tokenizer import LearnConfig, learn, load_tokenizer
    from whelp.tokenizer.vocabulary import Vocabulary

    source = open_recipe_sources(recipe)[0].source
    asked = recipe.data.tokenizer
    assert isinstance(asked, LearnConfig), f"the demo learns its vocabulary, not {asked}"
    folder = out / "tokenizer"
    is_known = _is_learned_from(folder, source, asked)
    if is_known:
        vocabulary: Vocabulary = load_tokenizer(folder)
    else:
        with hold_folder(folder):
            check_place(folder)
            vocabulary = learn(iter_texts(source, asked.max_bytes), asked)
            save_tokenizer(vocabulary, folder, asked, source)
    preparing = iter_prepare(recipe, out / "store", vocabulary=vocabulary)
    yield next(preparing)
    yield VocabularyReady(kind=vocabulary.kind, vocab_size=vocabulary.size, is_learned=not is_known)
    yield from preparing
    finished = None
    for event in _iter_run(recipe, out):
        yield event
        if isinstance(event, Finished):
            finished = event.result
    assert finished is not None, "a run always ends with a result"
    from whelp.cli.generate import LoadedModel, load_model

    trained = load_model(out / "run")
    spec = make_spec(recipe.model, num_ids=vocabulary.size, context_tokens=recipe.pack.context_tokens)
    untrained = LoadedModel(build_model(spec, recipe.train.seed).to(trained.device), vocabulary, out, trained.device)
    examples = []
    for prompt in TEXT_PROMPTS if recipe.data.source != "stdlib" else CODE_PROMPTS:
        before, after = (_continue(model, prompt)[0].text for model in (untrained, trained))
        examples.append(Example(prompt=prompt, before=before, after=after))
    first = next((record for record in iter_records(out / "run" / "metrics.jsonl") if "test_nats_per_token" in record), {})
    yield DemoResult(folder=str(out), train=finished, nats_per_token_before=first.get("test_nats_per_token"), examples=examples)


def _iter_run(recipe: Recipe, out: Path) -> Iterator[object]:
    """Training, where another length is asked for as this command takes it, and none that it cannot be asked for."""
    option, flag = "train.minutes=", "--minutes "
    try:
        for event in iter_train(recipe, out / "store", out / "run"):
            if isinstance(event, Planned) and event.more is not None:
                more = event.more.replace(option, flag) if event.more.startswith(option) else None
                event = replace(event, more=more)
            yield event
    except PlanError as error:
        raise type(error)(error.where, error.found, error.expected, error.next_step.replace(option, flag)) from None


def _is_learned_from(folder: Path, source: Source, asked: LearnConfig) -> bool:
    """Whether the vocabulary of `folder` is what would be learned again."""
    try:
        manifest = read_manifest(folder, "tokenizer")
    except ArtifactError:
        return False
    return manifest.config == asdict(asked) and not source.changed_since(manifest.inputs["source"])


def _continue(model: Any, prompt: str) -> list[Completion]:
    from whelp.cli.generate import SAMPLE_STYLE, generate

    return generate(model, prompt, max_tokens=90, seed=1, **SAMPLE_STYLE)
