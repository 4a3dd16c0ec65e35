"""A run handed on from 1 to 2 to 4 to 1 processes, killed each time, reads and computes what one left alone does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import whelp
from whelp.artifacts.checkpoint import find_checkpoints
from whelp.artifacts.run_folder import iter_records
from whelp.cli.verify_resume import _read

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX: run the tests on Linux or macOS")

TEXTS = [f"The quick brown fox {number} jumps over {number * number} lazy dogs. " * (number % 4 + 1) for number in range(40)]
PAIRS = [{"prompt": f"What is {number}+1? ", "completion": f"It is {number + 1}."} for number in range(60)]
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "concat": {"data": {"source": "texts.jsonl"}, "pack": {"plan": "concat"}},
    "best_fit": {"data": {"source": "texts.jsonl"}, "pack": {"plan": "best_fit"}, "train": {"shard": True}},
    "masks": {"data": {"source": "pairs.jsonl"}, "pack": {"plan": "none"}},
    "mixture": {
        "data": {
            "mixture": [
                {"source": "texts.jsonl", "weight": 2, "max_repeats": 9},
                {"source": "pairs.jsonl", "weight": 1, "test_split": 0.2},
            ]
        },
        "pack": {"plan": "best_fit", "isolate_documents": True},
    },
}


TRAIN: dict[str, Any] = {
    "num_steps": 12,
    "batch_tokens": 320,  # ten rows: not the same number for each of four processes
    "micro_batch_rows": 2,
    "learning_rate": 1e-2,
    "save_every_steps": 3,
    "evaluate_every_steps": 6,
    "sample_prompts": ["The"],
    "sample_tokens": 2,
    "record_rows": True,
    "threads": 1,
    "device": "cpu",
}
LEGS = [[1, 4], [2, 7], [4, 10], [1, 0]]  # processes, and the step after which they die


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Of each variant a run that was left alone, and one that was handed on."""
    made, tasks = {}, []
    for variant, sections in VARIANTS.items():
        folder = tmp_path_factory.mktemp(variant)
        for name, rows in (("texts", [{"text": text} for text in TEXTS]), ("pairs", PAIRS)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe, store, whole, parts = (folder / name for name in ("recipe.yaml", "store", "whole", "parts"))
        values = {
            "data": {"tokenizer": {"learn": "bpe", "vocab_size": 300}, "test_split": 0.2, **sections["data"]},
            "pack": {"context_tokens": 32, **sections["pack"]},
            "model": {"family": "qwen3", "n_layer": 1, "n_head": 2, "n_embd": 16},
            "train": TRAIN | sections.get("train", {}),
        }
        recipe.write_text(yaml.safe_dump(values))
        whelp.prepare(recipe, out=store)
        whelp.train(recipe, store=store, out=whole)
        tasks.append([str(recipe), str(store), str(parts), LEGS])
        made[variant] = (whole, parts)
    environment = {**os.environ, "PYTHONPATH": str(Path(whelp.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, str(Path(__file__).with_name("relay.py"))]
    done = subprocess.run(program, input=json.dumps(tasks), env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("variant", VARIANTS)
def test_handed_on_and_back(runs: dict[str, tuple[Path, Path]], variant: str) -> None:
    """Rows by checksum, losses, what was evaluated: all as of one process that was left alone."""
    whole, parts = runs[variant]
    assert [path.name for path in find_checkpoints(parts / "checkpoints")][-1] == "step-00000012"
    ours, theirs = _read(parts), _read(whole)
    assert ours.rows == theirs.rows
    assert [first for first, _, _ in ours.rows.values()] == list(range(0, 120, 10))
    assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)
    assert ours.losses != theirs.losses, "several processes round their sums otherwise; did only one train?"
    found, expected = (
        [record for record in iter_records(run / "metrics.jsonl") if "test_num_rows" in record] for run in (parts, whole)
    )
    assert [record["step"] for record in found] == [record["step"] for record in expected] == [0, 6, 12]
    for one, other in zip(found, expected, strict=True):
        for name in ("test_num_rows", "test_num_tokens", "test_num_bytes"):
            assert one[name] == other[name]
        assert one["test_nats_per_token"] == pytest.approx(other["test_nats_per_token"], abs=1e-5)
        assert one.get("test_sources", {}).keys() == other.get("test_sources", {}).keys()
    assert bool(found[0].get("test_sources")) == (variant == "mixture")
    assert (parts / "samples.jsonl").read_text().count("\n") == (whole / "samples.jsonl").read_text().count("\n") == 3
