"""Going on with another length than a run was started with."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from whelp.base.errors import PlanError
from whelp.cli.recipe import load_recipe
from whelp.cli.verify_resume import _prepare
from whelp.train.config import TrainConfig
from whelp.train.fit import Progress
from whelp.train.length_change import describe_change
from whelp.train.plan import TrainPlan

from .helpers import Project, Whelp, snapshot


def train(whelp: Whelp, made: Project, out: Path, *overrides: str) -> str:
    """Train, looking and saving at the end alone; return what was said."""
    seldom = ["train.evaluate_every_steps=100", "train.save_every_steps=100", "train.evaluate_rows=1"]
    outcome = whelp("train", made.recipe, *seldom, *overrides, "--store", made.store, "--out", out)
    assert outcome.code == 0, outcome.stderr
    return outcome.said


def read_rates(run: Path) -> list[float]:
    """The learning rate of every step."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record["learning_rate"] for record in records if "learning_rate" in record]


def test_a_longer_run_is_the_run_that_had_been_planned_so(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Where the schedule does not know the length, to the bit: rows, optimizer and all."""
    same = ["train.schedule=constant", "train.warmup_share=0"]
    train(whelp, made, tmp_path / "once", *same, "train.num_steps=8")
    train(whelp, made, tmp_path / "twice", *same, "train.num_steps=4")
    train(whelp, made, tmp_path / "twice", *same, "train.num_steps=8")
    weights = [load_file(tmp_path / name / "checkpoints/last/model.safetensors") for name in ("once", "twice")]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    plan = json.loads((tmp_path / "twice/plan.json").read_text())
    assert (plan["plan"]["num_steps"], plan["recipe"]["train"]["num_steps"]) == (8, 8)
    assert plan["lengths"] == [{"until_step": 4, "length": "4 steps"}]
    assert plan["recipe"] == json.loads((tmp_path / "once/plan.json").read_text())["recipe"], "what was left to us still is"
    assert "num_steps: 8" in (tmp_path / "twice/recipe.yaml").read_text()


def test_the_learning_rate_is_that_of_the_new_length_and_is_said(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """It had come down, and goes up again: nobody shall be surprised; the next run of the same command just goes on."""
    same = ["train.schedule=warmup_stable_decay", "train.final_learning_rate_share=0"]
    train(whelp, made, tmp_path / "once", *same, "train.num_steps=8")
    train(whelp, made, tmp_path / "twice", *same)
    assert "nothing is left to do (train.num_steps=8, for example, trains on)" in train(whelp, made, tmp_path / "twice", *same)
    said = train(whelp, made, tmp_path / "twice", *same, "train.num_steps=8")
    planned, got = read_rates(tmp_path / "once"), read_rates(tmp_path / "twice")
    assert got[4:] == planned[4:]
    assert got[3] == 0.0 < got[4]
    assert "8 steps long, not 4 steps: from step 5 on the learning rate is that of a run so long (warmup_stable_decay)" in said
    assert f"{got[4]:.3g}, where it was 0" in said


def list_steps(run: Path) -> list[int]:
    """The steps of a run's checkpoints."""
    return sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))


def read_weights(run: Path) -> dict[str, torch.Tensor]:
    """Those of the newest checkpoint."""
    return load_file(run / "checkpoints/last/model.safetensors")


def test_the_checkpoint_before_the_decay_is_kept_to_go_on_from(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """From it a copy of the run goes on as the longer run that it might have been, to the bit."""
    same = ["train.schedule=warmup_stable_decay", "train.decay_share=0.5", "train.warmup_share=0", "train.keep_checkpoints=1"]
    train(whelp, made, tmp_path / "once", *same, "train.num_steps=12")
    assert list_steps(tmp_path / "once") == [6, 12]
    train(whelp, made, tmp_path / "short", *same, "train.num_steps=8")
    assert list_steps(tmp_path / "short") == [4, 8]
    shutil.copytree(tmp_path / "short", tmp_path / "long", symlinks=True)
    shutil.rmtree(tmp_path / "long/checkpoints/step-00000008")
    said = train(whelp, made, tmp_path / "long", *same, "train.num_steps=12")
    assert "from step 5 on" in said
    assert read_rates(tmp_path / "long") == read_rates(tmp_path / "once")
    weights = [read_weights(tmp_path / name) for name in ("once", "long")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_constant_run_cools_down_now(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """It becomes the run that had been planned so, to the bit; a second call has nothing to say or to do."""
    same = ["train.schedule=constant", "train.warmup_share=0", "train.final_learning_rate_share=0"]
    cooled = [*same, "train.num_steps=8", "train.decay_from_step=4"]
    train(whelp, made, tmp_path / "once", *cooled)
    train(whelp, made, tmp_path / "late", *same, "train.num_steps=4")
    said = train(whelp, made, tmp_path / "late", *cooled)
    assert "is to be 8 steps (decaying after step 4) long, not 4 steps: from step 5 on" in said
    rates = read_rates(tmp_path / "late")
    assert rates == read_rates(tmp_path / "once")
    assert rates == pytest.approx([rates[0] * share for share in (1, 1, 1, 1, 0.75, 0.5, 0.25, 0)])
    weights = [read_weights(tmp_path / name) for name in ("once", "late")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    again = train(whelp, made, tmp_path / "late", *cooled)
    assert "decaying" not in again
    assert "nothing is left to do" in again


def test_short_runs_of_a_recipe_whose_decay_begins_late(made: Project) -> None:
    """What is given in steps and tokens of the real run does not stop a tiny one, nor a proof of a few steps."""
    late = {"num_steps": 1000, "schedule": "constant", "decay_from_step": 900, "batch_tokens": 8192, "first_batch_tokens": 1024}
    late["warmup_steps"] = 800
    recipe = {"data": {"source": str(made.recipe)}, "train": late}
    tiny = load_recipe(recipe, [], "tiny").train
    assert (tiny.decay_from_step, tiny.first_batch_tokens) == (None, None)
    short = _prepare(load_recipe(recipe), 8, 1).train
    assert (short.warmup_steps, short.decay_from_step) == (7, 7)


def test_no_decay_from_what_is_past(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Refused, with what can be had; of a schedule that always decays at once."""
    same = ["train.schedule=constant", "--store", made.store, "--out", tmp_path / "run"]
    assert whelp("train", made.recipe, *same, "train.num_steps=4").code == 0
    before = snapshot(tmp_path / "run")
    outcome = whelp("train", made.recipe, *same, "train.num_steps=8", "train.decay_from_step=2")
    assert outcome.code == 1
    assert "it has done 4 steps, but expected no more than train.decay_from_step, 2. From now on: train.decay_from_step=4." in (
        outcome.said
    )
    assert snapshot(tmp_path / "run") == before
    outcome = whelp(
        "train", made.recipe, "train.schedule=cosine", "train.decay_from_step=2", "--store", made.store, "--out", "x"
    )
    assert "for train.schedule=constant and warmup_stable_decay: cosine decays all the time" in outcome.said


def test_what_is_done_cannot_be_undone(whelp: Whelp, made: Project) -> None:
    """A length below what is trained is refused, and nothing changes."""
    before = snapshot(made.run)
    outcome = whelp("train", made.recipe, "train.num_steps=3", "--store", made.store, "--out", made.run)
    assert outcome.code == 1
    assert "has done 4 steps, but expected a length above that, not 3 steps" in outcome.said
    assert "leave it the length it has: train.num_steps=4." in outcome.said
    assert snapshot(made.run) == before


def test_a_mixture_has_drawn_its_rows(whelp: Whelp, project: Project, tmp_path: Path) -> None:
    """More rows would be others, so a new run is asked for."""
    recipe = tmp_path / "mixture.yaml"
    entries = ", ".join(f"{{source: {project.corpus}/{number}*.txt, name: s{number}}}" for number in (0, 1))
    recipe.write_text(
        f"data: {{tokenizer: {{learn: bpe, vocab_size: 300}}, mixture: [{entries}]}}\n"
        "pack: {context_tokens: 16}\nmodel: {family: qwen3, n_layer: 1, n_head: 2, n_embd: 16}\n"
        "train: {num_steps: 2, batch_tokens: 64, threads: 1, device: cpu}\n"
    )
    assert whelp("prepare", recipe, "--out", "store").code == 0
    assert whelp("train", recipe, "--store", "store", "--out", "run").code == 0
    outcome = whelp("train", recipe, "train.num_steps=4", "--store", "store", "--out", "run")
    assert outcome.code == 1
    assert "draws from a mixture, and was started with another length (train.num_steps: 2 -> 4)" in outcome.said
    assert "train.start_from=run" in outcome.said


def test_minutes() -> None:
    """By the clock: the share done is that of the new budget."""
    plan = TrainPlan(
        num_steps=100,
        num_epochs=1.0,
        budget_seconds=600.0,
        context_tokens=8,
        batch_rows=1,
        batch_tokens=8,
        micro_batch_rows=1,
        accumulation=1,
        total_tokens=800,
        num_parameters=1,
        warmup_share=0.0,
        evaluate_every_steps=10,
        evaluate_rows=0,
        save_every_steps=10,
        device="cpu",
        precision="fp32",
        compile=False,
        threads=1,
        estimated_seconds=None,
        estimated_bytes=0,
    )
    config = TrainConfig(minutes=20, learning_rate=1.0, schedule="linear", final_learning_rate_share=0.0)
    longer = dataclasses.replace(plan, budget_seconds=1200.0, num_steps=200)
    change = describe_change(plan, longer, config, Progress(step=100, elapsed_seconds=600.0))
    assert change is not None
    assert (change.before, change.now, change.rate_before) == ("10 minutes", "20 minutes", 0.0)
    assert change.rate_now == pytest.approx(0.5 - 1 / 200)
    assert describe_change(plan, plan, config, Progress(step=5)) is None
    with pytest.raises(PlanError, match=r"it has done 10 minutes, but expected a length above that, not 5 minutes"):
        describe_change(plan, dataclasses.replace(plan, budget_seconds=300.0), config, Progress(elapsed_seconds=600.0))
