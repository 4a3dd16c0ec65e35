"""What `whelp tokenizer show` says of a vocabulary, held against the files it was opened from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import whelp as package

from .helpers import Project, Whelp


def test_a_run_s_vocabulary(whelp: Whelp, made: Project) -> None:
    """Found by the run's name; sizes, control tokens and ids are those of `tokenizers`; a store's is the same one."""
    view = whelp("tokenizer", "show", made.run, "--text", "The café", "--json").json
    theirs = Tokenizer.from_file(view["found_at"])
    assert Path(view["found_at"]) == made.run / "checkpoints/last/tokenizer.json"
    assert (view["kind"], view["vocab_size"], view["num_tokens"]) == ("bpe", theirs.get_vocab_size(), theirs.get_vocab_size())
    assert (view["cutting"], view["normalizer"], view["gguf_name"], view["id_bits"]) == ("gpt2", None, "gpt-2", 16)
    for entry in view["special"]:
        assert theirs.token_to_id(entry["token"]) == entry["id"]
    roles = {role: entry["token"] for entry in view["special"] for role in entry["roles"]}
    assert (roles["eos"], roles["pad"]) == ("<|endoftext|>", "<|pad|>")
    assert [token["id"] for token in view["text"]["tokens"]] == theirs.encode("The café").ids
    assert view["text"]["is_kept"]
    ids = [entry["id"] for entry in view["sample"]]
    assert len(ids) == 24 == len(set(ids))
    assert ids[0] == 0
    assert max(ids) > view["vocab_size"] * 0.9
    store = whelp("tokenizer", "show", made.store, "--json").json
    assert (store["fingerprint"], store["text"]) == (view["fingerprint"], None)


def test_for_people(whelp: Whelp, made: Project) -> None:
    """Every fact has its line; what the text becomes comes last."""
    shown = whelp("tokenizer", "show", made.run, "--text", "The fox", "--samples", 3).text
    names = ("kind", "size", "cuts text by", "changes text by", "chat template", "in GGUF files", "fingerprint", "found at")
    for name in (*names, "control tokens", "some tokens", "The␣fox"):
        assert any(line.startswith(name) for line in shown.splitlines()), name
    assert "<|endoftext|>" in shown


@pytest.mark.parametrize(
    ("options", "cutting", "gguf_name"),
    [
        (["--pattern", "code"], "code", "qwen2"),
        (["--pattern", "regex", "--pattern-regex", r"\S+|\s+"], r"\S+|\s+", None),
        (["--learn", "chars", "--vocab-size", "1000"], r"[\s\S]", None),
    ],
)
def test_how_text_is_cut(whelp: Whelp, made: Project, options: list[str], cutting: str, gguf_name: str | None) -> None:
    """A name of ours, or the regular expression itself; and whether llama.cpp could do it."""
    asked = ["tokenizer", "train", "--source", made.corpus, "--vocab-size", "280", *options, "--out", "tok"]
    assert whelp(*asked).code == 0
    view = package.show_tokenizer("tok", num_samples=5)
    assert (view.cutting, view.gguf_name, len(view.sample)) == (cutting, gguf_name, 5)


def test_other_commands_know_runs(whelp: Whelp, made: Project) -> None:
    """A run's name is enough to encode with its vocabulary; one without a checkpoint has none yet."""
    ids = json.loads(whelp("tokenizer", "encode", made.run, stdin="The fox").text)
    assert ids == json.loads(whelp("tokenizer", "encode", made.store, stdin="The fox").text)
    Path("empty").mkdir()
    outcome = whelp("tokenizer", "show", "empty")
    assert outcome.code == 1
    assert "there is no tokenizer in this folder" in outcome.said
