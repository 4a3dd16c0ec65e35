"""Rows that are skipped are kept in a file of the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whelp.cli.prepare import iter_prepare
from whelp.cli.recipe import load_recipe
from whelp.corpus import source as corpus_source
from whelp.prepare.encode import PrepareReport

from .helpers import Whelp

GOOD = "".join(json.dumps({"text": f"a good row {number}"}) + "\n" for number in range(40))
BAD = ['{"text": 1}', "{broken", '{"text": null, "é": "\\ud800"}', '{"text": "a\xff"}']


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Rows with bad ones between them, and a recipe that skips them."""
    lines = "".join(GOOD + line + "\n" for line in BAD)
    (tmp_path / "rows.jsonl").write_bytes(lines.encode("latin-1"))
    path = tmp_path / "recipe.yaml"
    path.write_text("data: {source: rows.jsonl, tokenizer: {learn: chars}, on_bad_rows: skip}\n")
    return path


def read(store: Path) -> list[dict[str, Any]]:
    """What the file holds."""
    return [json.loads(line) for line in (store / "bad_rows.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_file(whelp: Whelp, recipe: Path, tmp_path: Path) -> None:
    """One object a row: where, why, and the row; the terminal and the ledger name the file."""
    done = whelp("prepare", recipe, "--out", tmp_path / "store", "--json")
    assert "skipped rows written to bad_rows.jsonl: 4" in done.said
    assert done.json["ledger"]["notes"]["skipped rows written to bad_rows.jsonl"] == 4
    rows = read(tmp_path / "store")
    assert [row["number"] for row in rows] == [41, 82, 123, 164]
    assert rows[0] == {
        "file": "rows.jsonl",
        "number": 41,
        "reason": "a value that is not text",
        "found": "'text' is a number",
        "text": '{"text": 1}',
    }
    assert [row["text"] for row in rows[1:]] == ["{broken", r'{"text": null, "\xe9": "\ud800"}', r'{"text": "a\xff"}']


def test_it_follows_the_rows(whelp: Whelp, recipe: Path, tmp_path: Path) -> None:
    """Made again with the store; gone when no row is bad any more."""
    store = tmp_path / "store"
    assert whelp("prepare", recipe, "--out", store).code == 0
    (tmp_path / "rows.jsonl").write_text(GOOD + BAD[0] + "\n")
    assert whelp("prepare", recipe, "--out", store).code == 0
    assert [row["number"] for row in read(store)] == [41]
    (tmp_path / "rows.jsonl").write_text(GOOD)
    assert "bad_rows" not in whelp("prepare", recipe, "--out", store).stderr
    assert not (store / "bad_rows.jsonl").exists()


def test_it_is_whole_when_parts_are_reused(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was stopped half-way and went on has every row once."""
    monkeypatch.setattr(corpus_source.Source.iter_partitions, "__defaults__", (500, 1 << 20))
    loaded = load_recipe(recipe)
    started = iter_prepare(loaded, tmp_path / "store")
    num_seen = 0
    for event in started:
        num_seen += isinstance(event, PrepareReport)
        if num_seen == 3:
            break
    started.close()
    reports = [event for event in iter_prepare(loaded, tmp_path / "store") if isinstance(event, PrepareReport)]
    assert all(report.is_reused for report in reports[:3])
    assert [row["number"] for row in read(tmp_path / "store")] == [41, 82, 123, 164]
