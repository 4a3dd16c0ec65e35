"""Recipes that nobody thought of, stopped where nobody would stop them: each goes on as if it had not been."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

import whelp
from whelp.artifacts.checkpoint import LAST
from whelp.artifacts.manifest import read_manifest
from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.cli.recipe import load_recipe
from whelp.cli.train import iter_train

_OF_TIME = {"tokens_per_second", "elapsed_seconds", "training_seconds", "peak_memory_bytes"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources, one of them with masks, and their store."""
    place = tmp_path_factory.mktemp("random")
    texts = [
        f"The quick brown fox {number} jumps over {number * number} lazy dogs. " * (number % 3 + 1) for number in range(30)
    ]
    sums = [{"prompt": f"What is {number}+{number}? ", "completion": f"It is {2 * number}."} for number in range(30)]
    (place / "books.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (place / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums))
    draw_recipe(random.Random(0), place)
    whelp.prepare(place / "recipe.yaml", out=place / "store")
    return place


def draw_recipe(dice: random.Random, place: Path) -> None:
    """Write a recipe of its own for each state of the dice; all of them have one store."""
    take = dice.choice
    family = take(["gpt2", "qwen3", "rwkv7", "rwkv6", "rwkv5", "rwkv4"])
    model: dict[str, Any] = {
        "family": family,
        "n_layer": 1,
        "n_head": 2,
        "n_embd": 32,
        "dropout": 0.1 if family == "gpt2" else 0.0,
    }
    if family == "rwkv4":
        del model["n_head"]
    pack: dict[str, Any] = {"context_tokens": 16, "plan": take(["concat", "best_fit", "none", "stream"])}
    if pack["plan"] == "concat":
        pack |= {"last": take(["pad", "drop", "carry"]), "isolate_documents": take([True, False])}
    num_steps, schedule = dice.randrange(6, 12), take(["cosine", "linear", "constant", "warmup_stable_decay"])
    train = {
        "num_steps": num_steps,
        "batch_tokens": 16 * take([3, 4]),
        "first_batch_tokens": take([None, 16]),
        "batch_ramp_share": 0.6,
        "micro_batch_rows": take([1, 2, 4]),
        "bptt_tokens": take([None, 6]),
        "optimizer": take(["adamw", "muon"]),
        "learning_rate": 1e-2,
        "schedule": schedule,
        "warmup_share": 0.0,
        "decay_from_step": dice.randrange(num_steps) if schedule in ("constant", "warmup_stable_decay") else None,
        "ema_decay": take([None, 0.9]),
        "checkpoint_activations": take([True, False]),
        "evaluate_every_steps": take([2, 3]),
        "evaluate_rows": take([None, 1]),
        "save_every_steps": take([1, 2, 3]),
        "save_in_background": take([True, False]),
        "keep_checkpoints": take([1, 2]),
        "keep_best": take([True, False]),
        "early_stopping_patience": take([None, 2]),
        "on_bad_loss": take(["stop", "skip"]),
        "spike_factor": take([None, 1.1]),
        "sample_prompts": ["The"],
        "sample_tokens": 2,
        "precision": take(["fp32", "bf16"]),
        "seed": dice.randrange(9),
        "record_rows": True,
        "threads": 1,
        "device": "cpu",
    }
    mixture = [{"source": "books.jsonl", "weight": take([1, 3])}, {"source": "sums.jsonl", "max_repeats": take([2, 40])}]
    data = {"tokenizer": {"learn": "bpe", "vocab_size": 320}, "test_split": 0.2, "mixture": mixture}
    (place / "recipe.yaml").write_text(yaml.safe_dump({"data": data, "pack": pack, "model": model, "train": train}))


def describe(run: Path) -> dict[str, Any]:
    """All that a run has left, but times."""
    last = run / "checkpoints" / LAST
    records = [record for record in iter_records(RunFolder(run).metrics) if "start_up_seconds" not in record]
    counters = json.loads((last / "trainer" / "state.json").read_text())
    return {
        "records": [{name: value for name, value in record.items() if name not in _OF_TIME} for record in records],
        "counters": {name: value for name, value in counters.items() if name not in _OF_TIME},
        "samples": RunFolder(run).samples.read_text(),
        "tensors": {
            name: file for name, file in read_manifest(last, "checkpoint").files.items() if name.endswith(".safetensors")
        },
    }


@pytest.mark.parametrize("number", range(6))
def test_a_run_that_was_stopped_is_the_run_that_was_not(folder: Path, tmp_path: Path, number: int) -> None:
    """Weights, optimizer, averages, every record and sample, after three stops, each at any event."""
    dice = random.Random(number)
    draw_recipe(dice, folder)
    recipe = load_recipe(folder / "recipe.yaml")
    whelp.train(recipe, store=folder / "store", out=tmp_path / "whole")
    for _ in range(3):
        events, last = iter_train(recipe, folder / "store", tmp_path / "parts"), dice.randrange(1, 14)
        for count, _event in enumerate(events, 1):
            if count == last:
                events.close()
    whelp.train(recipe, store=folder / "store", out=tmp_path / "parts")
    assert describe(tmp_path / "parts") == describe(tmp_path / "whole")
