"""`whelp compare-recipes`: worse data is found worse, equal data is not found different, and nothing is trained twice."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

import whelp as package
from whelp.artifacts.token_store import open_store
from whelp.base.errors import (
    ArtifactError,
    ConfigError,
    LostProcessError,
    PlanError,
    SourceError,
    TrainingError,
    WhelpError,
)
from whelp.base.machine import count_cores
from whelp.cli.compare_recipes import iter_compare_recipes
from whelp.cli.held_out_texts import HeldOutTexts
from whelp.cli.recipe_comparison.events import RecipeComparison, RunAdvanced, RunMeasured, RunsPlanned, RunStarted
from whelp.cli.recipe_comparison.jobs import find_places
from whelp.cli.recipe_comparison.settle import Settled, name_side
from whelp.cli.recipe_comparison.sides import load_sides
from whelp.cli.screens import show_compare_recipes
from whelp.tokenizer import load_tokenizer
from whelp.train.fit import TornStepError
from whelp.train.speed_probe import ProbeResult

from .helpers import Whelp, snapshot

Make = Callable[..., Path]


def write_sentences(seed: int, count: int) -> list[str]:
    """Sentences whose words depend on those before them."""
    chance = random.Random(seed)
    who, what = ("cat", "dog", "fox", "crow", "wolf", "hare"), ("sees", "hears", "follows", "greets", "fears", "finds")
    return [
        f"On day {chance.randint(1, 99)} the {chance.choice(who)} {chance.choice(what)} the {chance.choice(who)}, "
        f"and then the {chance.choice(who)} goes home alone."
        for _ in range(count)
    ]


def shuffle_words(text: str, chance: random.Random) -> str:
    """The same words in another order."""
    words = text.split(" ")
    chance.shuffle(words)
    return " ".join(words)


def write_recipe(folder: Path, name: str, texts: list[str], **sections: dict[str, Any]) -> Path:
    """Write texts as JSON lines, and a recipe of them."""
    rows = folder / f"{name}.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    recipe: dict[str, Any] = {
        "data": {"source": rows.name, "tokenizer": {"learn": "bpe", "vocab_size": 320}, "test_split": 0.05},
        "pack": {"context_tokens": 32},
        "model": {"family": "gpt2", "n_layer": 1, "n_head": 1, "n_embd": 16},
        "train": {
            "num_steps": 20,
            "batch_tokens": 256,
            "threads": 1,
            "device": "cpu",
            "learning_rate": 3e-2,
            "evaluate_every_steps": 20,
        },
    }
    for section, values in sections.items():
        recipe[section] = recipe.get(section, {}) | values
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write texts and a recipe of them."""
    return functools.partial(write_recipe, tmp_path)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> RecipeComparison:
    """Text against itself with shuffled words, measured on two kinds of text."""
    folder, texts, chance = tmp_path_factory.mktemp("compared"), write_sentences(1, 200), random.Random(0)
    clean = write_recipe(folder, "clean", texts)
    shuffled = write_recipe(folder, "shuffled", [shuffle_words(text, chance) for text in texts])
    write_recipe(folder, "tales", write_sentences(2, 30))
    write_recipe(folder, "other", [text.replace("home", "away") for text in write_sentences(3, 25)])
    held_out = [str(folder / "tales.jsonl"), f"two={folder / 'other.jsonl'}"]
    return package.compare_recipes([clean, shuffled], out=folder / "out", held_out=held_out)


def test_shuffled_words_are_worse(compared: RecipeComparison) -> None:
    """Found so by every interval, on each held-out source; and it is what differs in the recipes."""
    difference = compared.differences[-1]
    assert difference.name == "shuffled"
    assert list(difference.sources) == ["tales", "two"]
    for values in (difference.whole, *difference.sources.values()):
        assert values.verdict == "worse"
        assert min(interval.low for interval in (values.seeds, values.texts, values.both)) > 0
    first, last = compared.sides
    assert difference.whole.by_seed == pytest.approx([b - a for a, b in zip(first.by_seed, last.by_seed, strict=True)])
    assert [Path(value).name for value in compared.options["data.source"]] == ["clean.jsonl", "shuffled.jsonl"]
    assert list(compared.options) == ["data.source"]


def test_the_page(compared: RecipeComparison) -> None:
    """Verdicts in words, an interval for each comparison and source, the data, the texts; it opens offline."""
    page = Path(compared.html).read_text(encoding="utf-8")
    assert "shuffled is worse than clean" in page
    assert page.count('stroke-width="4"') == 3  # on all texts, and on each source
    assert compared.differences[-1].examples[0].text in page
    assert "src=" not in page
    assert "http" not in page


def test_a_narrow_terminal(compared: RecipeComparison, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the lines of a table do not fit, no number in it is cut off."""
    shown = io.StringIO()
    monkeypatch.setattr(show_compare_recipes, "open_output", lambda width: Console(file=shown, width=80, highlight=False))
    show_compare_recipes.print_recipe_comparison(compared)
    assert "…" not in shown.getvalue()
    for side in compared.sides:
        for number in (f"{side.bits_per_byte:.4f}", f"{side.num_parameters:,}", f"{side.compute_flops:.3g}"):
            assert number in shown.getvalue()


def test_curves(compared: RecipeComparison) -> None:
    """Ten points of each side, measured alike; the last is what the whole run came to, as the sample here is all texts."""
    for side in compared.sides:
        assert [point.step for point in side.curve] == list(range(2, 21, 2))
        assert side.curve[-1].by_seed == pytest.approx(side.by_seed, rel=1e-6)
        assert side.curve[-1].training_minutes == side.training_minutes
        assert max(side.curve[-1].by_seed) < min(side.curve[0].by_seed)
        tokens = [point.seen_tokens for point in side.curve]
        assert tokens == sorted(tokens)
        assert tokens[-1] == pytest.approx(side.seen_tokens, rel=0.1)
        minutes = [point.training_minutes for point in side.curve]
        assert 0 < minutes[0] < minutes[-1]
    page = Path(compared.html).read_text(encoding="utf-8")
    assert page.count("<polygon") == 4  # of two sides, against tokens and minutes


def test_several_at_once(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes of their own runs come to the same numbers, to the bit; stopped, each is saved, and goes on."""
    monkeypatch.setattr("whelp.cli.recipe_comparison.jobs.count_cores", lambda: 2)
    clean = make("a", write_sentences(1, 80), train={"num_steps": 100})
    other = make("b", write_sentences(2, 80), train={"num_steps": 100})
    whole = package.compare_recipes([clean, other], out=tmp_path / "whole", seeds=2)

    events = iter_compare_recipes(load_sides([clean, other]), tmp_path / "parts", num_seeds=2, jobs=2)
    stopped = next(event for event in events if isinstance(event, RunAdvanced) and event.doing.startswith("step"))
    events.close()
    name = {1: "a", 2: "b"}[stopped.number]
    (newest,) = (tmp_path / "parts" / name / "seed-0" / "checkpoints").glob("step-*")
    assert newest.name != "step-00000100"  # asked to stop, it has saved what it had, at whatever step
    found = list(iter_compare_recipes(load_sides([clean, other]), tmp_path / "parts", num_seeds=2, jobs=2))
    started = {event.number for event in found if isinstance(event, RunStarted)}
    assert {3, 4, stopped.number} <= started
    measured = {event.number: event.is_reused for event in found if isinstance(event, RunMeasured)}
    assert measured == {number: number not in started for number in (1, 2, 3, 4)}
    result = found[-1]
    assert isinstance(result, RecipeComparison)
    assert [side.by_seed for side in result.sides] == [side.by_seed for side in whole.sides]
    assert result.differences == whole.differences
    assert [[(point.step, point.by_seed) for point in side.curve] for side in result.sides] == [
        [(point.step, point.by_seed) for point in side.curve] for side in whole.sides
    ]


def test_a_run_that_fails(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong names the run, or the recipe where it was planned; what another process raises is raised here."""
    monkeypatch.setattr("whelp.cli.recipe_comparison.jobs.count_cores", lambda: 2)
    recipe = make("a", write_sentences(1, 80))
    wild = make("wild", write_sentences(1, 80), train={"learning_rate": 1e30, "clip_gradient_norm": 0})
    with pytest.raises(TrainingError, match=r"wild, step 2: the loss is nan, .* Lower train.learning_rate"):
        package.compare_recipes([recipe, wild], out=tmp_path / "wild", seeds=2)

    out = tmp_path / "out"
    events = iter_compare_recipes(load_sides([recipe, recipe]), out, num_seeds=2, jobs=2)
    for event in events:
        if isinstance(event, RunsPlanned):
            (out / "a" / "seed-0").mkdir()
            (out / "a" / "seed-0" / "letter.txt").write_text("mine", encoding="utf-8")
            break
    with pytest.raises(ArtifactError, match=r"a.seed-0: something else stands there"):
        list(events)

    def diverge(*_: object) -> Iterator[object]:
        yield from ()
        raise TrainingError("step 7", "the loss is nan", "a finite number", "Lower it.")

    monkeypatch.setattr("whelp.cli.train.iter_train", diverge)
    with pytest.raises(TrainingError, match=r"a.seed-0, step 7: the loss is nan, but expected a finite number. Lower it."):
        package.compare_recipes([recipe, recipe], out=tmp_path / "other", seeds=2)


@pytest.mark.parametrize("kind", [TrainingError, TornStepError, LostProcessError, PlanError])
def test_an_error_names_its_run(kind: type[WhelpError]) -> None:
    """Whatever kind it is of."""
    error = name_side(kind("step 7", "out of memory", "", "Go on."), "wild")
    assert (type(error), str(error)) == (kind, "wild, step 7: out of memory. Go on.")


def test_where_runs_go_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Never more than there are threads for; what that means is said. A device with a number cannot be shared."""
    values = dict.fromkeys(("micro_batch_rows", "seen_tokens", "seen_bytes", "num_parameters", "num_steps"), 1)
    one = Settled(
        **values,
        threads=count_cores(),
        device="cpu",
        learning_rate=1.0,
        precision="fp32",
        compute_flops=1.0,
        estimated_seconds=1.0,
    )
    assert find_places({"a": one}, 1) == find_places({"a": one}, 3) == [{}]
    assert "1 run at once, not 3" in caplog.text
    with pytest.raises(ConfigError, match=r"would share one device \(a: cuda:1\)"):
        find_places({"a": dataclasses.replace(one, device="cuda:1")}, 2)


def test_stopped_and_gone_on_with(whelp: Whelp, make: Make, tmp_path: Path) -> None:
    """The same command ends in the same numbers, wherever it was stopped; more seeds add runs, finished ones stay as they are.

    A recipe against itself: each seed gives both the same losses, to the bit.
    """
    recipe, asked = make("a", write_sentences(1, 60)), ["train.num_steps=2"]
    whole = package.compare_recipes([recipe, recipe], out=tmp_path / "whole", seeds=2, overrides=asked)
    assert [source.name for source in whole.held_out] == ["a"]  # none was named: the test split, of both
    first, second = whole.sides
    assert (first.name, second.name) == ("a", "a-2")
    assert first.by_seed == second.by_seed
    difference = whole.differences[0].whole
    assert (difference.difference, difference.verdict, difference.smallest) == (0.0, "undecided", 0.0)

    events, steps = iter_compare_recipes(load_sides([recipe, recipe], asked), tmp_path / "parts", num_seeds=2), 0
    for event in events:
        steps += isinstance(event, RunAdvanced) and event.doing.startswith("step")
        if steps == 2 + 1:  # in the second run
            break
    events.close()
    before = snapshot(tmp_path / "parts" / "a" / "seed-0" / "checkpoints")
    names = ["compare-recipes", "a.yaml", "a.yaml", *asked, "--out", "parts"]
    more = whelp(*names, "--seeds", 3, "--json")
    assert "6 of 2 steps, 1 of them done" in more.said
    assert [side["by_seed"][:2] for side in more.json["sides"]] == [first.by_seed, second.by_seed]
    assert json.loads((tmp_path / "parts" / "result.json").read_text(encoding="utf-8")) == more.json
    again = whelp(*names, "--seeds", 3)
    assert again.said.count("from before") == 6
    assert "a-2 and a give the same models: there is no difference at all." in again.text
    assert snapshot(tmp_path / "parts" / "a" / "seed-0" / "checkpoints") == before
    changed = whelp(*names, "pack.context_tokens=16")
    assert changed.code == 1
    assert "this comparison was begun with other settings (a: pack.context_tokens: 32 -> 16" in changed.said


def test_texts_that_are_trained_on_are_left_out(make: Make, tmp_path: Path) -> None:
    """Of all recipes, and for all; counted. Without any other text there is nothing to compare by."""
    texts = write_sentences(1, 120)
    recipes = [
        make("a", texts[:80], data={"test_split": 0}),
        make("b", texts[60:], data={"separator": "newline", "test_split": 0}),
    ]
    fresh = [text for text in write_sentences(2, 30) if text not in texts]
    held_out = make("texts", [*texts[:10], *texts[110:], *fresh, fresh[0]]).with_suffix(".jsonl")
    events = iter_compare_recipes(load_sides(recipes), tmp_path / "out", held_out=[str(held_out)])
    found = next(event for event in events if isinstance(event, RunsPlanned)).held_out
    events.close()
    assert found.texts == fresh
    assert found.left_out == {"there twice": 1, "in the training data of a": 10, "in the training data of b": 10}
    trained = make("trained", texts[:10]).with_suffix(".jsonl")
    with pytest.raises(SourceError, match="0 texts to measure on; 10 in the training data of a"):
        package.compare_recipes(recipes, out=tmp_path / "other", held_out=[str(trained)], seeds=2)


@pytest.mark.parametrize("equal", ["tokens", "bytes", "compute"])
def test_what_is_equal(make: Make, tmp_path: Path, equal: str) -> None:
    """Vocabularies, widths and batches of their own; the lengths agree, to half a step, in what was asked for and nothing else."""
    texts = write_sentences(1, 300)
    first = make("first", texts, train={"num_steps": 40})
    other = make(
        "other",
        texts,
        data={"tokenizer": {"learn": "bpe", "vocab_size": 270}},
        model={"n_layer": 2},
        train={"num_steps": 3, "batch_tokens": 128},
    )
    events = iter_compare_recipes(load_sides([first, other]), tmp_path / "out", num_seeds=2, equal=equal)  # type: ignore[arg-type]
    planned = next(event for event in events if isinstance(event, RunsPlanned))
    events.close()
    assert planned.num_steps[0] == 40
    settled = json.loads((tmp_path / "out" / "settled.json").read_text(encoding="utf-8"))
    shares = {}
    for name in ("first", "other"):
        opened = open_store(tmp_path / "out" / name / "store")
        split = opened.split("train")
        ids = [token for number in range(split.num_documents) for token in split.document(number)["input_ids"]]
        num_bytes = load_tokenizer(opened.tokenizer_folder).token_bytes[ids].mean()
        places = (256, 128)[name == "other"] * planned.num_steps[name == "other"]
        seen = settled[name]["seen_tokens"]
        assert 0.9 * places < seen <= places
        numbers, layers = settled[name]["num_parameters"], 1 + (name == "other")
        shares[name] = {"tokens": seen, "bytes": seen * num_bytes, "compute": places * (6 * numbers + 12 * layers * 16 * 32)}
    half_step = 0.5 / planned.num_steps[1]
    assert {
        kind for kind, amount in shares["first"].items() if abs(amount / shares["other"][kind] - 1) <= half_step * 1.05
    } == {equal}
    with pytest.raises(PlanError, match=f"equal: {equal} -> "):
        next(
            iter_compare_recipes(load_sides([first, other]), tmp_path / "out", equal="bytes" if equal != "bytes" else "tokens")
        )


@pytest.mark.parametrize("length", [{"num_steps": 40}, {"num_steps": None, "minutes": 0.4 / 60}])
def test_equal_minutes(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: dict[str, Any]) -> None:
    """As many steps as fit: the first takes 10 ms a step, the other 4 ms, or a part of that where its batches grow."""
    texts = write_sentences(1, 120)
    first = make("first", texts, train=length)
    other = make("other", texts, model={"n_layer": 2}, train={"num_steps": 3})
    grown = make("grown", texts, train={"first_batch_tokens": 64, "batch_ramp_share": 0.5})
    seconds = {first: 0.010, other: 0.004, grown: 0.010}

    def probe(build: Callable[[], Any], rows: Any, plan: Any, config: Any, **options: Any) -> ProbeResult:
        is_deep = len(build()[0].blocks) == 2
        return ProbeResult(seconds_per_step=seconds[other if is_deep else first], threads=1)

    monkeypatch.setattr("whelp.train.speed_probe.probe_speed", probe)
    sides = load_sides([first, other, grown])
    events = iter_compare_recipes(sides, tmp_path / "out", num_seeds=2, equal="minutes")
    planned = next(event for event in events if isinstance(event, RunsPlanned))
    events.close()
    assert planned.num_steps[:2] == [40, 100]
    settled = json.loads((tmp_path / "out" / "settled.json").read_text(encoding="utf-8"))
    assert settled["grown"]["num_steps"] > 50
    for one in settled.values():
        assert one["estimated_seconds"] == pytest.approx(0.4, abs=0.006)
    again = iter_compare_recipes(sides, tmp_path / "out", num_seeds=2, equal="minutes")
    assert next(event for event in again if isinstance(event, RunsPlanned)).num_steps == planned.num_steps
    again.close()


def test_a_length_that_does_not_fit(make: Make, tmp_path: Path) -> None:
    """Steps of a recipe's own that are more than it gets are an error that names it."""
    texts = write_sentences(1, 100)
    first = make("first", texts, train={"num_steps": 5})
    warm = make("warm", texts, train={"num_steps": 50, "warmup_steps": 30})
    with pytest.raises(ConfigError, match=r"compare-recipes: warm: train.warmup_steps is 30, but train.num_steps only 5"):
        package.compare_recipes([first, warm], out=tmp_path / "out")


def test_averaged_weights_are_what_is_measured(make: Make, tmp_path: Path) -> None:
    """Where a recipe keeps them: else they would make no difference."""
    recipe = make("a", write_sentences(1, 100), train={"num_steps": 6})
    result = package.compare_recipes([recipe], out=tmp_path / "out", vary=["train.ema_decay=null,0.9"], seeds=2)
    plain, averaged = result.sides
    assert all(late > now for late, now in zip(averaged.by_seed, plain.by_seed, strict=True))  # they lag behind
    run = tmp_path / "out" / "ema_decay 0.9" / "seed-0"
    measured = {path.name.split("-")[2] for path in (run / "evaluations").iterdir()}
    assert measured == {"ema"}


def test_a_sample_of_texts() -> None:
    """About as much as asked for, of all sources, from their beginnings to their ends; long texts are cut."""
    texts = HeldOutTexts(
        names=["short", "long"],
        texts=[*(f"text {number:03}." * 10 for number in range(300)), *("x" * 20_000 for _ in range(3))],
        sources=np.repeat([0, 1], [300, 3]),
    )
    some = texts.sample(10_000)
    shares = [int(some.num_bytes[some.sources == source].sum()) for source in (0, 1)]
    assert shares == pytest.approx([10_000 * 27 / 87, 10_000 * 60 / 87], rel=0.05)
    assert (some.texts[0], some.texts[shares[0] // 90 - 1]) == (texts.texts[0], texts.texts[299])
    assert texts.sample(1_000_000).fingerprint == texts.fingerprint


def test_pairs(make: Make, tmp_path: Path) -> None:
    """Each with each; the differences add up, and intervals are wider: three hold together, not two."""
    texts = write_sentences(1, 100)
    recipe = make("a", texts, train={"num_steps": 5})
    sides = load_sides([recipe], vary=["train.learning_rate=1e-2,1e-3,1e-9"])
    result = next(
        event
        for event in iter_compare_recipes(sides, tmp_path / "out", num_seeds=2, pairs=True)
        if isinstance(event, RecipeComparison)
    )
    names = [side.name for side in result.sides]
    assert [(one.baseline, one.name) for one in result.differences] == [
        (names[0], names[1]),
        (names[0], names[2]),
        (names[1], names[2]),
    ]
    first, second, third = (one.whole for one in result.differences)
    assert third.by_seed == pytest.approx([b - a for a, b in zip(first.by_seed, second.by_seed, strict=True)])
    assert [one.whole.confidence for one in result.differences] == pytest.approx([1 - 0.05 / 3] * 3)
    page = Path(result.html).read_text(encoding="utf-8")
    assert f"{names[2]} against {names[1]}" in page
    assert "<h2>Differences, bits per byte</h2>" in page


def test_a_sweep(whelp: Whelp, make: Make) -> None:
    """A side for each combination, the first the baseline; intervals are wider, as they hold together; a rate of 0 is the worst."""
    make("a", write_sentences(1, 120))
    names = [
        "compare-recipes",
        "a.yaml",
        "--vary",
        "train.learning_rate=3e-2,1e-9",
        "--vary",
        "model.n_layer=1,2",
        "--seeds",
        2,
    ]
    result = whelp(*names, "--out", "out", "--json").json
    assert [path.parent.name for path in Path("out").glob("*/store")] == [result["sides"][0]["name"]]  # the data is the same
    assert [source["name"] for source in result["held_out"]] == [result["sides"][0]["name"]]
    assert result["skipped"] == {}
    assert [difference["sources"] for difference in result["differences"]] == [{}] * 3
    assert [side["name"] for side in result["sides"]] == [
        f"learning_rate {rate}-n_layer {layers}" for rate in ("3e-2", "1e-9") for layers in (1, 2)
    ]
    assert result["options"] == {"train.learning_rate": [0.03, 0.03, 1e-9, 1e-9], "model.n_layer": [1, 2, 1, 2]}
    assert result["differences"][1]["whole"]["confidence"] == pytest.approx(1 - 0.05 / 3)
    assert result["differences"][1]["whole"]["difference"] > 0.1
    assert result["sides"][0]["by_seed"] != result["sides"][1]["by_seed"]
    assert (
        "'learning_rate' is not section.field=value,value" in whelp("compare-recipes", "a.yaml", "--vary", "learning_rate").said
    )
    twice = whelp("compare-recipes", "a.yaml", "--vary", "train.learning_rate=1,1")
    assert "a value is there twice" in twice.said


def test_other_vocabularies_rules_and_models(make: Make, tmp_path: Path) -> None:
    """Each recipe's own vocabulary and rules are used, its own model is not; what that means is said."""
    texts = write_sentences(1, 100)
    first = make("first", texts)
    chars = make("chars", texts, data={"tokenizer": {"learn": "chars", "unknown": "token"}}, model={"n_layer": 2})
    curated = make("curated", [*texts, *texts[:50]], curate={"preset": "none", "exact_duplicates": True})
    held_out = make("texts", [*write_sentences(2, 30), "Ein Käse!"]).with_suffix(".jsonl")
    result = package.compare_recipes(
        {"one": first, "letters": chars, "rules": curated},
        out=tmp_path / "out",
        held_out=[str(held_out)],
        seeds=2,
        overrides=["train.num_steps=1"],
    )
    one, letters, rules = result.sides
    assert letters.bytes_per_token == pytest.approx(1, abs=0.1) != one.bytes_per_token
    assert one.seen_bytes > letters.seen_bytes
    assert (rules.num_documents_curated, one.num_documents_curated) == (150, None)
    assert rules.num_documents == one.num_documents
    assert result.options["curate.exact_duplicates"] == [None, None, True]
    assert result.options["curate.preset"] == [None, None, "none"]
    assert result.options["model.n_layer"] == [1, 2, 1]
    assert letters.num_parameters != one.num_parameters
    notes = "\n".join(result.notes)
    assert "letters: its vocabulary does not give back 1 held-out text" in notes
    assert "letters: equal tokens, to the nearest step; against one" in notes


def test_what_cannot_be_compared(whelp: Whelp, make: Make, tmp_path: Path) -> None:
    """Each is said, with what to do, before anything is made."""
    recipe = make("a", write_sentences(1, 40))
    before = snapshot(tmp_path)
    assert "1 given, but expected 2 at least" in whelp("compare-recipes", "a.yaml").said
    assert "seeds is 1, but expected 2 at least" in whelp("compare-recipes", "a.yaml", "a.yaml", "--seeds", 1).said
    assert "confidence is 95, but expected 0.5 to 1" in whelp("compare-recipes", "a.yaml", "a.yaml", "--confidence", 95).said
    timed = whelp("compare-recipes", "a.yaml", "a.yaml", "train.minutes=1", "train.num_steps=null")
    assert "a: train.minutes is set, and equal tokens asked for" in timed.said
    assert "--equal minutes" in timed.said
    assert "jobs is 0, but expected 1 at least" in whelp("compare-recipes", "a.yaml", "a.yaml", "--jobs", 0).said
    lengths = whelp("compare-recipes", "a.yaml", "--vary", "train.num_steps=1,2", "--vary", "train.seed=0,1")
    assert "train.num_steps cannot be varied: length and seeds are the same for all" in lengths.said
    assert "train.seed cannot be varied" in lengths.said
    with pytest.raises(ConfigError, match="cannot be the name of a folder"):
        package.compare_recipes({"../a": recipe, "b": recipe}, out=tmp_path / "out")
    assert snapshot(tmp_path) == before
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("mine", encoding="utf-8")
    taken = whelp("compare-recipes", "a.yaml", "a.yaml", "--out", "taken")
    assert (taken.code, "something else stands there" in taken.said) == (1, True)
    begun = iter_compare_recipes(load_sides([recipe, recipe]), tmp_path / "two")
    next(begun)
    begun.close()
    with pytest.raises(PlanError, match="recipes: a, a-2 -> a, other"):
        package.compare_recipes({"a": recipe, "other": recipe}, out=tmp_path / "two")
