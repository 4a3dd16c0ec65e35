"""Tasks of lm-evaluation-harness: the scores are those of its own model for transformers, on the same weights."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from whelp.base.config import load_config
from whelp.base.errors import MissingExtraError, PlanError, SourceError
from whelp.cli.evaluate_tasks import evaluate_tasks
from whelp.cli.generate import load_model
from whelp.cli.init import init
from whelp.cli.tokenizer import make_source_config, train_tokenizer
from whelp.tokenizer.config import LearnConfig

from .helpers import Project, Whelp, snapshot

pytest.importorskip("lm_eval", reason="pip install 'whelp[tasks]'")

WORDS = "the quick brown fox jumps over lazy dogs and naïve café while seven old men read long books in rain".split()


@pytest.fixture(scope="session", autouse=True)
def own_hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Data sets are unpacked in a folder of this run, and no hub is asked."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three tasks of our own, one of each question that the harness has; data beside them."""
    folder = tmp_path_factory.mktemp("tasks")
    draw = random.Random(0)
    rows = []
    for _ in range(12):
        words = [draw.choice(WORDS) for _ in range(draw.randint(2, 14))]
        choices = [" ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 4))) for _ in range(3)]
        rows.append({"text": " ".join(words), "choices": choices, "answer": draw.randrange(3)})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    common: dict[str, Any] = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
        "test_split": "test",
        "num_fewshot": 0,
    }
    special: dict[str, dict[str, Any]] = {
        "own_choice": {
            "output_type": "multiple_choice",
            "doc_to_text": "{{text}}",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
        "own_perplexity": {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{text}}",
            "metric_list": [{"metric": "word_perplexity"}, {"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}],
        },
        "own_answer": {
            "output_type": "generate_until",
            "doc_to_text": "{{text}}",
            "doc_to_target": "{{choices[answer]}}",
            "generation_kwargs": {"until": [" the", "."], "do_sample": False, "max_gen_toks": 8},
            "metric_list": [{"metric": "exact_match"}],
        },
    }
    paths = []
    for name, values in special.items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump({"task": name, **common, **values}))
    return paths


CONTEXT = 56
OURS = {"family": "qwen3", "n_layer": 2, "n_head": 4, "n_embd": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {**OURS, "family": "gpt2"},
    "qwen3": {**OURS, "n_kv_head": 2},
    "llama": {
        "family": "hf",
        "hf_config": "llama",
        "hf_overrides": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    },
}


_EMBEDDING = {"gpt2": "transformer.wte.weight", "qwen3": "model.embed_tokens.weight", "llama": "model.embed_tokens.weight"}


@pytest.fixture(scope="module", params=list(FAMILIES))
def model_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose opinions are strong: two families of ours, and one that only transformers has.

    Its vocabulary is of characters: whatever it says is text, where the halves of characters are shown in many ways.
    """
    folder = tmp_path_factory.mktemp("models")
    (folder / "text").write_text(" ".join(WORDS) + ".", encoding="utf-8")
    learn = load_config(LearnConfig, {"learn": "chars"}, "the test")
    train_tokenizer(make_source_config([str(folder / "text")], []), out=folder / "tokenizer", learn=learn)
    recipe = {"pack": {"context_tokens": CONTEXT}, "model": FAMILIES[request.param]}
    init(recipe, out=folder / "first", vocab_size=str(folder / "tokenizer"))
    weights = load_file(folder / "first" / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    changed = {name: tensor + 0.3 * torch.randn(tensor.shape, generator=generator) for name, tensor in weights.items()}
    for tensor in changed.values():
        if tensor.shape == weights[_EMBEDDING[request.param]].shape:
            tensor[NUM_IDS:] = 0  # the head is wider than the vocabulary; what is no id is not to be the likeliest
    shutil.copytree(folder / "first", folder / "model", ignore=shutil.ignore_patterns("manifest.json"))
    save_file(changed, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    return folder / "model"


def test_scores_are_those_of_the_harness_itself(model_folder: Path, tasks: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiple choice, perplexity and greedy text, against the harness's `hf` model on the same folder, answer by answer."""
    from lm_eval.models.huggingface import HFLM

    from whelp.cli import evaluate_tasks as module

    asked: dict[str, list[Any]] = {}
    theirs: dict[str, list[Any]] = {}
    reference = HFLM(pretrained=str(model_folder), device="cpu", batch_size=4, max_length=CONTEXT, add_bos_token=False)
    for name in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        asked[name] = []
        _listen(monkeypatch, name, asked[name])
    result = evaluate_tasks(model_folder, [str(path) for path in tasks], device="cpu")
    for name, heard in asked.items():
        assert heard, f"no task asked for {name}"
        theirs[name] = getattr(reference, name)([request for request, _ in heard], disable_tqdm=True)
        for (request, ours), expected in zip(heard, theirs[name], strict=True):
            assert ours == (expected if isinstance(expected, str) else pytest.approx(expected, abs=1e-3)), request.args
    assert set(result.tasks) == {"own_choice", "own_perplexity", "own_answer"}
    assert result.num_documents == {"own_choice": 12, "own_perplexity": 12, "own_answer": 12}
    assert result.num_requests == sum(map(len, asked.values()))
    assert result.num_shortened > 0, "no context was long enough to test how it is cut"
    assert module.evaluate_tasks is evaluate_tasks


def _listen(monkeypatch: pytest.MonkeyPatch, name: str, heard: list[Any]) -> None:
    from whelp.evaluate.harness import HarnessModel

    original = getattr(HarnessModel, name)

    def answer(self: HarnessModel, requests: list[Any], **options: Any) -> Any:
        answers = original(self, requests, **options)
        heard.extend(zip(requests, answers, strict=True))
        return answers

    monkeypatch.setattr(HarnessModel, name, answer)
