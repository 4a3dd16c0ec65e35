"""Damaged and unusual data through the terminal: one clear error, or left out and counted; good rows are never lost."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import whelp as package
from whelp.artifacts.token_store import open_store
from whelp.tokenizer import load_tokenizer

from .helpers import Outcome, Whelp

GOOD = [{"text": f"row {number}", "answer": f"yes, {number}"} for number in range(40)]
TEMPLATES: dict[str, dict[str, Any]] = {
    "one column": {},
    "columns": {"multi_column_keys": ["text", "answer"], "multi_column_train_mask": [False, True]},
    "pieces": {"pieces": [{"column": "text", "train": False}, {"text": " -> "}, {"column": "answer"}]},
}
AFTER = {"one column": "", "columns": "\n\n{answer}", "pieces": " -> {answer}"}


def as_lines(*bad: str | bytes) -> bytes:
    """The good rows as JSON lines, bad ones in their middle, from line 21 on."""
    good = [json.dumps(row).encode() for row in GOOD]
    middle = [line.encode() if isinstance(line, str) else line for line in bad]
    return b"\n".join([*good[:20], *middle, *good[20:]]) + b"\n"


def as_csv(*bad: str, encoding: str = "utf-8") -> bytes:
    """The good rows as CSV, bad ones at its end, from row 41 on."""
    lines = ["text,answer", *(f'{row["text"]},"{row["answer"]}"' for row in GOOD), *bad]
    return ("\n".join(lines) + "\n").encode(encoding)


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def prepare(whelp: Whelp, name: str, content: bytes, template: str = "one column", **data: Any) -> Outcome:
    """Prepare one file in the current folder."""
    Path(name).write_bytes(content)
    recipe = {
        "data": {
            "source": name,
            "tokenizer": {"learn": "bpe", "vocab_size": 300},
            "test_split": 0,
            **TEMPLATES[template],
            **data,
        }
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    return whelp("prepare", "recipe.yaml", "--out", "store", "--json")


def read_texts(folder: str = "store") -> list[str]:
    """Every document of a store, without what follows it."""
    store = open_store(Path(folder))
    split, vocabulary = store.split("train"), load_tokenizer(store.tokenizer_folder)
    return [vocabulary.decode(split.document(index)["input_ids"]) for index in range(split.num_documents)]


def expect(template: str) -> list[str]:
    """The texts of the good rows."""
    return [row["text"] + AFTER[template].format(**row) for row in GOOD]


def said_once(outcome: Outcome, *words: str) -> None:
    """Exactly one error, with these words, nothing of Python's, and no store."""
    assert outcome.code == 1, outcome.stderr
    assert "Traceback" not in outcome.stderr
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, outcome.stderr
    for word in words:
        assert word in errors[0], errors[0]
    assert not Path("store", "manifest.json").exists()


BAD_ROWS = {
    "broken JSON": ("a.jsonl", as_lines('{"text": "a'), "line 21: broken JSON (unterminated string starting at column 10)"),
    "a raw NUL in JSON": ("a.jsonl", as_lines(b'{"text": "a\x00b", "answer": "c"}'), "line 21: broken JSON (control character"),
    "Latin-1 in JSON": ("a.jsonl", as_lines(b'{"text": "caf\xe9", "answer": "c"}'), "line 21: not UTF-8 text (byte 0xe9"),
    "no object": ("a.jsonl", as_lines("[1]"), "line 21: a list, but expected a JSON object"),
    "a number": ("a.jsonl", as_lines('{"text": 5.5, "answer": "c"}'), "line 21: 'text' is a number"),
    "an object": ("a.jsonl", as_lines('{"text": {"a": "b"}, "answer": "c"}'), "line 21: 'text' is an object"),
    "a list": ("a.jsonl", as_lines('{"text": ["a"], "answer": "c"}'), "line 21: 'text' is a list"),
    "half a character": ("a.jsonl", as_lines(r'{"text": "\ud800", "answer": "c"}'), "line 21: 'text' holds half of a surr"),
    "null": ("a.jsonl", as_lines('{"text": null, "answer": null}'), "line 21: "),
    "other columns": ("a.jsonl", as_lines('{"x": "y"}'), "line 21: "),
    "null of Parquet": ("a.parquet", as_parquet([*GOOD, {"text": None, "answer": None}]), "row 41: "),
    "too few fields": ("a.csv", as_csv("x"), "row 41 (line 42): 1 field, but expected 2, as in the header"),
    "too many fields": ("a.csv", as_csv("x,y,z"), "row 41 (line 42): 3 fields, but expected 2"),
    "broken UTF-8 in CSV": (
        "a.csv",
        codecs.BOM_UTF8 + as_csv("café,x", encoding="latin-1"),
        "row 41 (line 42): 'text' is not UTF-8",
    ),
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row(whelp: Whelp, case: str, template: str) -> None:
    """It stops the work by its place; asked to, it is left out, counted and kept aside, and all good rows are there."""
    name, content, words = BAD_ROWS[case]
    said_once(prepare(whelp, name, content, template), name, words, "set data.on_bad_rows=skip")
    done = prepare(whelp, name, content, template, on_bad_rows="skip")
    assert done.code == 0, done.stderr
    notes = done.json["ledger"]["notes"]
    assert sum(count for note, count in notes.items() if note.startswith("rows skipped: ")) == 1
    (skipped,) = map(json.loads, Path("store", "bad_rows.jsonl").read_text().splitlines())
    assert (skipped["file"], skipped["number"]) == (name, 21 if name == "a.jsonl" else 41)
    assert read_texts() == expect(template)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mark.jsonl", b"\xef\xbb\xbf" + as_lines()),
        ("mark.json", b"\xef\xbb\xbf" + json.dumps(GOOD).encode()),
        ("mark.csv", b"\xef\xbb\xbf" + as_csv()),
        ("ends.jsonl", as_lines().replace(b"\n", b"\r\n")),
        ("ends.csv", as_csv().replace(b"\n", b"\r\n")),
        ("blank.jsonl", as_lines("", " ", "")),
        ("wide.jsonl", as_lines().decode().encode("utf-16")),
        ("no-end.jsonl", as_lines()[:-1]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unusual_but_good(whelp: Whelp, name: str, content: bytes, template: str) -> None:
    """A byte order mark, CR LF, blank lines, UTF-16, no line end at the end: the same rows, nothing of it in their texts."""
    done = prepare(whelp, name, content, template)
    assert done.code == 0, done.stderr
    assert read_texts() == expect(template)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", as_lines(r'{"text": "a\u0000b", "answer": "yes, x"}')),
        ("a.csv", as_csv('a\x00b,"yes, x"')),
        ("a.parquet", as_parquet([*GOOD, {"text": "a\x00b", "answer": "yes, x"}])),
    ],
    ids=["JSON", "CSV", "Parquet"],
)
def test_nul_in_a_value(whelp: Whelp, name: str, content: bytes, template: str) -> None:
    """A NUL character in a value is a character like any other; a text does not end there."""
    assert prepare(whelp, name, content, template).code == 0
    found = read_texts()
    text = "a\x00b" + AFTER[template].format(answer="yes, x")
    assert sorted(found) == sorted([*expect(template), text])


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cut.jsonl.gz", gzip.compress(as_lines() * 200)[:-30], ["cut off or broken gzip data", "Get a whole copy"]),
        ("cut.csv.gz", gzip.compress(as_csv() * 200)[:-30], ["cut off or broken gzip data"]),
        ("cut.parquet", as_parquet(GOOD)[:-20], ["cut off or broken Parquet data"]),
        ("not.parquet", b"text", ["cut off or broken Parquet data"]),
        ("empty.jsonl", b"", ["the file is empty"]),
        ("empty.json", b"", ["the file is empty"]),
        ("empty.csv", b"", ["the file is empty"]),
        ("empty.parquet", b"", ["the file is empty"]),
        ("empty.jsonl.gz", b"", ["the file is empty"]),
        ("nothing.jsonl.gz", gzip.compress(b""), ["no row has any text"]),
        ("blank.jsonl", b"\n\n \n", ["no row has any text"]),
        ("header.csv", b"text,answer\n", ["no row has any text"]),
        ("none.json", b"[]", ["an array without objects"]),
        ("quote.csv", as_csv('"never closed,x', "a,b", "c,d"), ["row 41"]),
        ("other.csv", b"x,y\n" + b"a,b\n" * 40, ["other.csv: has no"]),
        ("other.jsonl", b'{"x": "a", "y": "b"}\n' * 40, ["other.jsonl: has no"]),
        ("number.parquet", as_parquet([{"text": 1.5, "answer": 2}] * 9), ["its column text holds double"]),
        (
            "nested.parquet",
            as_parquet([{"text": {"a": "b"}, "answer": ["c"]}] * 9),
            ["its column text holds an object with a, not text"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_file(whelp: Whelp, name: str, content: bytes, words: list[str], template: str) -> None:
    """A file that is damaged, empty or of other columns is one error, also where bad rows are skipped."""
    said_once(prepare(whelp, name, content, template, on_bad_rows="skip"), name, *words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cut.txt.gz", gzip.compress(b"some words of text " * 5000)[:-30], "cut off or broken gzip data"),
        ("latin.txt", "café au lait ".encode("latin-1") * 50, "not utf-8 text, first bad byte 0xe9"),
        ("nul.txt", b"before\x00after" * 50, "contains NUL bytes (first at byte 6)"),
    ],
)
def test_a_bad_text_file(whelp: Whelp, name: str, content: bytes, words: str) -> None:
    """Text that is damaged, in another encoding than the one named, or none."""
    encoding = {"encoding": "utf-8"} if name == "latin.txt" else {}
    outcome = prepare(whelp, name, content, **encoding)
    said_once(outcome, name)
    assert words.split(", ")[0] in outcome.said


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_end_token_in_the_text(whelp: Whelp, template: str) -> None:
    """Spelled in a user's text it is text: one end for each document; with special_tokens_in_text it is the end token."""
    spelled = [{"text": f"one <|endoftext|> {number}", "answer": f"<|endoftext|>two{number}"} for number in range(30)]
    content = "".join(json.dumps(row) + "\n" for row in spelled).encode()
    for is_control in (False, True):
        assert prepare(whelp, "a.jsonl", content, template, special_tokens_in_text=is_control).code == 0
        store = open_store(Path("store"))
        split, vocabulary = store.split("train"), load_tokenizer(store.tokenizer_folder)
        num_spelled = 1 if template == "one column" else 2
        for index, row in enumerate(spelled):
            ids = split.document(index)["input_ids"]
            assert (ids == vocabulary.eos_id).sum() == 1 + is_control * num_spelled
            text = row["text"] + AFTER[template].format(**row) + "<|endoftext|>"
            assert vocabulary.decode(ids, skip_special=False) == text


@pytest.mark.parametrize("name", ["line.txt", "line.jsonl", "line.csv"])
def test_a_very_long_line(tmp_path: Path, name: str) -> None:
    """One line of megabytes is one document, whole, in memory of a few times its size.

    The environment variable WHELP_LONG_LINE_MEGABYTES makes it longer than 2, for a try of its own.
    """
    megabytes = int(os.environ.get("WHELP_LONG_LINE_MEGABYTES", "2"))
    num_words = megabytes * 100_000
    text = "0123 5678 " * num_words
    wrapped = {"line.txt": text, "line.jsonl": json.dumps({"text": text}), "line.csv": f"text,n\n{text},1"}[name]
    (tmp_path / name).write_text(wrapped + "\n")
    (tmp_path / "little.txt").write_text("0123 5678 " * 50)
    peaks = {}
    for source in ("little.txt", name):
        document = ["data.document=line"] if source.endswith(".txt") else []
        overrides = ["data.tokenizer.learn=chars", "data.test_split=0", *document]
        (tmp_path / "recipe.yaml").write_text(f"data: {{source: {source}}}\n")
        command = (
            "import resource, sys; from whelp.cli.prepare import prepare; "
            "result = prepare('recipe.yaml', out=sys.argv[1], overrides=sys.argv[2:]); "
            "print(result.splits['train']['tokens'], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
        )
        done = subprocess.run(
            [sys.executable, "-c", command, f"store-{source}", *overrides],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        num_tokens, peaks[source] = map(int, done.stdout.split())
    assert num_tokens == 10 * num_words + 1
    assert peaks[name] - peaks["little.txt"] < 40 * len(text) + 64_000_000
