"""`whelp init`, and runs that start from a model folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from whelp.artifacts.checkpoint import read_model_folder
from whelp.cli.training.session import Session

from .helpers import Project, Whelp, make_project, said_once, snapshot

HF = {
    "family": "hf",
    "hf_config": "llama",
    "hf_overrides": {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 32,
    },
}


def weights_of(folder: Path | str) -> dict[str, torch.Tensor]:
    """The weights of a model folder."""
    return read_model_folder(Path(folder))[1]


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_sizes_by_flags(family: str, whelp: Whelp) -> None:
    """What infctx's `init_model` takes, with its spellings; a number of ids is exact; transformers opens it."""
    from transformers import AutoModelForCausalLM

    arguments = ("--family", family, "--n_layer", 2, "--n_embd", 128, "--vocab_size", 333, "--context_tokens", 48)
    result = whelp("init", *arguments, "--out", "model", "--json").json
    assert (result["family"], result["vocab_size"], result["context_tokens"]) == (family, 333, 48)
    assert (result["has_tokenizer"], result["is_reused"]) == (False, False)
    model = AutoModelForCausalLM.from_pretrained("model")
    assert model.num_parameters() == result["num_parameters"]
    assert model.config.num_hidden_layers == 2
    assert model.config.num_attention_heads == 2  # heads of 64
    assert model.get_input_embeddings().weight.shape == (333, 128)


def test_the_first_weights_are_those_of_a_run(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """`init` of a recipe, at its seed, draws what `train` draws; another seed draws others."""
    assert whelp("init", made.recipe, "--vocab_size", made.store, "--out", "model").code == 0
    assert whelp("init", made.recipe, "--vocab_size", made.store, "--seed", 1, "--out", "other").code == 0
    assert (tmp_path / "model" / "tokenizer.json").is_file()
    # a rate of nothing moves no weight
    still = ("train.learning_rate=0", "train.weight_decay=0", "train.num_steps=1")
    assert whelp("train", made.recipe, *still, "--store", made.store, "--out", "run").code == 0
    ours, trained, other = (weights_of(tmp_path / name) for name in ("model", "run/checkpoints/last", "other"))
    assert all(torch.equal(ours[name], trained[name]) for name in trained)
    assert any(not torch.equal(ours[name], other[name]) for name in ours)
    assert whelp("generate", "model", "--prompt", "The", "--max-tokens", "3").code == 0


def test_what_stands_there_stays(whelp: Whelp, tmp_path: Path) -> None:
    """Nothing is overwritten; `--skip-if-exists` ends well with a model, not with anything else."""
    arguments = ("init", "--family", "gpt2", "--n_layer", 1, "--n_embd", 16, "--vocab_size", 64, "--out", "model")
    assert whelp(*arguments).code == 0
    before = snapshot(tmp_path)
    refused = whelp(*arguments)
    assert refused.code == 1
    assert "model: something stands there already, but expected an empty place" in refused.said
    assert whelp(*arguments, "--skip-if-exists", "--json").json["is_reused"] is True
    assert snapshot(tmp_path) == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    assert whelp(*arguments[:-1], "notes", "--skip-if-exists").code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--n_layer", "2", "--out", "m"], 2, "is needed, or a RECIPE"),
        (["--family", "gpt2", "--out", "m"], 1, "--vocab_size: no size of the vocabulary is given"),
        (["demo", "--out", "m"], 1, "--vocab_size: the recipe learns its vocabulary"),
        (["--family", "gpt3", "--vocab_size", "64", "--out", "m"], 1, "model.family is 'gpt3'"),
        (
            ["--family", "qwen3", "--n_embd", "30", "--n_head", "4", "--vocab_size", "64", "--out", "m"],
            1,
            "must be divisible by",
        ),
        (["--family", "hf", "model.hf_config=bert", "--vocab_size", "64", "--out", "m"], 1, "it sees the future"),
    ],
)
def test_what_cannot_be_made(arguments: list[str], code: int, message: str, whelp: Whelp, tmp_path: Path) -> None:
    """The message names the flag, and nothing is written."""
    if "model.hf_config=bert" in arguments:
        arguments = [*arguments, "model.hf_overrides={num_hidden_layers: 1, hidden_size: 24, intermediate_size: 24}"]
    outcome = whelp("init", *arguments)
    assert outcome.code == code
    assert message in outcome.said
    assert snapshot(tmp_path) == {}


def start(whelp: Whelp, project: Project, model: object, out: str, *overrides: str) -> Any:
    """Train from a folder."""
    return whelp("train", project.recipe, f"train.start_from={model}", *overrides, "--store", project.store, "--out", out)


def test_a_run_starts_from_another(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """It has the weights of the other at step 0, counts its own steps, and goes on without the other folder."""
    shutil.copytree(made.run, tmp_path / "first", symlinks=True)
    outcome = start(whelp, made, "first", "second", "train.seed=1")
    assert outcome.code == 0, outcome.stderr
    losses = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (made.run, tmp_path / "second")
    ]
    ends = [[record["test_nats_per_token"] for record in records if "test_nats_per_token" in record] for records in losses]
    assert ends[1][0] == pytest.approx(ends[0][-1])
    assert [record["step"] for record in losses[1] if "loss" in record] == [1, 2, 3, 4]
    shutil.rmtree(tmp_path / "first")
    assert start(whelp, made, "first", "second", "train.seed=1").code == 0  # finished: nothing to do
    lost = start(whelp, made, "first", "third")
    assert lost.code == 1
    assert "first: there is no such folder" in lost.said
    assert not (tmp_path / "third").exists()


def test_a_run_starts_with_another_optimizer(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Its steps and means go on; a folder without any, and one of another kind, are refused before anything is written."""
    last = made.run / "checkpoints" / "last"
    options = (
        "train.start_optimizer=true",
        "train.num_steps=1",
        "train.learning_rate=0.0",
        "train.beta2=0.999999999999",
        "train.momentum=0.999999999999",
    )
    assert start(whelp, made, last, "warm", *options).code == 0
    before, after = (load_file(run / "trainer" / "optimizer.safetensors") for run in (last, tmp_path / "warm/checkpoints/last"))
    assert (float(before["adamw.step"]), float(after["adamw.step"])) == (4.0, 5.0)
    for kind in ("adamw.square.", "muon.momentum."):  # with beta2 and momentum of nearly 1 they stay what they were
        names = [name for name in before if name.startswith(kind)]
        assert any(before[name].any() for name in names)
        assert all(torch.allclose(after[name], before[name], rtol=1e-6, atol=0.0) for name in names)
    other = start(whelp, made, last, "other", *options, "train.optimizer=adamw")
    assert "its optimizer is muon, and the recipe's adamw. To take it, add: train.optimizer=muon" in other.said
    shutil.copytree(last, tmp_path / "weights")
    shutil.rmtree(tmp_path / "weights" / "trainer")
    assert "it holds no state of an optimizer" in start(whelp, made, "weights", "other", *options).said
    alone = whelp("train", made.recipe, "train.start_optimizer=true", "--store", made.store, "--out", "other")
    assert "train.start_optimizer needs train.start_from" in alone.said
    assert not (tmp_path / "other").exists()


def test_any_architecture_from_start_to_end(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """`init`, start from it, stop, go on to the same bits, evaluate, talk, open it there."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    recipe = yaml.safe_load(made.recipe.read_text()) | {"model": HF}
    recipe["data"]["source"] = str(made.corpus)
    project = Project(tmp_path / "hf")
    project.folder.mkdir()
    project.recipe.write_text(yaml.safe_dump(recipe))
    assert whelp("init", project.recipe, "--vocab_size", made.store, "--out", "model").code == 0
    arguments = ("train", project.recipe, "train.start_from=model", "train.save_every_steps=2", "--store", made.store)
    outcome = whelp(*arguments, "--out", "run")
    assert outcome.code == 0, outcome.stderr
    whole = weights_of("run/checkpoints/last")
    before = weights_of("model")
    assert any(not torch.equal(whole[name], before[name]) for name in whole)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000004")
    assert whelp(*arguments, "--out", "run").code == 0
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights_of("run/checkpoints/last").items())
    assert whelp("evaluate", "run", "--store", made.store, "--json").json["nats_per_token"] > 0
    assert whelp("generate", "run", "--prompt", "The", "--max-tokens", "3", "--n", "2").code == 0
    model, tokenizer = (kind.from_pretrained("run/checkpoints/last") for kind in (AutoModelForCausalLM, AutoTokenizer))
    assert model.config.model_type == "llama"
    assert model(**tokenizer("The quick", return_tensors="pt")).logits.shape[-1] == model.config.vocab_size


def test_isolated_documents_of_any_architecture(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Packed rows whose documents do not see each other train as they do with our own families."""
    recipe = yaml.safe_load(made.recipe.read_text()) | {"model": HF, "pack": {"context_tokens": 32, "plan": "best_fit"}}
    recipe["data"]["source"] = str(made.corpus)
    (tmp_path / "hf.yaml").write_text(yaml.safe_dump(recipe))
    assert whelp("train", "hf.yaml", "--store", made.store, "--out", "run").code == 0


def test_another_model_than_the_recipes(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Each difference is named, with the overrides that take the folder as it is; they do."""
    assert whelp("init", made.recipe, "--n_layer", 2, "--n_embd", 32, "--vocab_size", made.store, "--out", "model").code == 0
    outcome = start(whelp, made, "model", "run")
    assert outcome.code == 1
    assert "it is another model than the recipe's: model.n_layer is 1, and there 2" in outcome.said
    overrides = outcome.said.partition("To take it, add: ")[2].split()
    assert not (tmp_path / "run").exists()
    again = start(whelp, made, "model", "run", *overrides)
    assert again.code == 0, again.stderr


def test_another_model_is_refused_first(whelp: Whelp, made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a step is timed, which takes long with a large model."""
    assert whelp("init", made.recipe, "--n_layer", 2, "--vocab_size", made.store, "--out", "model").code == 0

    def refuse_to_time(*_: object) -> None:
        raise AssertionError("a step was timed")

    monkeypatch.setattr(Session, "_time_steps", refuse_to_time)
    for overrides in (("train.threads=null",), ("train.num_steps=null", "train.minutes=1")):
        said_once(start(whelp, made, "model", "run", *overrides), "it is another model than the recipe's")


def test_another_architecture_than_the_recipes(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """The family, and for architectures of transformers the kind and its values."""
    sizes = ("--n_layer", 1, "--n_embd", 16, "--vocab_size", made.store)
    assert whelp("init", "--family", "gpt2", *sizes, "--context_tokens", 16, "--out", "gpt2").code == 0
    refused = start(whelp, made, "gpt2", "of-gpt2").said
    assert "model.family is qwen3, and there gpt2" in refused
    assert start(whelp, made, "gpt2", "of-gpt2", *refused.partition("To take it, add: ")[2].split()).code == 0
    overrides = [f"model.hf_overrides={json.dumps(HF['hf_overrides'])}", "model.hf_config=llama"]
    assert whelp("init", "--family", "hf", *overrides, "--vocab_size", made.store, "--out", "llama").code == 0
    assert "model.family is qwen3, and there hf" in start(whelp, made, "llama", "run").said
    recipe = yaml.safe_load(made.recipe.read_text()) | {"model": HF}
    recipe["model"] = {**HF, "hf_overrides": {**HF["hf_overrides"], "num_attention_heads": 4}}
    recipe["data"]["source"] = str(made.corpus)
    (tmp_path / "hf.yaml").write_text(yaml.safe_dump(recipe))
    outcome = whelp("train", "hf.yaml", "train.start_from=llama", "--store", made.store, "--out", "run")
    assert "model.hf_overrides.num_attention_heads is 4, and there 2" in outcome.said


def test_another_vocabulary_than_the_stores(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """A size that does not fit, and one that fits with other tokens."""
    assert whelp("init", made.recipe, "--vocab_size", 1000, "--out", "large").code == 0
    assert "model.vocab_size is 320, and there 1000" in start(whelp, made, "large", "run").said
    other = make_project(tmp_path / "other")
    (other.corpus / "00.txt").write_text("completely different words in here, again and again and again")
    assert whelp("prepare", other.recipe, "--out", "other-store").code == 0
    assert whelp("init", made.recipe, "--vocab_size", "other-store", "--out", "other-model").code == 0
    outcome = start(whelp, made, "other-model", "run")
    assert "it has another vocabulary (300 ids) than the token store (300 ids)" in outcome.said
    assert "data.tokenizer=" in outcome.said
