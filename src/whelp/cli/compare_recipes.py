"""`whelp compare-recipes`: small models of several recipes, several seeds each, to tell which recipe is better, and how surely."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from whelp.artifacts.token_store import open_store
from whelp.base.as_list import as_list
from whelp.base.counts import say_count
from whelp.base.errors import ConfigError, SourceError
from whelp.base.files import hold_folder, write_atomic, write_json
from whelp.base.last_event import run_to_end
from whelp.base.paths import as_path
from whelp.cli.held_out_texts import HeldOutTexts, encode_texts, find_trained, read_held_out, read_test_splits
from whelp.cli.recipe import Recipe
from whelp.cli.recipe_comparison.events import RecipeComparison, RunMeasured, RunsPlanned
from whelp.cli.recipe_comparison.jobs import find_places, iter_runs
from whelp.cli.recipe_comparison.result import REPORT_FILE, Measured, count_bits, sum_up
from whelp.cli.recipe_comparison.runs import ComparedRun, TextIds, read_course
from whelp.cli.recipe_comparison.settle import Settled, make_run_recipe, settle
from whelp.cli.recipe_comparison.sides import Equal, Side, check_asked, check_lengths, iter_ready, load_sides
from whelp.cli.screens.draw_events import draw_comparing_recipes, watch

if TYPE_CHECKING:
    from whelp.tokenizer.vocabulary import Vocabulary

RESULT_FILE, SETTLED_FILE = "result.json", "settled.json"
HELD_OUT_BYTES = 1_000_000
_SAMPLE_SHARE = 0.03  # of the text a run sees, for each point of a curve: forward alone, ten points take a tenth of its time
_LEAST_SAMPLE_BYTES = 10_000

Floats = npt.NDArray[np.float64]


def compare_recipes(
    recipes: Sequence[str | Path | Mapping[str, Any] | Recipe] | Mapping[str, Any],
    *,
    out: str | Path,
    held_out: str | Path | Sequence[str | Path] = (),
    seeds: int = 3,
    overrides: Sequence[str] = (),
    scale: str | None = None,
    vary: str | Sequence[str] = (),
    equal: Equal = "tokens",
    pairs: bool = False,
    jobs: int = 1,
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
        equal: Of what each has as much as the first: `tokens`, `bytes` of text, `compute` (floating-point operations, as
            `whelp.model.build.count_token_flops` counts them), or `minutes` of training (as many steps as fit into them, timed
            before the first run).
        pairs: Compare all with each other, not only with the first; the intervals are wider, so that all of them hold together.
        jobs: Runs at once, each in a process of its own: on GPUs one each, on a CPU each with its part of the threads.
        confidence: Of the intervals; with more than two recipes, of all comparisons together (Bonferroni).
        held_out_bytes: About so much is taken of each held-out source.

    Raises:
        ConfigError: When there are fewer than two recipes or seeds, or a length is in minutes where something else is to be equal.
        SourceError: When nothing is left to measure on.
        PlanError: When the comparison at `out` was begun with other settings.
    """
    events = iter_compare_recipes(
        load_sides(recipes, overrides, scale, vary),
        as_path(out),
        held_out=[str(one) for one in as_list(held_out)],
        num_seeds=seeds,
        equal=equal,
        pairs=pairs,
        jobs=jobs,
        confidence=confidence,
        held_out_bytes=held_out_bytes,
    )
    return run_to_end(watch(events, draw_comparing_recipes), RecipeComparison)


def iter_compare_recipes(
    sides: Sequence[Side],
    out: Path,
    *,
    held_out: str | Sequence[str] = (),
    num_seeds: int = 3,
    equal: Equal = "tokens",
    pairs: bool = False,
    jobs: int = 1,
    confidence: float = 0.95,
    held_out_bytes: int = HELD_OUT_BYTES,
) -> Iterator[object]:
    """Compare, yielding what happens: the events of `curate` and `prepare`, and those of the runs; the result comes last."""
    problems = []
    if num_seeds < 2:
        problems.append(f"seeds is {num_seeds}, but expected 2 at least: one run says nothing about the spread")
    if equal not in get_args(Equal):
        problems.append(f"equal is {equal!r}, but expected one of {', '.join(get_args(Equal))}")
    if not 0.5 <= confidence < 1:
        problems.append(f"confidence is {confidence:g}, but expected 0.5 to 1 (0.95: one of twenty intervals misses)")
    if jobs < 1:
        problems.append(f"jobs is {jobs}, but expected 1 at least")
    if held_out_bytes < 1:
        problems.append(f"held_out_bytes is {held_out_bytes}, but expected 1 at least")
    if problems:
        raise ConfigError("compare-recipes", problems)
    check_lengths(sides, equal)
    with hold_folder(out):
        yield from _iter(sides, out, held_out, num_seeds, equal, pairs, jobs, confidence, held_out_bytes)


def _iter(
    sides: Sequence[Side],
    out: Path,
    asked_texts: Sequence[str],
    num_seeds: int,
    equal: Equal,
    pairs: bool,
    jobs: int,
    confidence: float,
    held_out_bytes: int,
) -> Iterator[object]:
    from whelp.report import make_recipes_report
    from whelp.tokenizer import load_tokenizer

    check_asked(out, sides, equal)
    ready, stores = list[Side](), dict[str, Path]()
    for event in iter_ready(sides, out):
        if isinstance(event, list):
            ready, stores = [side for side, _ in event], {side.name: store for side, store in event}
        else:
            yield event
    settled = settle(ready, stores, equal, out / SETTLED_FILE, jobs)
    places = find_places(settled, jobs)
    vocabularies = {name: load_tokenizer(open_store(folder).tokenizer_folder) for name, folder in stores.items()}
    seed = ready[0].recipe.train.seed
    texts = _read_texts(asked_texts, held_out_bytes, stores, vocabularies, seed)
    sample = texts.sample(max(_LEAST_SAMPLE_BYTES, round(_SAMPLE_SHARE * settled[ready[0].name].seen_bytes)))
    encoded = {name: encode_texts(texts.texts, vocabulary, name) for name, vocabulary in vocabularies.items()}
    encoded_sample = {name: encode_texts(sample.texts, vocabulary, name) for name, vocabulary in vocabularies.items()}
    runs = [
        ComparedRun(
            number=number,
            name=side.name,
            seed=one,
            recipe=make_run_recipe(side, settled[side.name], one),
            store=stores[side.name],
            folder=out / side.name / f"seed-{one}",
            num_steps=settled[side.name].num_steps,
            texts=TextIds(texts.fingerprint, encoded[side.name]),
            sample=TextIds(sample.fingerprint, encoded_sample[side.name]),
        )
        for number, (one, side) in enumerate(itertools.product(range(seed, seed + num_seeds), ready), 1)
    ]
    yield _describe_runs(runs, settled, len(places), texts)
    losses: dict[int, Floats] = {}
    yield from _iter_measured(runs, places, texts, losses)
    measured = Measured(
        sides=ready,
        stores=stores,
        settled=settled,
        equal=equal,
        vocabularies=vocabularies,
        texts=texts,
        encoded=encoded,
        losses={side.name: np.stack([losses[run.number] for run in runs if run.name == side.name]) for side in ready},
        sample=sample,
        courses={side.name: [read_course(run) for run in runs if run.name == side.name] for side in ready},
    )
    result = sum_up(out, sides, measured, confidence, pairs=pairs)
    write_json(out / RESULT_FILE, dataclasses.asdict(result))
    write_atomic(out / REPORT_FILE, make_recipes_report(dataclasses.asdict(result)))
    yield result


def _read_texts(
    asked: Sequence[str], num_bytes: int, stores: dict[str, Path], vocabularies: Mapping[str, Vocabulary], seed: int
) -> HeldOutTexts:
    """The texts that are named, else those of the test splits; without what any recipe trains on."""
    own = {folder: name for name, folder in reversed(stores.items())}  # of those that share one, the first
    different = {name: folder for name, folder in stores.items() if own[folder] == name}
    texts = read_held_out(asked, num_bytes) if asked else read_test_splits(different, num_bytes, seed)
    return _leave_out_trained(texts, different, vocabularies)


def _describe_runs(
    runs: Sequence[ComparedRun], settled: Mapping[str, Settled], num_places: int, texts: HeldOutTexts
) -> RunsPlanned:
    """What there is to do, and how long it will take where each run was timed."""
    untrained = [run for run in runs if not run.is_trained()]
    seconds = [settled[run.name].estimated_seconds for run in untrained]
    known = [one for one in seconds if one is not None]
    return RunsPlanned(
        num_runs=len(runs),
        num_done=len(runs) - len(untrained),
        num_jobs=min(num_places, max(1, len(untrained))),
        num_steps=[settled[name].num_steps for name in dict.fromkeys(run.name for run in runs)],
        seconds_left=sum(known) / num_places if len(known) == len(seconds) else None,
        held_out=texts,
    )


def _iter_measured(
    runs: Sequence[ComparedRun], places: Sequence[Mapping[str, str]], texts: HeldOutTexts, losses: dict[int, Floats]
) -> Iterator[object]:
    """Train what is not trained, and tell of every run; `losses` gets what each predicts of the texts, by its number."""

    def tell(run: ComparedRun, *, is_reused: bool) -> RunMeasured | None:
        found = run.read_losses() if run.is_trained() else None
        if found is None:
            return None
        losses[run.number] = found
        bits = float(count_bits(found, texts.num_bytes))
        return RunMeasured(name=run.name, seed=run.seed, number=run.number, bits_per_byte=bits, is_reused=is_reused)

    yield from (done for run in runs if (done := tell(run, is_reused=True)) is not None)
    for event in iter_runs([run for run in runs if run.number not in losses], places):
        if isinstance(event, ComparedRun):
            done = tell(event, is_reused=False)
            assert done is not None, f"{event.folder} was measured"
            yield done
        else:
            yield event


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
