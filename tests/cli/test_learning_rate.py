"""A recipe without a learning rate: it is chosen for any family, said, written down, and kept when the run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from whelp.cli.recipe import load_recipe
from whelp.model import ModelConfig, make_spec
from whelp.train import TrainConfig, learning_rate
from whelp.train.learning_rate import choose_learning_rate, settle_learning_rate

from .helpers import Whelp, make_project


def test_a_chosen_rate_is_written_down_and_kept(tmp_path: Path, whelp: Whelp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when another version would choose another; a number in the recipe is still a change."""
    project = make_project(tmp_path / "project", train={"learning_rate": "auto", "schedule": "constant", "warmup_share": 0.0})
    assert whelp("prepare", project.recipe, "--out", project.store).code == 0
    train = ("train", project.recipe, "--store", project.store, "--out", project.run)
    outcome = whelp(*train)
    assert outcome.code == 0, outcome.stderr
    chosen = choose_learning_rate("muon", 16, "qwen3")
    assert f"train.learning_rate: auto is {chosen:g}, for muon, qwen3 and a width of 16" in outcome.said
    assert yaml.safe_load((project.run / "recipe.yaml").read_text())["train"]["learning_rate"] == chosen
    steps = [json.loads(line) for line in (project.run / "metrics.jsonl").read_text().splitlines()]
    assert {step["learning_rate"] for step in steps if "learning_rate" in step} == {chosen}
    monkeypatch.setitem(learning_rate._WIDTH_TIMES_RATE, "muon", 99.0)
    assert whelp(*train, "--json").json["is_finished"]
    outcome = whelp(*train[:2], "train.learning_rate=0.5", *train[2:])
    assert outcome.code == 1
    assert f"train.learning_rate: {chosen} -> 0.5" in outcome.said


@pytest.mark.parametrize(
    "model",
    [
        *({"family": family, "n_embd": 512, "n_head": 8} for family in ("gpt2", "qwen3", "rwkv7", "rwkv6", "rwkv5", "rwkv4")),
        {"hf_config": "llama", "hf_overrides": {"hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 8}},
        {"hf_config": "gpt2", "hf_overrides": {"n_embd": 512, "n_head": 8}},
        {"hf_config": "mamba", "hf_overrides": {"hidden_size": 512}},
    ],
    ids=lambda model: model.get("family") or f"hf-{model['hf_config']}",
)
@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 0.002), ("muon", 0.0059)])
def test_every_family_has_the_rate_of_its_width(model: dict[str, Any], optimizer: Any, rate: float) -> None:
    """Also architectures of transformers, by whatever name they call their width."""
    config = ModelConfig(**{"family": "hf", **model})
    spec = make_spec(config, num_ids=300, context_tokens=64)
    assert settle_learning_rate(TrainConfig(optimizer=optimizer), spec.n_embd, spec.architecture).peak_learning_rate == rate


def test_gpt2_of_transformers_has_the_rate_of_ours() -> None:
    """Its architecture counts, not whose code it is."""
    ours = ModelConfig(family="gpt2", n_layer=1, n_head=2, n_embd=64)
    theirs = ModelConfig(family="hf", hf_config="gpt2", hf_overrides={"n_layer": 1, "n_head": 2, "n_embd": 64})
    for config in (ours, theirs):
        spec = make_spec(config, num_ids=300, context_tokens=64)
        settled = settle_learning_rate(TrainConfig(optimizer="adamw"), spec.n_embd, spec.architecture)
        assert settled.peak_learning_rate == 0.002


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_have_a_number_of_their_own(path: Path) -> None:
    """What was tuned for a recipe does not move with the rule."""
    said = yaml.safe_load(path.read_text(encoding="utf-8"))["train"]["learning_rate"]
    assert load_recipe(str(path)).train.learning_rate == float(said)
