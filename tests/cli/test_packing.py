"""Packing plans through the terminal: planned, trained, evaluated, looked at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

import whelp as package

from .helpers import Project, Whelp

PLANS = [
    ["pack.plan=best_fit"],
    ["pack.plan=best_fit", "pack.isolate_documents=false"],
    ["pack.plan=none", "pack.long=truncate"],
    ["pack.plan=stream"],
    ["pack.last=carry", "pack.isolate_documents=true"],
]


@pytest.mark.parametrize("overrides", PLANS, ids=" ".join)
def test_train_and_evaluate(whelp: Whelp, made: Project, tmp_path: Path, overrides: list[str]) -> None:
    """Every plan trains; evaluating the run afterwards packs as the run did, and finds its test loss."""
    run = tmp_path / "run"
    arguments = [made.recipe, *overrides, "train.num_steps=2", "--store", made.store]
    trained = whelp("train", *arguments, "--out", run, "--json").json
    result = whelp("evaluate", run, "--store", made.store, "--json").json
    assert result["nats_per_token"] == pytest.approx(trained["nats_per_token"], rel=1e-6)
    plan = whelp("train", *arguments, "--dry-run", "--json").json
    ledger = plan["ledger"]
    fates = ("trained", "masked", "first", "cut", "dropped")
    assert sum(ledger[fate] for fate in fates) == ledger["tokens"]


@pytest.mark.parametrize("overrides", PLANS, ids=" ".join)
def test_going_on_reads_the_rows_that_are_left(whelp: Whelp, made: Project, tmp_path: Path, overrides: list[str]) -> None:
    """Taken up at its second step, over the end of an epoch, a run ends with the bits of an uninterrupted one."""
    settings = ["train.num_steps=40", "train.batch_tokens=128", "train.save_every_steps=20", "train.evaluate_every_steps=40"]
    arguments = [made.recipe, *overrides, *settings, "--store", made.store]
    assert whelp("train", *arguments, "--out", tmp_path / "whole").code == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped", symlinks=True)
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step-00000040")
    assert "from step 20" in whelp("train", *arguments, "--out", tmp_path / "stopped").said
    whole, stopped = (
        (tmp_path / name / "checkpoints" / "step-00000040" / "model.safetensors").read_bytes() for name in ("whole", "stopped")
    )
    assert whole == stopped


def test_the_plan_shows_where_tokens_go(whelp: Whelp, made: Project) -> None:
    """Shares of tokens, padding, and how many documents are cut."""
    arguments = [made.recipe, "pack.plan=none", "pack.long=truncate", "pack.context_tokens=8", "--store", made.store]
    outcome = whelp("train", *arguments, "--dry-run")
    assert outcome.code == 0, outcome.stderr
    for words in ("% trained", "% first of their document", "% cut off", "0.00% dropped", "padding 0.00%", "of them cut"):
        assert words in outcome.said.replace(" │ │ ", " ")


def test_inspect_best_fit(whelp: Whelp, made: Project) -> None:
    """Whole documents beside each other: pieces say which tokens of which, and every position to which of them it belongs."""
    rows = whelp("inspect", made.store, "--plan", "best_fit", "--context-tokens", 200, "--rows", "0:99", "--json").json["rows"]
    seen = []
    for row in rows:
        lengths = [piece["length"] for piece in row["documents"]]
        numbers = [number for number, length in enumerate(lengths) for _ in range(length)]
        assert row["document_numbers"] == numbers + [-1] * (200 - sum(lengths))
        assert all(piece["start"] == 0 for piece in row["documents"])
        ends = {sum(lengths[: number + 1]) - 1 for number in range(len(lengths))}
        assert [place for place in range(sum(lengths)) if not row["trained"][place]] == sorted(ends)
        assert row["text"].count("The quick brown fox") == len(lengths)
        seen += [piece["document"] for piece in row["documents"]]
    assert sorted(seen) == list(range(len(seen)))
    assert len(rows) < len(seen)


def test_inspect_packs_as_a_recipe_does(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """The recipe's section, then overrides, then flags; a run is a recipe as well."""
    recipe = tmp_path / "packed.yaml"
    recipe.write_text(yaml.safe_dump({"data": {"source": "x"}, "pack": {"plan": "none", "context_tokens": 12}}))
    lengths = {}
    for name, arguments in {
        "recipe": ["--recipe", recipe],
        "override": ["pack.context_tokens=10", "--recipe", recipe],
        "flag": ["pack.context_tokens=10", "--recipe", recipe, "--context-tokens", 9],
        "run": ["--recipe", made.run],
        "none": [],
    }.items():
        (row,) = whelp("inspect", made.store, *arguments, "--rows", "0", "--json").json["rows"]
        lengths[name] = len(row["ids"])
    assert lengths == {"recipe": 12, "override": 10, "flag": 9, "run": 16, "none": 256}
    called = package.inspect(made.store, rows="0", recipe=recipe, overrides=["pack.context_tokens=10"])
    assert [len(row.ids) for row in called] == [10]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--plan", "best"], "plan is 'best', but expected one of concat, best_fit, none, stream. Did you mean best_fit?"),
        (["train.seed=1"], "train: only fields of pack change how rows are cut"),
        (["pack.lenght=1"], "unknown key lenght."),
        (["--plan", "best_fit", "pack.last=drop"], "pack.last is for the plan concat, but pack.plan is best_fit"),
    ],
)
def test_inspect_refuses(whelp: Whelp, made: Project, arguments: list[str], words: str) -> None:
    """What does not change the packing, or is no plan, is an error that says so."""
    outcome = whelp("inspect", made.store, *arguments)
    assert outcome.code == 1
    assert words in outcome.said
