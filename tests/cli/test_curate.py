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
    assert snapshot(tmp_path / "clean") == before


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
        (["--source", "rows.jsonl", "curate.length=7"], "curate.length is 7, but expected true or false or LengthConfig"),
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


def test_a_mixture_is_curated_source_by_source(whelp: Whelp, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """The error says how."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"data": {"mixture": [{"source": "rows.jsonl"}]}}))
    outcome = whelp("curate", "recipe.yaml", "--out", "clean")
    assert outcome.code == 1
    assert "the recipe has a mixture of sources. Curate each source by itself (--source)" in outcome.said


def test_without_a_place(whelp: Whelp) -> None:
    """Wrong usage."""
    assert whelp("curate", "--source", "rows.jsonl").code == 2
