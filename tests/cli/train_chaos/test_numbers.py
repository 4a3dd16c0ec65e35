"""Weights and batches that are no numbers, spikes, and memory that does not suffice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import whelp
from whelp.artifacts.checkpoint import find_checkpoints, step_name
from whelp.base.errors import TrainingError
from whelp.cli.recipe import load_recipe
from whelp.cli.screens.show_training import TrainingView
from whelp.cli.train import iter_train
from whelp.cli.training import wiring
from whelp.model import LanguageModel
from whelp.train.fit import has_only_numbers
from whelp.train.process_group import ProcessGroup

from ..helpers import Project


def test_bad_weights_push_out_no_good_ones(ready: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is passed over once a weight is no number; what was saved before stays."""
    original, number = LanguageModel.loss, 0

    def loss(self: LanguageModel, *arguments: Any) -> torch.Tensor:
        nonlocal number
        number += torch.is_grad_enabled()
        if number == 5:
            with torch.no_grad():
                next(self.parameters())[0, 0] = torch.nan
        return original(self, *arguments)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    message = r"step 6: weights are no finite numbers, so nothing is saved; the last checkpoint \(step-00000004\) stands"
    with pytest.raises(TrainingError, match=message):
        whelp.train(ready.recipe, store=ready.store, out=tmp_path, overrides=["train.on_bad_loss=skip"])
    kept = find_checkpoints(tmp_path / "checkpoints")
    assert [path.name for path in kept] == [step_name(2), step_name(4)]
    for path in kept:
        assert all(torch.isfinite(tensor).all() for tensor in load_file(path / "model.safetensors").values())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_weight_is_no_number(make_model: Callable[..., LanguageModel], value: float) -> None:
    """It is found, wherever it is."""
    model = make_model("gpt2")
    assert has_only_numbers(model)
    for parameter in model.parameters():
        with torch.no_grad():
            before, parameter.view(-1)[-1] = parameter.view(-1)[-1].clone(), value
            assert not has_only_numbers(model)
            parameter.view(-1)[-1] = before
    assert has_only_numbers(model)


def test_a_batch_that_was_passed_over_is_shown(ready: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss is no number, and has no place in the curve of the terminal."""
    original, number, view = LanguageModel.loss, 0, TrainingView()

    def loss(self: LanguageModel, *arguments: Any) -> torch.Tensor:
        nonlocal number
        number += torch.is_grad_enabled()
        return original(self, *arguments) * (torch.nan if number == 3 else 1.0)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    recipe = load_recipe(ready.recipe, ["train.on_bad_loss=skip"])
    for event in iter_train(recipe, ready.store, tmp_path):
        view.show(event)
    assert len(view.losses) == 7


def test_all_wait_before_a_spike_is_rewound(ready: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first process waits for its disk by itself: the others must not read a checkpoint that is not there yet."""
    original, number, happened = LanguageModel.loss, 0, []

    def loss(self: LanguageModel, *arguments: Any) -> torch.Tensor:
        nonlocal number
        number += torch.is_grad_enabled()
        return original(self, *arguments) * (50.0 if number == 14 else 1.0)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    monkeypatch.setattr(ProcessGroup, "wait", lambda self: happened.append("waited"))
    restore = wiring.RunWiring.restore
    monkeypatch.setattr(wiring.RunWiring, "restore", lambda *arguments: (happened.append("restored"), restore(*arguments))[1])
    whelp.train(ready.recipe, store=ready.store, out=tmp_path, overrides=["train.spike_factor=3", "train.num_steps=16"])
    assert happened == ["restored", "waited", "restored"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")])
def test_the_machine_is_out_of_memory(
    ready: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a GPU: half the rows at a time, from then on."""
    original = LanguageModel.loss

    def loss(self: LanguageModel, ids: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if torch.is_grad_enabled() and len(ids) > 2:
            raise error
        return original(self, ids, *arguments)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    assert whelp.train(ready.recipe, store=ready.store, out=tmp_path).step == 8
    assert "out of memory with 4 rows at a time; from now on 2" in caplog.text
