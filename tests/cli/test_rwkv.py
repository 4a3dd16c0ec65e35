"""RWKV from the terminal: init with its `.pth`, training long rows in chunks, stopping inside of one, states, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from whelp.artifacts.rwkv_file import read_rwkv_file
from whelp.cli.generate import generate as complete_with
from whelp.cli.generate import load_model

from .helpers import Whelp

TEXT = "".join(f"{n} and {n + 1} make {2 * n + 1}, said the old cook, and put them into the pot. " for n in range(90))
RECIPE: dict[str, Any] = {
    "data": {"source": "text", "document": "file", "tokenizer": {"learn": "chars"}, "test_split": 1, "separator": "none"},
    "pack": {"context_tokens": 1024, "plan": "none"},
    "model": {"family": "rwkv7", "n_layer": 1, "n_head": 2, "n_embd": 16},
    "train": {"num_steps": 4, "bptt_tokens": 128, "batch_tokens": 2048, "device": "cpu", "threads": 1, "save_every_steps": 1},
}


@pytest.fixture(scope="module", params=["rwkv7", "rwkv4"])
def trained(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder with a recipe, a store of three long documents, and a finished run."""
    import whelp as package

    folder = tmp_path_factory.mktemp("rwkv")
    (folder / "text").mkdir()
    for number in range(4):
        (folder / "text" / f"{number}.txt").write_text(TEXT[number * 900 :], encoding="utf-8")
    recipe = {**RECIPE, "data": {**RECIPE["data"], "source": str(folder / "text")}}
    recipe["model"] = {**RECIPE["model"], "family": request.param}
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    package.prepare(folder / "recipe.yaml", out=folder / "store")
    result = package.train(folder / "recipe.yaml", store=folder / "store", out=folder / "run")
    assert (result.step, result.is_finished) == (4, True)
    return folder


def test_init_writes_what_the_seed_trainer_starts_from(whelp: Whelp) -> None:
    """`--n_layer --n_embd --vocab_size --skip-if-exists`: a model folder, and beside the safetensors the official `.pth`."""
    made = ("init", "--family", "rwkv7", "--n_layer", 2, "--n_embd", 64, "--vocab_size", 300, "--out", "made")
    assert whelp(*made, "--json").json["num_parameters"] == sum(
        t.numel() for t in read_rwkv_file(Path("made/model.pth")).values()
    )
    before = Path("made/model.pth").read_bytes()
    assert whelp(*made).code == 1
    assert whelp(*made, "--skip-if-exists", "--json").json["is_reused"]
    assert Path("made/model.pth").read_bytes() == before
    official, folder = read_rwkv_file(Path("made/model.pth")), load_file("made/model.safetensors")
    assert official["emb.weight"].shape == (300, 64)
    assert torch.equal(official["blocks.1.att.w1"], folder["model.layers.1.attn.w_lora.lora.0.weight"].T)


def test_official_weights_become_a_model(trained: Path, whelp: Whelp) -> None:
    """Out as `.pth`, and in again with a vocabulary: the same text comes of it."""
    assert whelp("export", trained / "run", "--format", "pth", "--out", "official").code == 0
    assert "RWKV_V7_ON" in Path("official/README.md").read_text(encoding="utf-8")
    assert whelp("init", "--weights", "official/official.pth", "--vocab_size", trained / "store", "--out", "made").code == 0
    said = [whelp("generate", model, "--prompt", "1 and 2", "--max-tokens", 20).stdout for model in (trained / "run", "made")]
    assert said[0] == said[1]
    refused = whelp("init", "--weights", "official/official.pth", "--n_layer", 3, "--out", "other")
    assert "--n_layer is given together with --weights, which says it" in refused.said
    assert "is a qwen3, but expected an RWKV model" in _export_of_a_gpt(whelp).said


def _export_of_a_gpt(whelp: Whelp) -> Any:
    whelp("init", "--family", "qwen3", "--n_layer", 1, "--n_embd", 16, "--vocab_size", 60, "--out", "gpt")
    return whelp("export", "gpt", "--format", "pth", "--out", "gpt-pth")


def test_a_run_begins_with_official_weights(trained: Path, whelp: Whelp) -> None:
    """`train.start_from` takes the file; another size is refused, and how to take it is said."""
    assert whelp("export", trained / "run", "--format", "pth", "--out", "official").code == 0
    start = ["train.start_from=official/official.pth", "train.num_steps=1", "train.learning_rate=0"]
    command = ("train", trained / "recipe.yaml", *start, "--store", trained / "store")
    refused = whelp(*command, "model.n_layer=2", "--out", "again")
    assert "To take it, add: model.n_layer=1" in refused.said
    assert whelp(*command, "--out", "again").code == 0
    assert load_file("again/checkpoints/last/model.safetensors").keys()
    for name, tensor in load_file(trained / "run/checkpoints/last/model.safetensors").items():
        assert torch.equal(tensor, load_file("again/checkpoints/last/model.safetensors")[name]), name


def test_going_on_inside_of_a_long_document(trained: Path, whelp: Whelp) -> None:
    """Every document is one row of many chunks. A run that stops between two batches of them goes on to the same bits."""
    import shutil

    shutil.copytree(trained / "run", "half", symlinks=True)
    checkpoints = sorted(Path("half/checkpoints").glob("step-*"))
    shutil.rmtree(checkpoints[-1])  # as if killed after the step before
    command = ("train", trained / "recipe.yaml", "--store", trained / "store", "--out", "half")
    assert whelp(*command, "--json").json["step"] == 4
    for name in ("model.safetensors", "trainer/optimizer.safetensors"):
        one, other = (Path(run) / "checkpoints" / "last" / name for run in (trained / "run", "half"))
        assert one.read_bytes() == other.read_bytes(), name


def test_states_in_files(trained: Path, whelp: Whelp) -> None:
    """A prompt read once: what goes on from its state is what goes on from the prompt; states add up; others are refused."""
    run, prompt, rest = trained / "run", TEXT[:300], TEXT[300:340]
    whole = whelp("generate", run, "--prompt", prompt + rest, "--max-tokens", 20, "--json").json["completions"][0]["text"]
    assert whelp("state", run, "--prompt", prompt[:100], "--out", "a.state", "--json").json["num_tokens"] == 100
    made = whelp("state", run, "--prompt", prompt[100:], "--state", "a.state", "--out", "b.state", "--json").json
    assert made["num_tokens"] == 300
    going_on = whelp("generate", run, "--state", "b.state", "--prompt", rest, "--max-tokens", 20, "--n", 2, "--json").json
    assert going_on["completions"][0]["text"] == whole
    assert load_model(run, state="b.state").model.start_state is not None
    family = json.loads((trained / "recipe.yaml").read_text(encoding="utf-8"))["model"]["family"]
    sizes = ("--n_layer", 1, "--n_embd", 16, "--n_head", 2, "--vocab_size", trained / "store")
    whelp("init", "--family", family, *sizes, "--out", "x")
    assert "it is the state of a model with other weights" in whelp("generate", "x", "--state", "b.state", "--prompt", "1").said
    _export_of_a_gpt(whelp)
    whelp("init", "--family", "qwen3", "--n_layer", 1, "--n_embd", 16, "--vocab_size", trained / "store", "--out", "y")
    assert "it keeps no state" in whelp("generate", "y", "--state", "b.state", "--prompt", "1").said
    assert (
        "holds tensors, but no state"
        in whelp("generate", run, "--state", run / "checkpoints/last/model.safetensors", "--prompt", "1").said
    )


def test_a_text_of_any_length(trained: Path) -> None:
    """Longer than what it was trained on, without sliding: the model is never read anew."""
    loaded = load_model(trained / "run")
    assert loaded.model.context_tokens > 1_000_000
    never = {loaded.vocabulary.eos_id: -100.0}
    (completion,) = complete_with(loaded, TEXT[:2000], max_tokens=30, logit_bias=never, when_full="end")
    assert (completion.num_tokens, completion.reason) == (30, "length")


def test_other_families_take_the_same_rows(trained: Path, whelp: Whelp) -> None:
    """A GPT's rows are as long as the chunks: it cannot read on."""
    command = ("train", trained / "recipe.yaml", "model.family=qwen3", "train.num_steps=1", "--store", trained / "store")
    assert whelp(*command, "--out", "gpt").code == 0
    plan = json.loads(Path("gpt/plan.json").read_text(encoding="utf-8"))["plan"]
    assert (plan["context_tokens"], plan["batch_rows"]) == (128, 16)


@pytest.mark.parametrize("trained", ["rwkv7"], indirect=True)
def test_two_processes_read_the_same_chunks(trained: Path, whelp: Whelp) -> None:
    """Slices of a batch have other widths and numbers of chunks; with shared weights the losses are those of one process."""
    short = ("train.num_steps=2", "train.optimizer=adamw", "train.shard=true", "train.learning_rate=1e-3")
    command = ("train", trained / "recipe.yaml", *short, "--store", trained / "store")
    assert whelp(*command, "--out", "one").code == 0
    outcome = whelp(*command, "--nproc", 2, "--out", "two")
    assert outcome.code == 0, outcome.said
    records = [
        [json.loads(line) for line in Path(run, "metrics.jsonl").read_text("utf-8").splitlines()] for run in ("one", "two")
    ]
    losses = [[record["loss"] for record in run if "loss" in record] for run in records]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("name", ["world", "neox"])
def test_the_seeds_vocabularies(name: str, whelp: Whelp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of the infctx trainer's examples with both of its vocabularies: World is in the package `rwkv`, NeoX on the shelf."""
    shelf = Path(__file__).parents[3] / "shared" / "data" / "tokenizers"
    if name == "neox" and not (shelf / name).is_dir():
        pytest.skip("GPT-NeoX's vocabulary is not here: put 20B_tokenizer.json into ../shared/data/tokenizers/neox")
    monkeypatch.setenv("WHELP_TOKENIZERS", str(shelf))
    rows = [{"prompt": f"What is {n} plus {n}? ", "completion": f"It is {2 * n}."} for n in range(40)]
    (tmp_path / "instruct.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ("rwkv-instruct", f"data.tokenizer={name}", "train.threads=1", "train.device=cpu", "--scale", "tiny")
    assert whelp("prepare", *arguments, "--out", "store").code == 0
    result = whelp("train", *arguments, "--store", "store", "--out", "run", "--json").json
    assert (result["step"], result["is_finished"]) == (4, True)
    assert whelp("generate", "run", "--prompt", "What", "--max-tokens", 3).code == 0


@pytest.mark.parametrize("trained", ["rwkv4"], indirect=True)
def test_transformers_goes_on_as_we_do(trained: Path, whelp: Whelp) -> None:
    """The folder of an RWKV-4 is a stock one: `AutoModelForCausalLM` opens it as its card says, and greedy texts are the same."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    deeper = ("model.n_layer=2", "train.num_steps=2")  # transformers divides by the number of layers less one
    assert whelp("train", trained / "recipe.yaml", *deeper, "--store", trained / "store", "--out", "run").code == 0
    assert whelp("export", "run", "--out", "hf").code == 0
    assert 'AutoModelForCausalLM.from_pretrained("hf")' in Path("hf/README.md").read_text(encoding="utf-8")
    model, tokenizer = AutoModelForCausalLM.from_pretrained("hf"), AutoTokenizer.from_pretrained("hf")
    ids = tokenizer("1 and 2", return_tensors="pt")
    reply = model.generate(ids["input_ids"], max_new_tokens=20, do_sample=False)[0, ids["input_ids"].shape[1] :]
    ours = whelp("generate", "hf", "--prompt", "1 and 2", "--max-tokens", 20, "--temperature", 0, "--json").json
    assert tokenizer.decode(reply, skip_special_tokens=True) == ours["completions"][0]["text"]
    refused = whelp("export", "hf", "--format", "gguf", "--out", "g")
    assert refused.code == 1
    assert "it is an RWKV-4, which llama.cpp does not know, but expected RWKV-7, RWKV-6 or RWKV-5" in refused.said
    assert "whelp export hf --format pth" in Path("hf/README.md").read_text(encoding="utf-8")
    assert whelp("export", trained / "run", "--out", "flat").code == 0
    assert "AutoModelForCausalLM" not in Path("flat/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("trained", ["rwkv7"], indirect=True)
def test_gguf_of_a_model(trained: Path, whelp: Whelp) -> None:
    """One file for llama.cpp, and a card that says how it runs; what llama.cpp could not run is refused, and nothing is left."""
    outcome = whelp("export", trained / "run", "--format", "gguf", "--out", "g")
    assert outcome.code == 1
    assert "its heads are 8 wide" in outcome.said
    assert not Path("g").exists()
    asked = ("tokenizer", "train", "--source", trained / "text", "--learn", "bpe", "--vocab-size", 320, "--out", "tok")
    assert whelp(*asked).code == 0
    made = ("init", "--family", "rwkv7", "--n_layer", 1, "--n_embd", 64, "--vocab_size", "tok", "--out", "made")
    assert whelp(*made).code == 0
    written = whelp("export", "made", "--format", "gguf", "--dtype", "q8_0", "--out", "g", "--json").json
    assert (written["files"], written["dtype"]) == (["made-q8_0.gguf", "README.md"], "q8_0")
    assert written["num_parameters"] == sum(tensor.numel() for tensor in read_rwkv_file(Path("made/model.pth")).values())
    assert "llama-cli -m g/made-q8_0.gguf" in Path("g/README.md").read_text(encoding="utf-8")
    assert whelp("export", "made", "--out", "hf").code == 0
    assert "whelp export hf --format gguf" in Path("hf/README.md").read_text(encoding="utf-8")
