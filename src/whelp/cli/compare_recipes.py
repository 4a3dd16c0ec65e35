"""`whelp compare-recipes`: small models of several recipes, several seeds each, to tell which recipe is better, and how surely."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from whelp.artifacts.checkpoint import find_newest_whole, step_name
from whelp.artifacts.run_folder import RunFolder
from whelp.artifacts.token_store import open_store
from whelp.base.counts import say_count
from whelp.base.errors import ConfigError, SourceError
from whelp.base.files import hold_folder, read_json, write_atomic, write_json
from whelp.base.last_event import run_to_end
from whelp.cli.compare_recipes_events import (
    RecipeComparison,
    RunMeasured,
    RunsPlanned,
    RunStarted,
    TextsMeasured,
)
from whelp.cli.compare_recipes_result import REPORT_FILE, Measured, count_bits, sum_up
from whelp.cli.compare_recipes_sides import Equal, Side, check_asked, iter_ready, load_sides, make_run_recipe, settle
from whelp.cli.evaluations import find_place, save_evaluation
from whelp.cli.held_out_texts import (
    EncodedTexts,
    HeldOutTexts,
    encode_texts,
    find_trained,
    read_held_out,
    read_test_splits,
)
from whelp.cli.recipe import Recipe

if TYPE_CHECKING:
    from whelp.tokenizer.vocabulary import Vocabulary

RESULT_FILE, SETTLED_FILE = "result.json", "settled.json"
HELD_OUT_BYTES = 1_000_000
_MEASURED_AT_ONCE = 64  # texts

Floats = npt.NDArray[np.float64]


def compare_recipes(
    recipes: Sequence[str | Path | dict[str, Any] | Recipe] | Mapping[str, Any],
    *,
    out: str | Path,
    held_out: Sequence[str] = (),
    seeds: int = 3,
    overrides: Sequence[str] = (),
    scale: str | None = None,
    vary: Sequence[str] = (),
    equal: Equal = "tokens",
    confidence: float = 0.95,
    held_out_bytes: int = HELD_OUT_BYTES,
) -> RecipeComparison:
    """Train each recipe with several seeds; say which predicts held-out texts better.

    All of a recipe is its own: data, vocabulary, rows, model, training. Only its length is not: that of the first recipe says
    how many tokens, bytes of text or how much arithmetic each has. The runs of a seed begin with the same weights where their shapes
    are the same, and take their rows in the same order. The same call goes on where it was stopped; with more seeds, it adds
    their runs.

    Args:
        recipes: Two or more, or one and `vary`; the first one is what the others are compared with. A mapping gives them names.
        out: Gets the report, and of each recipe a folder with its store and its runs.
        held_out: Texts to measure on, each `SOURCE` or `NAME=SOURCE`; none: the test splits of all recipes.
        seeds: Runs of each recipe: `train.seed` of the first recipe, and so many less one after it.
        vary: `section.field=value,value`: each recipe once with each value; of several, with each combination.
        equal: Of what each has as much as the first: `tokens`, `bytes` of text, or `compute` (floating-point operations, as
            `whelp.model.build.count_token_flops` counts them).
        confidence: Of the intervals; with more than two recipes, of all comparisons together (Bonferroni).
        held_out_bytes: About so much is taken of each held-out source.

    Raises:
        ConfigError: When there are fewer than two recipes or seeds, or the length is given in minutes.
        SourceError: When nothing is left to measure on.
        PlanError: When the comparison at `out` was begun with other settings.
    """
    events = iter_compare_recipes(
        load_sides(recipes, overrides, scale, vary),
        Path(out),
        held_out=held_out,
        num_seeds=seeds,
        equal=equal,
        confidence=confidence,
        held_out_bytes=held_out_bytes,
    )
    return run_to_end(events, RecipeComparison)


def iter_compare_recipes(
    sides: Sequence[Side],
    out: Path,
    *,
    held_out: Sequence[str] = (),
    num_seeds: int = 3,
    equal: Equal = "tokens",
    confidence: float = 0.95,
    held_out_bytes: int = HELD_OUT_BYTES,
) -> Iterator[object]:
    """Compare, yielding what happens: the events of `curate`, `prepare` and `train`, and those above; the result comes last."""
    problems = []
    if num_seeds < 2:
        problems.append(f"seeds is {num_seeds}, but expected 2 at least: one run says nothing about the spread")
    if equal not in get_args(Equal):
        problems.append(f"equal is {equal!r}, but expected one of {', '.join(get_args(Equal))}")
    if not 0.5 <= confidence < 1:
        problems.append(f"confidence is {confidence:g}, but expected 0.5 to 1 (0.95: one of twenty intervals misses)")
    if held_out_bytes < 1:
        problems.append(f"held_out_bytes is {held_out_bytes}, but expected 1 at least")
    if problems:
        raise ConfigError("compare-recipes", problems)
    with hold_folder(out):
        yield from _iter(sides, out, held_out, num_seeds, equal, confidence, held_out_bytes)


def _iter(
    sides: Sequence[Side],
    out: Path,
    asked_texts: Sequence[str],
    num_seeds: int,
    equal: Equal,
    confidence: float,
    held_out_bytes: int,
) -> Iterator[object]:
    from whelp.report import make_recipes_report
    from whelp.tokenizer import load_tokenizer

    check_asked(out, sides, equal)
    ready = []
    for side in sides:
        for event in iter_ready(side, out / side.name):
            if isinstance(event, Side):
                ready.append(event)
            else:
                yield event
    stores = {side.name: out / side.name / "store" for side in ready}
    settled = settle(ready, stores, equal, out / SETTLED_FILE)
    vocabularies = {name: load_tokenizer(open_store(folder).tokenizer_folder) for name, folder in stores.items()}
    seed = ready[0].recipe.train.seed
    texts = read_held_out(asked_texts, held_out_bytes) if asked_texts else read_test_splits(stores, held_out_bytes, seed)
    texts = _leave_out_trained(texts, stores, vocabularies)
    encoded = {name: encode_texts(texts.texts, vocabulary, name) for name, vocabulary in vocabularies.items()}
    runs = [(side, seed + number) for number in range(num_seeds) for side in ready]
    folders = [out / side.name / f"seed-{one}" for side, one in runs]
    is_done = [_is_trained(folder, settled[side.name].num_steps) for (side, _), folder in zip(runs, folders, strict=True)]
    seconds = [settled[side.name].estimated_seconds for (side, _), done in zip(runs, is_done, strict=True) if not done]
    yield RunsPlanned(
        num_runs=len(runs),
        num_done=sum(is_done),
        num_steps=[settled[side.name].num_steps for side in ready],
        seconds_left=sum(known) if len(known := [one for one in seconds if one is not None]) == len(seconds) else None,
        held_out=texts,
    )
    nats: dict[str, list[Floats]] = {side.name: [] for side in ready}
    for number, ((side, one), folder) in enumerate(zip(runs, folders, strict=True), 1):
        yield RunStarted(name=side.name, seed=one, number=number)
        if not is_done[number - 1]:
            from whelp.cli.train import iter_train

            yield from iter_train(make_run_recipe(side, settled[side.name], one), stores[side.name], folder)
        found = None
        for event in _iter_measured(folder, texts, encoded[side.name], side.recipe.train.device):
            if isinstance(event, tuple):
                found, is_reused = event
            else:
                yield event
        assert found is not None, "measuring ends with losses"
        nats[side.name].append(found)
        bits = float(count_bits(found, texts.num_bytes))
        yield RunMeasured(name=side.name, seed=one, bits_per_byte=bits, is_reused=is_reused)
    losses = {name: np.stack(rows) for name, rows in nats.items()}
    measured = Measured(ready, settled, equal, vocabularies, texts, encoded, losses)
    result = sum_up(out, sides, measured, confidence)
    write_json(out / RESULT_FILE, dataclasses.asdict(result))
    write_atomic(out / REPORT_FILE, make_recipes_report(dataclasses.asdict(result)))
    yield result


def _leave_out_trained(texts: HeldOutTexts, stores: Mapping[str, Path], vocabularies: Mapping[str, Vocabulary]) -> HeldOutTexts:
    """The texts that no recipe trains on, word for word; left out for all, so that all are measured on the same.

    Raises:
        SourceError: When fewer than two are left.
    """
    for name, folder in stores.items():
        if texts.texts:
            found = find_trained(encode_texts(texts.texts, vocabularies[name], name), open_store(folder), vocabularies[name])
            texts = texts.without(found, f"in the training data of {name}")
    if len(texts.texts) < 2:
        why = "".join(f"; {count:,} {reason}" for reason, count in texts.left_out.items())
        found_texts = f"{say_count(len(texts.texts), 'text')} to measure on{why}"
        raise SourceError("the held-out texts", found_texts, "2 at least", "Name others: --held-out FILE_OR_FOLDER.")
    return texts


def _is_trained(folder: Path, num_steps: int) -> bool:
    newest = find_newest_whole(RunFolder(folder).checkpoints)
    return newest is not None and newest.name == step_name(num_steps)


def _iter_measured(
    run: Path, texts: HeldOutTexts, encoded: EncodedTexts, device: str
) -> Iterator[TextsMeasured | tuple[Floats, bool]]:
    """Measure a run's last checkpoint, text by text; kept beside it, and read again. Ends with the losses, and whether so."""
    import torch

    from whelp.artifacts.checkpoint import find_model_folder
    from whelp.cli.generate import load_model
    from whelp.evaluate.texts import measure_texts

    asked = {"texts": texts.fingerprint}
    place = find_place(find_model_folder(run), "texts", asked)
    assert place is not None, f"{run} is a run, so its evaluations have a place"
    if place.is_file():
        kept = read_json(place)
        if kept["asked"] == asked:
            yield np.array(kept["nats"]), True
            return
    before, loaded = torch.get_num_threads(), load_model(run, device)
    torch.set_num_threads(dict(RunFolder(run).read_plan() or {})["plan"]["threads"])
    ids, nats = encoded.split(), np.zeros(len(texts.texts))
    order = np.argsort([-len(one) for one in ids], kind="stable")  # texts of about one length side by side
    for first in range(0, len(order), _MEASURED_AT_ONCE):
        yield TextsMeasured(done=first, total=len(order))
        piece = order[first : first + _MEASURED_AT_ONCE]
        nats[piece] = measure_texts(
            loaded.model,
            [ids[number] for number in piece],
            first_id=loaded.vocabulary.eos_id,
            context_tokens=loaded.model.context_tokens,
            vocab_size=loaded.vocabulary.size,
            device=loaded.device,
        )
    torch.set_num_threads(before)
    save_evaluation(loaded.folder, "texts", asked, {"nats": nats.tolist()})
    yield nats, False
