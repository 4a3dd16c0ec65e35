"""`train.precision: auto`: a rule of the machine and the model, and what a run began with from then on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from whelp.artifacts.token_store import TokenStore
from whelp.base.errors import PlanError
from whelp.cli.recipe import load_recipe
from whelp.cli.training.checks import check_same, keep_choices
from whelp.train import device
from whelp.train.device import choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("has_tiles", "family", "width", "num_processes", "expected"),
    [
        (True, "gpt2", 128, 1, "bf16"),
        (True, "qwen3", 768, 1, "bf16"),
        (False, "qwen3", 768, 1, "fp32"),
        (True, "qwen3", 127, 1, "fp32"),
        (True, "rwkv7", 768, 1, "fp32"),
        (True, "rwkv4", 768, 1, "fp32"),
        (True, "hf", 768, 1, "fp32"),
        (True, "qwen3", 768, 2, "fp32"),
    ],
)
def test_auto_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, has_tiles: bool, family: str, width: int, num_processes: int, expected: str
) -> None:
    """As the guide to training says it."""
    monkeypatch.setattr(device, "has_bf16_tiles", lambda: has_tiles)
    assert choose_precision("auto", CPU, family=family, width=width, num_processes=num_processes) == expected


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_is_asked_for_stays(asked: str) -> None:
    """Whatever the processor has."""
    assert choose_precision(asked, CPU, family="gpt2", width=16) == asked


@pytest.mark.parametrize(("asked", "recorded", "expected"), [("auto", "bf16", "bf16"), ("auto", "fp32", "fp32")])
def test_a_run_keeps_its_precision(asked: str, recorded: str, expected: str) -> None:
    """On a processor for which `auto` would now be another one."""
    values: dict[str, Any] = {
        "data": {"source": "stdlib", "tokenizer": {"learn": "bpe", "vocab_size": 512}},
        "train": {"precision": asked, "learning_rate": 1e-3, "num_steps": 3},
    }
    recipe = load_recipe(values)
    started = {"plan": {"precision": recorded}, "recipe": recipe.to_values()}
    assert keep_choices(recipe, started).train.precision == expected
    assert keep_choices(recipe, None).train.precision == asked


def test_going_on_with_another_precision_is_no_other_run(tmp_path: Path) -> None:
    """Losses are the same but for rounding; the optimizer is another matter, and is named."""
    values: dict[str, Any] = {
        "data": {"source": "stdlib", "tokenizer": {"learn": "bpe", "vocab_size": 512}},
        "train": {"learning_rate": 1e-3, "num_steps": 3},
    }
    begun = load_recipe(values)
    store = cast(TokenStore, SimpleNamespace(manifest=SimpleNamespace(fingerprint="same")))
    started = {"plan": {"precision": "bf16"}, "recipe": begun.to_values(), "store": "same"}
    for asked in ("auto", "bf16", "fp32"):
        check_same(started, load_recipe(values, [f"train.precision={asked}"]), store, tmp_path)
    with pytest.raises(PlanError, match=r"settings \(train\.optimizer: 'muon' -> 'adamw'\)"):
        check_same(started, load_recipe(values, ["train.precision=fp32", "train.optimizer=adamw"]), store, tmp_path)


def test_how_much_longer_products_take_is_found_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of threads is afterwards as before, also where it fails."""
    seen: list[int] = []

    def measure(device: torch.device, number: torch.dtype, **sizes: int) -> float:
        seen.append(torch.get_num_threads())
        return {torch.float32: 12e9, torch.bfloat16: 1e9}[number]

    monkeypatch.setattr(device, "measure_ceiling", measure)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert (device.measure_slowdown(CPU, "bf16"), device.measure_slowdown(CPU, "fp32")) == (12.0, 1.0)
        assert (seen, torch.get_num_threads()) == ([1] * 4, 2)
    finally:
        torch.set_num_threads(before)


def test_fp8_needs_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it is refused, with what is usual there, for such a run to go on with; where it is, it is never chosen by itself."""
    with pytest.raises(
        PlanError,
        match=r"train\.precision: fp8 on cpu .*NVIDIA since Ada and Hopper.*Use train\.precision=fp32, also for a run that goes on\.",
    ):
        choose_precision("fp8", CPU, family="gpt2", width=768)
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "one of them")
    for capability, has in (((8, 0), False), ((8, 9), True), ((9, 0), True), ((12, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, capability=capability: capability)
        assert choose_precision("auto", gpu, family="gpt2", width=768) == "bf16"
        if has:
            assert choose_precision("fp8", gpu, family="gpt2", width=768, num_processes=2) == "fp8"
        else:
            with pytest.raises(PlanError, match=r"fp8 on one of them.*Use train\.precision=bf16"):
                choose_precision("fp8", gpu, family="gpt2", width=768)
    with pytest.raises(PlanError, match=r"fp8 with model\.family: hf"):
        choose_precision("fp8", gpu, family="hf", width=768)
