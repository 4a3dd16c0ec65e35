"""This package: the peers' model, batch and schedule, or its own recipe."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cpu_contestants.task import Corpus, Recorder, Result, Settings, nats_per_character


def train_with_whelp(corpus: Corpus, settings: Settings, started: float, values: dict[str, dict[str, Any]]) -> Result:
    """Prepare the text and train, through the library's own rooms; `values` are a recipe's `pack`, `model`, `train`."""
    from whelp.artifacts.token_store import open_store
    from whelp.cli.prepare import prepare as prepare_store
    from whelp.cli.recipe import load_recipe
    from whelp.cli.training.session import Session
    from whelp.train import Progress
    from whelp.train.fit import fit

    data = {
        "source": str(corpus.train_text),
        "document": "file",
        "tokenizer": {"learn": "chars"},
        "separator": "none",
        "test_split": 0,
    }
    values["train"] |= {"threads": settings.threads, "seed": settings.seed, "device": "cpu"}
    recipe = load_recipe({"data": data, **values})
    with tempfile.TemporaryDirectory() as folder:
        prepare_store(recipe, out=Path(folder) / "store")
        session = Session(recipe, open_store(Path(folder) / "store"))
        plan = session.make_plan(must_time=False)
        torch.set_num_threads(plan.threads)
        model, optimizer = session.make_trainable()
        tokens = session.vocabulary.encode(Path(corpus.validation_text).read_text(encoding="utf-8")).astype(np.int64)

        def score() -> float:
            model.eval()
            with torch.no_grad():
                value = nats_per_character(model, tokens, plan.context_tokens)
            model.train()
            return value

        recorder = Recorder(replace(settings, steps=plan.num_steps), started, score)
        recorder.begin()
        for _ in fit(model, optimizer, session.choose_rows(plan), plan, recipe.train, Progress()):
            recorder.step()
        return recorder.result(model.num_parameters(), characters_per_step=plan.batch_tokens)


def worker_whelp(corpus: Corpus, settings: Settings, started: float, *, precision: str = "fp32") -> Result:
    """whelp on the same model size, batch, schedule and number of steps. May use fewer threads than allowed, not more."""
    model = {"family": "gpt2", "n_layer": settings.layers, "n_head": settings.heads, "n_embd": settings.width}
    model |= {"bias": False, "activation": "gelu"}  # as in the published settings
    train = {
        "num_steps": settings.steps,
        "precision": precision,
        "batch_tokens": settings.batch * settings.block,
        "optimizer": "adamw",
        "learning_rate": settings.peak_lr,
        "final_learning_rate_share": settings.final_lr / settings.peak_lr,
        "schedule": "cosine",
        "warmup_steps": min(settings.warmup, settings.steps),
        "weight_decay": settings.weight_decay,
        "beta1": settings.beta1,
        "beta2": settings.beta2,
        "clip_gradient_norm": settings.clip,
    }
    return train_with_whelp(
        corpus, settings, started, {"pack": {"context_tokens": settings.block}, "model": model, "train": train}
    )


def worker_whelp_recipe(corpus: Corpus, settings: Settings, started: float) -> Result:
    """whelp's own recipe for small texts (`recipes/shakespeare.yaml`) on the same text, scored in the same way."""
    from whelp.base.config import read_yaml
    from whelp.cli.recipe import find_recipe

    values = read_yaml(find_recipe("shakespeare"))
    return train_with_whelp(corpus, settings, started, {name: values[name] for name in ("pack", "model", "train")})
