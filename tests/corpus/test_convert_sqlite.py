"""Tables of SQLite databases as rows."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import whelp
from growing import finish_with_stops
from whelp.base.errors import ConfigError, SourceError


def make(path: Path, *statements: str, rows: list[tuple[Any, ...]] = ()) -> Path:  # type: ignore[assignment]
    """A database; `rows` go into the table that the last statement makes."""
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
        for row in rows:
            database.execute(f"INSERT INTO tickets VALUES ({', '.join('?' * len(row))})", row)
    database.close()
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


TICKETS = 'CREATE TABLE tickets (id INTEGER PRIMARY KEY, "the body" TEXT, score REAL, any, data BLOB)'
ROWS = [(1, "Für Köln", 0.5, 7, b"bytes"), (2, None, None, "seven", None), (3, "x\ny", 1.0, b"\xff", None)]


def test_a_table(tmp_path: Path) -> None:
    """Its columns in their order, whatever the path is called; a column of several kinds is text."""
    (tmp_path / "Übung #1").mkdir()
    path = make(tmp_path / "Übung #1" / "my tickets?.db", TICKETS, rows=ROWS)
    result = whelp.convert(path, out=tmp_path / "rows.jsonl")
    assert read(tmp_path / "rows.jsonl") == [
        {"id": 1, "the body": "Für Köln", "score": 0.5, "any": "7", "data": "bytes"},
        {"id": 2, "the body": None, "score": None, "any": "seven", "data": None},
        {"id": 3, "the body": "x\ny", "score": 1.0, "any": "\\xff", "data": None},
    ]
    assert result.num_rows == 3
    whelp.convert(path, out=tmp_path / "texts.txt", columns="the body", separator="\n%%\n")
    assert (tmp_path / "texts.txt").read_text(encoding="utf-8") == "Für Köln\n%%\nx\ny\n%%\n"


def test_several_tables(tmp_path: Path) -> None:
    """One must be named; a view will do."""
    path = make(tmp_path / "a.sqlite", "CREATE TABLE other (a)", "CREATE VIEW bodies AS SELECT 'b' AS body", TICKETS, rows=ROWS)
    with pytest.raises(
        SourceError, match=r"holds 3 tables: bodies, other, tickets, but expected one table\. Choose with --table"
    ):
        whelp.convert(path, out=tmp_path / "x.jsonl")
    with pytest.raises(SourceError, match=r"has no table 'ticket', but expected one of bodies, other, tickets"):
        whelp.convert(path, out=tmp_path / "x.jsonl", table="ticket")
    whelp.convert(path, out=tmp_path / "y.jsonl", table="bodies")
    assert read(tmp_path / "y.jsonl") == [{"body": "b"}]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """No database, an empty one, no file, and a table asked of other files."""
    (tmp_path / "a.db").write_text("no database, but long enough to be looked at" * 20)
    with pytest.raises(SourceError, match=r"a\.db: cannot be read \(file is not a database\)"):
        whelp.convert(tmp_path / "a.db", out=tmp_path / "x.jsonl")
    with pytest.raises(SourceError, match="holds no table"):
        whelp.convert(make(tmp_path / "b.db"), out=tmp_path / "x.jsonl")
    with pytest.raises(SourceError, match="has no column text, but expected one of id, the body"):
        whelp.convert(make(tmp_path / "c.db", TICKETS, rows=ROWS), out=tmp_path / "x.jsonl", columns=["text"])
    (tmp_path / "d.csv").write_text("a\nb\n")
    with pytest.raises(ConfigError, match="no file is a SQLite database"):
        whelp.convert(tmp_path / "d.csv", out=tmp_path / "x.jsonl", table="a")


def test_stopped_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same bytes."""
    path = make(tmp_path / "a.db", TICKETS, rows=[(n, f"text {n}", 0.0, n, None) for n in range(9000)])
    whelp.convert(path, out=tmp_path / "whole.jsonl")
    result, num_stops = finish_with_stops(lambda: whelp.convert(path, out=tmp_path / "again.jsonl"), monkeypatch, every=3)
    assert num_stops >= 2
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert result.num_rows == 9000
