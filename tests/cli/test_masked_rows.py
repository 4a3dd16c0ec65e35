"""Rows in which nothing is to be predicted, because a template masks all of it: in what is evaluated, and in what is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import whelp
from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.base.errors import PlanError

PROMPT = "What is the sum of these two numbers, of which each is the other one, and both are {number}? "


def make_store(folder: Path, num_short: int = 0, test_split: float = 0.2, **pack: object) -> tuple[Path, Path]:
    """A recipe of prompts that are longer than a row, but for the first `num_short`, and its store; the last ones are held out."""
    prompts = ["So? " if number < num_short else PROMPT.format(number=number) for number in range(40)]
    rows = [{"prompt": prompt, "completion": f"It is {2 * number}."} for number, prompt in enumerate(prompts)]
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "data": {
            "source": "chat.jsonl",
            "tokenizer": {"learn": "bpe", "vocab_size": 320},
            "test_split": test_split,
            "test_split_shuffle": False,
        },
        "pack": {"context_tokens": 8, "plan": "none", **pack},
        "model": {"family": "qwen3", "n_layer": 1, "n_head": 2, "n_embd": 16},
        "train": {"num_steps": 4, "batch_tokens": 32, "learning_rate": 1e-2, "threads": 1, "device": "cpu"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    whelp.prepare(folder / "recipe.yaml", out=folder / "store")
    return folder / "recipe.yaml", folder / "store"


def test_more_rows_are_evaluated_than_were_asked_for(tmp_path: Path) -> None:
    """The first rows of the test split hold a prompt and nothing else: as many are read as it takes to have a loss."""
    recipe, store = make_store(tmp_path)
    run = tmp_path / "run"
    result = whelp.train(recipe, store=store, out=run, overrides=["train.evaluate_rows=1"])
    looks = [record for record in iter_records(RunFolder(run).metrics) if "test_num_rows" in record]
    assert result.nats_per_token is not None
    assert looks[0]["test_num_rows"] > 1
    assert looks[0]["test_num_tokens"] > 0


def test_nothing_to_evaluate(tmp_path: Path) -> None:
    """Only the beginnings of documents are kept, and those are prompts: said before the first step."""
    recipe, store = make_store(tmp_path, num_short=32, long="truncate")
    message = (
        r"the split: all tokens in its 8 rows are masked, but expected something to predict\. Hold out .*data\.test_split=0"
    )
    with pytest.raises(PlanError, match=message):
        whelp.train(recipe, store=store, out=tmp_path / "run")


def test_nothing_to_train(tmp_path: Path) -> None:
    """A run whose loss would be zero is refused, and nothing is written."""
    recipe, store = make_store(tmp_path, test_split=0, long="truncate")
    message = (
        r"the training rows: none of [\d,]+ tokens is trained \(320 masked, [\d,]+ cut\), but expected something to predict\."
    )
    with pytest.raises(PlanError, match=message):
        whelp.train(recipe, store=store, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
