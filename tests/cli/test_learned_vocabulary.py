"""A vocabulary that is learned can write what the recipe's template puts around the words of the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import whelp
from whelp.artifacts.token_store import open_store
from whelp.tokenizer import load_tokenizer

COLUMNS = [{"question": "abc", "answer": "cab"}, {"question": "bba", "answer": "aac"}]
TURNS = [
    {"messages": [{"role": "user", "content": "abc"}, {"role": "assistant", "content": "cba"}]},
    {"messages": [{"role": "user", "content": "bb"}, {"role": "assistant", "content": "xa"}]},
]


def read_back(folder: Path, rows: list[dict[str, Any]], data: dict[str, Any]) -> list[str]:
    """The texts of a store that is made of the rows."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {"data": {"source": str(folder / "rows.jsonl"), "test_split": 0, "separator": "none", **data}}
    whelp.prepare(recipe, out=folder / "store")
    store, vocabulary = open_store(folder / "store"), load_tokenizer(folder / "store" / "tokenizer")
    texts = store.split("train").table.column("input_ids").to_pylist()
    return [vocabulary.decode(ids, skip_special=False) for ids in texts]


@pytest.mark.parametrize("kind", ["chars", "words"])
def test_what_stands_between_columns_is_learned(tmp_path: Path, kind: str) -> None:
    columns = {"multi_column_keys": ["question", "answer"], "multi_column_prefix": ["Q: ", "A: "]}
    texts = read_back(tmp_path, COLUMNS, {**columns, "tokenizer": {"learn": kind}})
    assert texts == ["Q: abc\n\nA: cab", "Q: bba\n\nA: aac"]


def test_the_default_separator_of_columns_is_learned(tmp_path: Path) -> None:
    texts = read_back(tmp_path, COLUMNS, {"multi_column_keys": ["question", "answer"], "tokenizer": {"learn": "chars"}})
    assert texts == ["abc\n\ncab", "bba\n\naac"]


@pytest.mark.parametrize("kind", ["chars", "words"])
def test_what_a_chat_template_writes_is_learned_but_its_control_tokens(tmp_path: Path, kind: str) -> None:
    chat = {"conversation_template": "tokenizer", "tokenizer": {"learn": kind, "special_tokens": ["chat"]}}
    texts = read_back(tmp_path, TURNS, chat)
    assert texts[1] == "<|im_start|>user\nbb<|im_end|>\n<|im_start|>assistant\nxa<|im_end|>\n"
    vocabulary = load_tokenizer(tmp_path / "store" / "tokenizer")
    letters = sorted(set("userassistant\nabcx")) if kind == "chars" else ["\n", "user", "assistant", "abc", "cba", "bb", "xa"]
    assert vocabulary.size == len(letters) + 4  # and the ends of a text and of a turn, the pad, and the start of a turn


def test_what_the_template_does_not_write_is_not_learned(tmp_path: Path) -> None:
    read_back(tmp_path, [{"text": "abc"}], {"tokenizer": {"learn": "chars"}})
    assert load_tokenizer(tmp_path / "store" / "tokenizer").size == 3 + 2
