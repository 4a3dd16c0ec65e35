"""From text to a reply in seconds, through the public calls. Run this before every commit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers

import whelp

PROMPT = "The quick"


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """One thread; no progress bars of other packages."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty short files."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(30):
        text = f"The quick brown fox number {number} jumps over {number * number} lazy dogs.\nNaïve café, 日本語 {number}.\n"
        (folder / f"{number:02}.txt").write_text(text * 3, encoding="utf-8")
    return folder


def make_recipe(corpus: Path, family: str, **train: Any) -> dict[str, Any]:
    """A recipe as a dict, of a model that trains in a second."""
    return {
        "data": {"source": str(corpus), "tokenizer": {"learn": "bpe", "vocab_size": 320}, "test_split": 0.1},
        "pack": {"context_tokens": 32},
        "model": {"family": family, "n_layer": 2, "n_head": 2, "n_embd": 32},
        "train": {"num_steps": 30, "batch_tokens": 256, "learning_rate": 1e-2, "threads": 1, "device": "cpu", **train},
    }


@pytest.mark.parametrize(("family", "optimizer"), [("gpt2", "adamw"), ("qwen3", "muon")])
def test_text_to_reply(corpus: Path, tmp_path: Path, family: str, optimizer: str) -> None:
    """Prepare, train, evaluate, generate; and Hugging Face's own classes open both folders and say the same."""
    recipe = make_recipe(corpus, family, optimizer=optimizer)
    prepared = whelp.prepare(recipe, out=tmp_path / "store")
    documents = prepared.ledger["documents"]
    assert documents == {"train": 27, "test": 3}
    assert prepared.ledger["tokens_in"] == sum(prepared.ledger["tokens"].values())

    trained = whelp.train(recipe, store=tmp_path / "store", out=tmp_path / "run")
    assert trained.is_finished
    assert trained.step == 30
    measured = whelp.evaluate(tmp_path / "run", store=tmp_path / "store", device="cpu")
    assert measured.nats_per_token == pytest.approx(trained.nats_per_token, rel=1e-5)
    assert measured.perplexity == pytest.approx(math.exp(measured.nats_per_token))
    assert measured.nats_per_token < math.log(prepared.vocab_size) - 1, "it has learned something"

    reply = whelp.generate(tmp_path / "run", PROMPT, max_tokens=20, temperature=0, device="cpu")[0].text
    assert reply
    _check_store_with_datasets(tmp_path / "store", prepared.splits)
    assert _continue_with_transformers(tmp_path / "run" / "checkpoints" / "last", 20) == reply


def test_the_same_call_goes_on(corpus: Path, tmp_path: Path) -> None:
    """A finished store is left as it is, a finished run too; both say so."""
    recipe = make_recipe(corpus, "qwen3", num_steps=2)
    whelp.prepare(recipe, out=tmp_path / "store")
    written = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    first = whelp.train(recipe, store=tmp_path / "store", out=tmp_path / "run")
    whelp.prepare(recipe, out=tmp_path / "store")
    assert (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == written
    again = whelp.train(recipe, store=tmp_path / "store", out=tmp_path / "run")
    assert (again.step, again.checkpoint, again.nats_per_token) == (2, first.checkpoint, first.nats_per_token)


def test_overrides_of_a_call(corpus: Path, tmp_path: Path) -> None:
    """A call takes `section.field=value` as the terminal does."""
    recipe = make_recipe(corpus, "gpt2")
    whelp.prepare(recipe, out=tmp_path / "store", overrides=["data.test_split=0"])
    overrides = ["data.test_split=0", "train.num_steps=1"]
    result = whelp.train(recipe, store=tmp_path / "store", out=tmp_path / "run", overrides=overrides)
    assert (result.step, result.nats_per_token) == (1, None)


def _check_store_with_datasets(store: Path, splits: dict[str, dict[str, int]]) -> None:
    opened = datasets.load_from_disk(str(store))
    assert set(opened) == set(splits)
    tokenizer = transformers.AutoTokenizer.from_pretrained(store / "tokenizer")
    for name, counts in splits.items():
        rows = [row["input_ids"] for row in opened[name]]
        assert len(rows) == counts["documents"]
        assert sum(map(len, rows)) == counts["tokens"]
    first = opened["train"][0]
    assert tokenizer.decode(first["input_ids"][:-1]).startswith("The quick brown fox number")
    assert first["input_ids"][-1] == tokenizer.eos_token_id


def _continue_with_transformers(checkpoint: Path, max_tokens: int) -> str:
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
    prompt = tokenizer(PROMPT, return_tensors="pt")
    with torch.no_grad():
        ids = model.generate(**prompt, max_new_tokens=max_tokens, do_sample=False)[0]
    return str(tokenizer.decode(ids[prompt["input_ids"].shape[1] :], skip_special_tokens=True))
