"""What `whelp compare-recipes` makes of the losses: means, differences with their intervals, examples, doubts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.token_store import open_store
from whelp.base.counts import say_count
from whelp.base.files import read_json
from whelp.cli.held_out_texts import EncodedTexts, HeldOutTexts, count_unfaithful
from whelp.cli.recipe import Recipe
from whelp.cli.recipe_comparison.events import (
    ComparedSide,
    CurvePoint,
    DataDifference,
    Example,
    HeldOutSource,
    RecipeComparison,
)
from whelp.cli.recipe_comparison.runs import Course
from whelp.cli.recipe_comparison.settle import Settled, measure_bytes_per_token
from whelp.cli.recipe_comparison.sides import Equal, Side

if TYPE_CHECKING:
    from whelp.evaluate.paired_differences import PairedDifference
    from whelp.tokenizer.vocabulary import Vocabulary

REPORT_FILE = "report.html"
_FEW_TEXTS = 20  # fewer say little about others
_LITTLE = 0.02  # of tokens, text or arithmetic: less need not be said
_UNEVEN = 0.1  # of minutes
_MANY_EPOCHS = 4.0  # Muennighoff et al. 2023: up to there, repeated text is about as good as new
_EXAMPLES, _EXCERPT = 3, 280  # of texts that differ most: how many each way, and characters of each

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All that was measured, by the name of the recipe.

    `losses` (S, D): nats of each text after each seed's run. `courses`: of each seed, how it came there, measured on `sample`.
    """

    sides: Sequence[Side]
    stores: dict[str, Path]
    settled: dict[str, Settled]
    equal: Equal
    vocabularies: dict[str, Vocabulary]
    texts: HeldOutTexts
    encoded: dict[str, EncodedTexts]
    losses: dict[str, Floats]
    sample: HeldOutTexts
    courses: dict[str, list[Course]]


def count_bits(nats: Floats, num_bytes: npt.NDArray[np.int64]) -> Any:
    """Bits per byte over all texts: (..., D) -> (...)."""
    return nats.sum(axis=-1) / np.log(2) / num_bytes.sum()


def sum_up(out: Path, asked: Sequence[Side], measured: Measured, confidence: float, *, pairs: bool) -> RecipeComparison:
    """The result. Of several differences each interval is wider, so that all hold together (Bonferroni; Dunn 1961)."""
    from whelp.report import RunRecords, find_differences

    texts, sides = measured.texts, measured.sides
    first = sides[0]
    num_seeds = len(measured.losses[first.name])
    described = [_describe(out, side, measured) for side in sides]
    compared = [(a.name, b.name) for a, b in itertools.combinations(sides, 2) if pairs or a is first]
    each = 1 - (1 - confidence) / len(compared)
    differences = [_compare(a, b, measured, each) for a, b in compared]
    return RecipeComparison(
        folder=str(out),
        html=str(out / REPORT_FILE),
        seeds=[first.recipe.train.seed + number for number in range(num_seeds)],
        equal=measured.equal,
        confidence=confidence,
        held_out=[
            HeldOutSource(name=name, num_texts=int(is_own.sum()), num_bytes=int(texts.num_bytes[is_own].sum()))
            for name, is_own in _iter_sources(texts)
        ],
        skipped=texts.left_out,
        sides=described,
        differences=differences,
        options=find_differences([RunRecords(name=side.name, settings=_list_own(side)) for side in asked]),
        notes=list(_find_doubts(described, measured)),
    )


def _list_own(side: Side) -> dict[str, Any]:
    """The options of a recipe, but its length; and where it is curated, the preset and the rules it sets."""
    values = side.recipe.to_values()
    usual = Recipe().to_values()["curate"]
    rules = {name: value for name, value in values["curate"].items() if name == "preset" or value != usual[name]}
    train = {name: value for name, value in values["train"].items() if name not in ("num_steps", "num_epochs", "seed")}
    own = {"data": values["data"], "pack": values["pack"], "model": values["model"], "train": train}
    return {**own, **({"curate": rules} if side.is_curated else {})}


def _iter_sources(texts: HeldOutTexts) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Held-out sources of which a text is left, and which texts are theirs."""
    for place, name in enumerate(texts.names):
        is_own = texts.sources == place
        if is_own.any():
            yield name, is_own


def _describe(out: Path, side: Side, measured: Measured) -> ComparedSide:
    folder = out / side.name
    store = open_store(measured.stores[side.name])
    counts, texts, losses = store.manifest.counts, measured.texts, measured.losses[side.name]
    by_seed = count_bits(losses, texts.num_bytes)
    vocabulary, settled = measured.vocabularies[side.name], measured.settled[side.name]
    seen = settled.seen_tokens
    bytes_per_token = measure_bytes_per_token(store)
    train = counts["splits"]["train"]
    courses = measured.courses[side.name]
    curated = read_json(store.folder.parent / "curated" / "ledger.json")["documents_in"] if side.is_curated else None
    return ComparedSide(
        name=side.name,
        folder=str(folder),
        vocab_size=vocabulary.size,
        num_documents_curated=curated,
        num_documents=train["documents"],
        num_tokens=train["tokens"],
        bytes_per_token=bytes_per_token,
        num_parameters=settled.num_parameters,
        num_steps=settled.num_steps,
        seen_tokens=seen,
        compute_flops=settled.compute_flops,
        seen_bytes=settled.seen_bytes,
        num_epochs=seen / train["tokens"],
        training_minutes=_mean([one.minutes[settled.num_steps] for one in courses if settled.num_steps in one.minutes]),
        bits_per_byte=float(by_seed.mean()),
        by_seed=by_seed.tolist(),
        sources={
            name: float(count_bits(losses[:, is_own], texts.num_bytes[is_own]).mean()) for name, is_own in _iter_sources(texts)
        },
        curve=list(_iter_curve(courses, measured.sample)),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _iter_curve(courses: Sequence[Course], sample: HeldOutTexts) -> Iterator[CurvePoint]:
    """The steps that were measured on these texts in the runs of all seeds."""
    for step in sorted(set.intersection(*(set(course.nats) for course in courses))):
        tokens, minutes = (_mean([getattr(course, name)[step] for course in courses]) for name in ("tokens", "minutes"))
        assert tokens is not None, "there are two seeds at least"
        assert minutes is not None, "likewise"
        yield CurvePoint(
            step=step,
            seen_tokens=round(tokens),
            training_minutes=minutes,
            by_seed=[float(count_bits(course.nats[step], sample.num_bytes)) for course in courses],
        )


def _compare(baseline: str, name: str, measured: Measured, confidence: float) -> DataDifference:
    from whelp.evaluate.paired_differences import compare_paired

    texts, a, b = measured.texts, measured.losses[baseline], measured.losses[name]
    sources: dict[str, PairedDifference] = {}
    with_texts = list(_iter_sources(texts))
    for source, is_own in with_texts:
        if is_own.sum() > 1 and len(with_texts) > 1:
            sources[source] = compare_paired(a[:, is_own], b[:, is_own], texts.num_bytes[is_own], confidence=confidence)
    return DataDifference(
        name=name,
        baseline=baseline,
        whole=compare_paired(a, b, texts.num_bytes, strata=texts.sources, confidence=confidence),
        sources=sources,
        examples=_find_examples(texts, (b - a).mean(axis=0) / np.log(2) / texts.num_bytes),
    )


def _find_examples(texts: HeldOutTexts, difference: Floats) -> list[Example]:
    """Those of the texts that differ most, best first; very short ones, which differ by chance, are passed over."""
    long = np.flatnonzero(texts.num_bytes >= np.median(texts.num_bytes))
    order = long[np.argsort(difference[long], kind="stable")]
    better = [number for number in order[:_EXAMPLES] if difference[number] < 0]
    worse = [number for number in order[-_EXAMPLES:] if difference[number] > 0]
    return [
        Example(
            source=texts.names[texts.sources[number]],
            text=texts.texts[number][:_EXCERPT],
            difference=float(difference[number]),
        )
        for number in (*better, *worse)
    ]


def _find_doubts(described: Sequence[ComparedSide], measured: Measured) -> Iterator[str]:
    """What a careful friend would say about the result."""
    for name, is_own in _iter_sources(measured.texts):
        if is_own.sum() < _FEW_TEXTS:
            yield f"{name}: {say_count(int(is_own.sum()), 'text')} say little about others; name more with --held-out"
    for side in described:
        if side.num_epochs > _MANY_EPOCHS:
            yield f"{side.name}: its text is seen {side.num_epochs:.1f} times; for a long run, with less repetition, it may do better"
        lost = count_unfaithful(measured.texts.texts, measured.encoded[side.name], measured.vocabularies[side.name])
        if lost:
            found = say_count(lost, "held-out text")
            yield f"{side.name}: its vocabulary does not give back {found} as they were, so its bits per byte are too low"
    first = described[0]
    for side in described[1:]:
        if measured.equal == "minutes" and side.training_minutes and first.training_minutes:
            ratio = side.training_minutes / first.training_minutes
            if abs(ratio - 1) > _UNEVEN:
                yield (
                    f"{side.name}: as timed before the runs it has as many minutes as {first.name}, but its runs took {ratio:.2f} times "
                    "as long: something else on the machine held one of them up, or held up the timing"
                )
        others = [
            f"{ratio:.2f} times {what}"
            for what, ratio in (
                ("the tokens", side.seen_tokens / first.seen_tokens),
                ("the text", side.seen_bytes / first.seen_bytes),
                ("the arithmetic", side.compute_flops / first.compute_flops),
            )
            if abs(ratio - 1) > _LITTLE
        ]
        if others:
            yield f"{side.name}: equal {measured.equal}, to the nearest step; against {first.name} {', '.join(others)}"
