"""`whelp curate` as a user runs it: from any source to a corpus that the next step reads."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

import whelp as package

from .helpers import Whelp, snapshot


def make_prose(generator: random.Random, num_words: int) -> str:
    """Sentences of ten words that hardly any other text has."""
    common = ("the", "of", "and", "to", "that")
    words = [generator.choice(common) if number % 3 == 0 else f"w{generator.randrange(10**6)}x" for number in range(num_words)]
    return "\n".join(" ".join(words[first : first + 10]) + "." for first in range(0, num_words, 10))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_rows(count: int = 12) -> list[dict[str, Any]]:
    """Prose with an address; the last row repeats the first, the one before is short."""
    generator = random.Random(1)
    rows = [{"text": make_prose(generator, 120), "url": f"u{number}", "score": number} for number in range(count - 2)]
    rows[3]["text"] += " Ask me@example.org."
    return [*rows, {"text": "short", "url": "s", "score": 0}, {**rows[0], "url": "again"}]


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of the first shard."""
    return [json.loads(line) for line in (folder / "00000.jsonl").read_text("utf-8").split("\n") if line]


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Rows, and rows.jsonl in the folder where commands run."""
    made = make_rows()
    write_rows(tmp_path / "rows.jsonl", made)
    return made


def test_a_source_alone(whelp: Whelp, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """What is kept, what is dropped, a page; the same command again finds it done."""
    outcome = whelp("curate", "--source", "rows.jsonl", "--out", "clean", "curate.keep_columns=[url]", "--json")
    result = outcome.json
    assert result["ledger"]["documents_kept"] == 10
    kept = read_rows(tmp_path / "clean" / "kept")
    assert [row["url"] for row in kept] == [f"u{number}" for number in range(10)]
    assert [(row["origin"], row["line"]) for row in kept] == [("rows.jsonl", number) for number in range(1, 11)]
    assert kept[3]["text"].endswith("Ask email@example.com.")
    dropped = {row["url"]: (row["rule"], row["duplicate_of"]) for row in read_rows(tmp_path / "clean" / "dropped")}
    assert dropped == {"s": ("length", None), "again": ("exact_duplicates", "rows.jsonl:1")}
    assert "Where the documents went" in (tmp_path / "clean" / "report.html").read_text("utf-8")
    before = snapshot(tmp_path / "clean")
    again = whelp("curate", "curate.keep_columns=[url]", "--source", "rows.jsonl", "--out", "clean")
    assert "finished and up to date" in again.said
    assert "length: too short 1 8.3%" in again.said
    assert again.said.endswith("next whelp prepare project data.source=clean/kept --out store")
    assert snapshot(tmp_path / "clean") == before


def test_the_next_command_reads_what_is_kept(whelp: Whelp, tmp_path: Path) -> None:
    """By the columns that it was curated by; how files are cut into documents is over and done."""
    write_rows(tmp_path / "bodies.jsonl", [{"body": row["text"], "id": number} for number, row in enumerate(make_rows())])
    options = "data.custom_text_key=body", "data.encoding=utf-8"
    said = whelp("curate", "--source", "bodies.jsonl", *options, "--out", "clean").said
    command = said.rpartition("next whelp ")[2].split()
    assert command == ["prepare", "project", "data.source=clean/kept", "data.custom_text_key=body", "--out", "store"]
    assert whelp(*command, "--dry-run").code == 0


def test_what_is_kept_is_a_source(whelp: Whelp, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """The next step reads it, as JSON lines and as Parquet."""
    for format in ("jsonl", "parquet"):
        whelp("curate", "--source", "rows.jsonl", "--out", format, f"curate.format={format}")
        recipe = {"data": {"source": f"{format}/kept", "tokenizer": {"learn": "chars"}, "test_split": 0}}
        store = package.prepare(recipe, out=tmp_path / f"store-{format}")
        assert store.splits["train"]["documents"] == 10


def test_changes_are_named_and_made(whelp: Whelp, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Another number, another text: it says which, and makes the corpus again."""
    arguments = ("curate", "--source", "rows.jsonl", "--out", "clean")
    whelp(*arguments)
    changed = whelp(*arguments, "curate.length.min_characters=1", "curate.gopher_quality=false", "--json")
    assert "curate.length: {'min_characters': 50, 'max_characters': -1} ->" in changed.said
    assert changed.json["ledger"]["documents_kept"] == 11
    write_rows(tmp_path / "rows.jsonl", make_rows(14))
    edited = whelp(*arguments, "--json")
    assert "rows.jsonl: edited" in edited.said
    assert edited.json["ledger"]["documents_kept"] == 12


def test_a_recipe(whelp: Whelp, tmp_path: Path) -> None:
    """Its data section says what rows are; several columns are judged together and kept as they are."""
    pairs = [{"prompt": f"What is {number} and {number}?", "completion": str(2 * number)} for number in range(8)]
    write_rows(tmp_path / "pairs.jsonl", [*pairs, pairs[2]])
    write_rows(tmp_path / "exam.jsonl", [{"question": "So what is 3 and 3? It may be six or so, they say."}])
    pairs[5]["prompt"] = "Well: SO WHAT is 3 and 3 -- it may be six or so they say"
    write_rows(tmp_path / "pairs.jsonl", [*pairs, pairs[2]])
    recipe = {"data": {"source": "pairs.jsonl"}, "curate": {"preset": "rows", "decontaminate": {"against": ["exam.jsonl"]}}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    outcome = whelp("curate", "recipe.yaml", "--out", "clean", "--json")
    assert outcome.json["ledger"]["dropped"] == {
        "decontaminate: shares words with exam.jsonl": 1,
        "exact_duplicates: equal to an earlier document": 1,
    }
    kept = read_rows(tmp_path / "clean" / "kept")
    assert [row["prompt"] for row in kept] == [pair["prompt"] for number, pair in enumerate(pairs) if number != 5]
    assert [row["completion"] for row in kept] == [pair["completion"] for number, pair in enumerate(pairs) if number != 5]


def test_the_split_of_a_source_is_kept_apart(whelp: Whelp, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Rows held out stay as they are, and what shares words with them is dropped from the others."""
    write_rows(tmp_path / "held.jsonl", [{"text": rows[4]["text"]}, {"text": "tiny"}])
    files = "data.source_dataset_params={data_files: {train: rows.jsonl, test: held.jsonl}}"
    outcome = whelp("curate", "--source", "json", "--out", "clean", files, "--json")
    assert outcome.json["ledger"]["dropped"]["decontaminate: shares words with the test split"] == 1
    assert outcome.json["ledger"]["documents_test"] == 2
    assert [row["text"] for row in read_rows(tmp_path / "clean" / "test")] == [rows[4]["text"], "tiny"]


def test_rows_from_python(tmp_path: Path) -> None:
    """A table stands in for the source."""
    table = pa.table({"text": [row["text"] for row in make_rows()]})
    result = package.curate({"curate": {"preset": "none", "exact_duplicates": True}}, out=tmp_path / "clean", rows=table)
    assert result.ledger["documents_kept"] == 11
    assert result.source == str(tmp_path / "clean" / "kept")
    assert not result.is_reused


def test_bad_rows_are_kept_aside(whelp: Whelp, tmp_path: Path) -> None:
    """Skipped rows are written down, and counted."""
    write_rows(tmp_path / "rows.jsonl", [*make_rows(), {"text": 5}])
    outcome = whelp("curate", "--source", "rows.jsonl", "data.on_bad_rows=skip", "--out", "clean", "--json")
    assert outcome.json["ledger"]["notes"]["rows skipped: a value that is not text"] == 1
    (bad,) = (tmp_path / "clean" / "bad_rows.jsonl").read_text("utf-8").splitlines()
    assert json.loads(bad)["number"] == 13


def test_characters_per_token(whelp: Whelp, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """The vocabulary is one of a folder."""
    whelp("tokenizer", "train", "--source", "rows.jsonl", "--learn", "chars", "--out", "chars")
    options = "curate.characters_per_token={tokenizer: chars, min_ratio: 1.1}"
    outcome = whelp("curate", "--source", "rows.jsonl", "--out", "clean", "curate.preset=none", options)
    assert outcome.code == 1
    assert "no document is kept of 12 (12 characters_per_token: few characters per token)" in outcome.said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "whelp curate: neither a recipe nor a source is given. Give RECIPE, or --source."),
        (["--source", "rows.jsonl", "curate.lenght=true"], "unknown key curate.lenght. Did you mean curate.length?"),
        (
            ["--source", "rows.jsonl", "curate.length=7"],
            "curate.length is 7, but expected true or false or a mapping with min_characters, ",
        ),
        (["--source", "rows.jsonl", "--preset", "books"], "curate.preset is 'books', but expected one of prose, web"),
        (["--source", "rows.jsonl", "curate.keep_columns=[line]"], "curate.keep_columns names line, which is written anyway"),
        (["--source", "missing.jsonl"], "missing.jsonl"),
        (
            ["--source", "rows.jsonl", "curate.decontaminate.against=[exam.jsonl]"],
            "exam.jsonl",
        ),
    ],
)
def test_mistakes(whelp: Whelp, rows: list[dict[str, Any]], arguments: list[str], message: str, tmp_path: Path) -> None:
    """Said in words, before anything is written."""
    outcome = whelp("curate", *arguments, "--out", "clean")
    assert outcome.code == 1
    assert message in outcome.said
    assert not (tmp_path / "clean").exists()


def write_recipe(path: Path, data: dict[str, Any], **sections: Any) -> None:
    """A recipe with a vocabulary that writes any text."""
    path.write_text(
        yaml.safe_dump({"data": {"tokenizer": {"learn": "bpe", "vocab_size": 300}, "test_split": 0, **data}, **sections})
    )


def make_chats() -> list[dict[str, Any]]:
    """Conversations, one of them with an address and broken letters; the last repeats the second."""
    chats: list[dict[str, Any]] = [
        {
            "messages": [
                {"role": "user", "content": f"Who wrote book {number}?"},
                {"role": "assistant", "content": f"Author {number}."},
            ]
        }
        for number in range(6)
    ]
    chats[3]["messages"][0]["content"] += " Answer me@example.org, schÃ¶n."
    chats[3]["messages"].append({"role": "assistant", "content": None})
    chats[4] = {"messages": [{"role": "user", "content": 'Call\n"me" \x01'}], "url": "u4"}
    return [*chats, chats[1]]


CHAT = {
    "conversation_format": "sender",
    "conversation_key": "messages",
    "conversation_sender_key": "role",
    "conversation_input_key_map": {"content": "{sender}: "},
    "conversation_sender_mask": {"user": False},
}


def test_conversations(whelp: Whelp, tmp_path: Path) -> None:
    """Judged by what is said in them; every text of a turn is masked and mended, turns and senders stay; the next step reads it."""
    chats = make_chats()
    write_rows(tmp_path / "chats.jsonl", chats)
    write_recipe(
        tmp_path / "recipe.yaml", {"source": "chats.jsonl", **CHAT}, curate={"preset": "rows", "keep_columns": ["url"]}
    )
    result = whelp("curate", "recipe.yaml", "--out", "clean", "--json").json
    assert result["ledger"]["dropped"] == {"exact_duplicates: equal to an earlier document": 1}
    assert result["ledger"]["changes"] == {"encoding_repair: texts mended": 2, "personal_data: email masked": 1}
    kept = read_rows(tmp_path / "clean" / "kept")
    chats[3]["messages"][0]["content"] = "Who wrote book 3? Answer email@example.com, schön."
    chats[4]["messages"][0]["content"] = 'Call\n"me" '  # without its control character
    assert [row["messages"] for row in kept] == [chat["messages"] for chat in chats[:6]]
    assert [row["url"] for row in kept] == [None] * 4 + ["u4", None]
    (dropped,) = read_rows(tmp_path / "clean" / "dropped")
    assert (dropped["messages"], dropped["duplicate_of"]) == (chats[1]["messages"], "chats.jsonl:2")
    (example,) = result["ledger"]["examples"]["exact_duplicates: equal to an earlier document"]
    assert example["text"] == "Who wrote book 1?\nAuthor 1."
    store = package.prepare("recipe.yaml", out=tmp_path / "store", overrides=["data.source=clean/kept"])
    assert store.ledger["documents"] == {"train": 5, "dropped: fully masked": 1}  # of one, the user alone speaks


def test_rules_see_what_is_said(whelp: Whelp, tmp_path: Path) -> None:
    """Not who says it, nor a column that the template passes over."""
    words = " ".join(f"w{number}" for number in range(12))
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "a very long name of a sender, indeed so very long", "content": "short"}], "text": "x" * 99},
        {"messages": [{"role": "user", "content": words}], "text": "the same"},
        {"messages": [{"role": "robot", "content": words}], "text": "another"},
        {"text": f"{words} and so on, in a row without turns"},
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    write_recipe(tmp_path / "recipe.yaml", {"source": "rows.jsonl", **CHAT})
    rules = ["curate.preset=none", "curate.length.min_characters=30", "curate.exact_duplicates=true"]
    rules += ["curate.boilerplate_lines=true"]
    ledger = whelp("curate", "recipe.yaml", *rules, "--out", "clean", "--json").json["ledger"]
    assert ledger["dropped"] == {"exact_duplicates: equal to an earlier document": 1, "length: too short": 1}
    assert ledger["notes"] == {"rows of several columns or turns: lines and paragraphs stay as they are": 4}
    assert [row["line"] for row in read_rows(tmp_path / "clean" / "kept")] == [2, 4]


def test_chat_templates(whelp: Whelp, tmp_path: Path) -> None:
    """Turns that the tokenizer's template will write are curated without it."""
    write_rows(tmp_path / "chats.jsonl", make_chats())
    data = {"source": "chats.jsonl", "conversation_template": "tokenizer"}
    write_recipe(tmp_path / "recipe.yaml", data, curate={"preset": "rows"})
    ledger = whelp("curate", "recipe.yaml", "--out", "clean", "--json").json["ledger"]
    assert (ledger["documents_kept"], ledger["changes"]["personal_data: email masked"]) == (6, 1)


def write_mixture(tmp_path: Path) -> list[dict[str, Any]]:
    """Prose, pairs that are too short for its rules, chats, and prose again of which half is there already."""
    rows = make_rows()
    write_rows(tmp_path / "rows.jsonl", rows)
    write_rows(tmp_path / "pairs.jsonl", [{"q": f"{number} + 1?", "a": f"{number + 1}"} for number in range(8)])
    write_rows(tmp_path / "chats.jsonl", make_chats())
    write_rows(tmp_path / "more.jsonl", [rows[2], rows[4], *({"text": make_prose(random.Random(seed), 90)} for seed in (7, 8))])
    entries: list[dict[str, Any]] = [
        {"source": "rows.jsonl", "name": "prose", "weight": 2.5, "document": "auto"},
        {"source": "pairs.jsonl", "multi_column_keys": ["q", "a"], "max_repeats": 3, "curate": {"preset": "rows"}},
        {"source": "chats.jsonl", "name": "my/chats", "curate": {"preset": "none", "personal_data": True}, **CHAT},
        {"source": "more.jsonl"},
    ]
    write_recipe(tmp_path / "recipe.yaml", {"mixture": entries}, pack={"context_tokens": 32})
    return rows


def test_a_mixture(whelp: Whelp, tmp_path: Path) -> None:
    """Each source by its own rules in its own folder; what two have stays in the first; the recipe to go on with is written."""
    rows = write_mixture(tmp_path)
    result = whelp("curate", "recipe.yaml", "--out", "clean", "--json").json
    ledger = result["ledger"]
    kept = {name: one["documents_kept"] for name, one in ledger["sources"].items()}
    assert kept == {"prose": 10, "pairs": 8, "my/chats": 6, "more": 2}
    assert ledger["documents_kept"] == sum(kept.values())
    assert ledger["dropped"] == {"exact_duplicates: equal to an earlier document": 4, "length: too short": 1}
    assert ledger["sources"]["my/chats"]["changes"] == {"personal_data: email masked": 1}
    assert [row["q"] for row in read_rows(tmp_path / "clean/kept/pairs")] == [f"{number} + 1?" for number in range(8)]
    dropped = read_rows(tmp_path / "clean/dropped/more")
    assert [(row["text"], row["origin"], row["duplicate_of"]) for row in dropped] == [
        (rows[2]["text"], "more.jsonl", "prose: rows.jsonl:3"),
        (rows[4]["text"], "more.jsonl", "prose: rows.jsonl:5"),
    ]
    assert result["recipe"] == "clean/recipe.yaml"
    written = package.load_recipe("clean/recipe.yaml")
    assert written.pack.context_tokens == 32
    assert [(entry.label, entry.weight, entry.max_repeats) for entry in written.data.mixture] == [
        ("prose", 2.5, None),
        ("pairs", 1, 3),
        ("my/chats", 1, None),
        ("more", 1, None),
    ]
    store = package.prepare("clean", out=tmp_path / "store")
    own = {name: sum(one["documents"].values()) for name, one in store.ledger["sources"].items()}
    assert own == kept
    said = whelp("curate", "recipe.yaml", "--out", "clean").said
    assert "finished and up to date" in said
    assert "of my/chats 6 85.7%" in said
    assert said.endswith("next whelp prepare clean/recipe.yaml --out store-2")


def test_what_changed_in_a_mixture(whelp: Whelp, tmp_path: Path) -> None:
    """The source is named; another weight changes nothing but the recipe that is written."""
    write_mixture(tmp_path)
    arguments = ("curate", "recipe.yaml", "--out", "clean")
    whelp(*arguments)
    before = snapshot(tmp_path / "clean")
    assert "up to date" in whelp(*arguments, "data.mixture.more.weight=7").said
    after = snapshot(tmp_path / "clean")
    assert {name for name in after if after[name] != before[name]} == {"recipe.yaml"}
    said = whelp(*arguments, "data.mixture.pairs.curate={preset: rows, length: {min_characters: 2}}").said
    assert "clean is made again: pairs: curate.length: off -> {'min_characters': 2, 'max_characters': -1}" in said
    write_rows(tmp_path / "more.jsonl", [{"text": make_prose(random.Random(9), 90)}])
    assert "more: more.jsonl: edited" in whelp(*arguments).said
    assert (
        "data.mixture: prose, pairs, my/chats, more -> one source"
        in whelp("curate", "--source", "rows.jsonl", "--out", "clean").said
    )


def test_a_mixture_with_a_split_of_its_own(whelp: Whelp, tmp_path: Path) -> None:
    """Rows held out stay as they are, are kept out of all sources, and are the test split of the next step again."""
    rows = write_mixture(tmp_path)
    write_rows(tmp_path / "held.jsonl", [{"text": rows[4]["text"]}, {"text": "tiny"}])
    split = {
        "source": "json",
        "name": "split",
        "source_dataset_params": {"data_files": {"train": "more.jsonl", "test": "held.jsonl"}},
    }
    for format in ("jsonl", "parquet"):
        write_recipe(tmp_path / "recipe.yaml", {"mixture": [{"source": "rows.jsonl"}, split]}, curate={"format": format})
        ledger = whelp("curate", "recipe.yaml", "--out", format, "--json").json["ledger"]
        assert ledger["sources"]["rows"]["dropped"]["decontaminate: shares words with the test split"] == 1
        store = package.prepare(format, out=tmp_path / f"store-{format}")
        assert store.splits["test"]["documents"] == 2
        assert store.splits["train"]["documents"] == ledger["documents_kept"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"curate": {"near_duplicates": {"jaccard": 0.5}}},
            "data.mixture, rows: curate.near_duplicates is set, but it is the same for all sources. Set it in the section curate",
        ),
        ({"curate": {"lenght": True}}, "curate.lenght"),
        (
            {"multi_column_keys": ["text", "origin"]},
            "the template reads a column called origin, which `whelp curate` writes itself",
        ),
        ({"curate": {"length": {"min_characters": 10**6}}}, "no document of rows is kept of 12 (12 length: too short)"),
    ],
)
def test_mistakes_in_a_mixture(
    whelp: Whelp, rows: list[dict[str, Any]], entry: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Said in words."""
    write_recipe(tmp_path / "recipe.yaml", {"mixture": [{"source": "rows.jsonl", **entry}]})
    outcome = whelp("curate", "recipe.yaml", "--out", "clean")
    assert outcome.code == 1
    assert message in outcome.said


def test_without_a_place(whelp: Whelp) -> None:
    """Wrong usage."""
    assert whelp("curate", "--source", "rows.jsonl").code == 2


def test_one_rule_that_drops_much_is_said(whelp: Whelp, tmp_path: Path) -> None:
    """A new user should not lose most of the text unawares: whole books, say, to a rule made for pages of the web."""
    write_rows(tmp_path / "rows.jsonl", [*make_rows(), {"url": "long", "text": "The dog said that it is the one. " * 200}])
    said = whelp(
        "curate", "--source", "rows.jsonl", "--out", "clean", "curate.preset=none", "curate.length.max_characters=900"
    ).said
    assert "of the text was dropped by one rule, length: look at it in clean/dropped; other numbers: curate.length" in said
    said = whelp(
        "curate", "--source", "rows.jsonl", "--out", "whole", "curate.preset=none", "curate.length.max_characters=9000"
    ).said
    assert "dropped by one rule" not in said
