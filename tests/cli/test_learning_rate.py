"""A recipe without a learning rate: it is chosen, said, written down, and kept when the run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from whelp.train import learning_rate
from whelp.train.learning_rate import choose_learning_rate

from .helpers import Whelp, make_project


def test_a_chosen_rate_is_written_down_and_kept(tmp_path: Path, whelp: Whelp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when another version would choose another; a number in the recipe is still a change."""
    project = make_project(tmp_path / "project", train={"learning_rate": "auto", "schedule": "constant", "warmup_share": 0.0})
    assert whelp("prepare", project.recipe, "--out", project.store).code == 0
    train = ("train", project.recipe, "--store", project.store, "--out", project.run)
    outcome = whelp(*train)
    assert outcome.code == 0, outcome.stderr
    chosen = choose_learning_rate("muon", 16)
    assert f"train.learning_rate: auto is {chosen:g}, for muon and a width of 16" in outcome.said
    assert yaml.safe_load((project.run / "recipe.yaml").read_text())["train"]["learning_rate"] == chosen
    steps = [json.loads(line) for line in (project.run / "metrics.jsonl").read_text().splitlines()]
    assert {step["learning_rate"] for step in steps if "learning_rate" in step} == {chosen}
    monkeypatch.setitem(learning_rate._WIDTH_TIMES_RATE, "muon", 99.0)
    assert whelp(*train, "--json").json["is_finished"]
    outcome = whelp(*train[:2], "train.learning_rate=0.5", *train[2:])
    assert outcome.code == 1
    assert f"train.learning_rate: {chosen} -> 0.5" in outcome.said
