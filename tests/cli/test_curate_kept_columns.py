"""Columns kept beside the text: any type, in every format, equal to what Python's own parser reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .helpers import Whelp

COLUMNS = ["id", "score", "meta", "flag", "mixed", "url", "nothing", "big"]
KEEP = f"curate.keep_columns=[{','.join(COLUMNS)}]"


def make_rows(count: int = 12) -> list[dict[str, Any]]:
    """Rows whose columns are of every kind, some null, one of no single kind."""
    return [
        {
            "text": f"Document {number} says that {number * number} young dogs ate {number + 3} bones before noon.",
            "id": number,
            "score": number / 7,
            "meta": {"tags": [f"ü{number}", None], "deep": {"x": [[number]]}},
            "flag": number % 2 == 0,
            "mixed": [number, 'a "b"', None, {"y": 1}][number % 4],
            "url": None if number == 5 else f"https://example.org/{number}",
            "nothing": None,
            "big": 10**25 + number,
        }
        for number in range(count)
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def curate(whelp: Whelp, folder: Path, source: str, keep: str = KEEP, **options: str) -> Path:
    """The folder of the kept rows."""
    more = [f"curate.{name}={value}" for name, value in options.items()]
    whelp("curate", "--source", source, "--out", f"clean-{source}", "curate.preset=rows", keep, *more)
    return folder / f"clean-{source}" / "kept"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_every_value_of_json_as_it_was(name: str, whelp: Whelp, tmp_path: Path) -> None:
    """Numbers stay numbers, whole ones whole, however long; lists, objects and null too."""
    rows = make_rows()
    if name == "rows.json":
        (tmp_path / name).write_text(json.dumps(rows), encoding="utf-8")
    else:
        write_lines(tmp_path / name, rows)
    kept = curate(whelp, tmp_path, name)
    found = [json.loads(line) for line in (kept / "00000.jsonl").read_text("utf-8").splitlines()]
    assert [{column: row[column] for column in COLUMNS} for row in found] == [
        {column: row[column] for column in COLUMNS} for row in rows
    ]
    assert [type(row["id"]) for row in found] == [int] * len(rows)


@pytest.mark.parametrize("column", ["id", "url", "flag"])
def test_a_column_of_one_kind(column: str, whelp: Whelp, tmp_path: Path) -> None:
    """Arrow's parser reads it; a value of another kind later on changes nothing."""
    rows = [{"text": row["text"], column: row[column]} for row in make_rows()]
    write_lines(tmp_path / "plain.jsonl", rows)
    rows[7][column] = [1.5]
    write_lines(tmp_path / "odd.jsonl", rows)
    for source in ("plain.jsonl", "odd.jsonl"):
        kept = curate(whelp, tmp_path, source, f"curate.keep_columns=[{column}]")
        found = [json.loads(line) for line in (kept / "00000.jsonl").read_text("utf-8").splitlines()]
        expected = [json.loads(line)[column] for line in (tmp_path / source).read_text("utf-8").splitlines()]
        assert [row[column] for row in found] == expected


def test_parquet_in_and_out_keeps_types(whelp: Whelp, tmp_path: Path) -> None:
    """A type where all values have one; text where they do not. Dates are written as ISO writes them."""
    rows = [{name: value for name, value in row.items() if name != "big"} for row in make_rows()]
    write_lines(tmp_path / "rows.jsonl", rows)
    keep = KEEP.replace(",big", "")
    table = pq.read_table(curate(whelp, tmp_path, "rows.jsonl", keep, format="parquet") / "00000.parquet")
    types = {field.name: field.type for field in table.schema}
    assert (types["id"], types["score"], types["flag"]) == (pa.int64(), pa.float64(), pa.bool_())
    assert types["meta"] == pa.array([rows[0]["meta"]]).type
    assert [types[name] for name in ("mixed", "url", "nothing")] == [pa.large_string()] * 3
    for name in ("id", "score", "flag", "meta", "url", "nothing"):
        assert table.column(name).to_pylist() == [row[name] for row in rows], name
    assert table.column("mixed").to_pylist()[:4] == ["0", 'a "b"', None, '{"y": 1}']

    day = pa.array([86_400_000_000 * number for number in range(len(rows))], pa.timestamp("us"))
    source = table.select(["text", "id", "meta"]).append_column("day", day)
    pq.write_table(source, tmp_path / "rows.parquet")
    kept = curate(whelp, tmp_path, "rows.parquet", "curate.keep_columns=[id,meta,day]")
    found = [json.loads(line) for line in (kept / "00000.jsonl").read_text("utf-8").splitlines()]
    assert [(row["id"], row["meta"]) for row in found] == [(row["id"], row["meta"]) for row in rows]
    assert found[1]["day"] == "1970-01-02T00:00:00"


def test_another_id_is_another_corpus(whelp: Whelp, tmp_path: Path) -> None:
    """What is kept beside the text counts as input: a corpus of other ids is made again, rows without text stay bad."""
    rows = make_rows()
    write_lines(tmp_path / "rows.jsonl", rows)
    kept = curate(whelp, tmp_path, "rows.jsonl", "curate.keep_columns=[id]")
    rows[0]["id"] = 99
    write_lines(tmp_path / "rows.jsonl", rows)
    curate(whelp, tmp_path, "rows.jsonl", "curate.keep_columns=[id]")
    assert json.loads((kept / "00000.jsonl").read_text("utf-8").splitlines()[0])["id"] == 99
    rows[3] = {"id": 3}
    write_lines(tmp_path / "bad.jsonl", rows)
    outcome = whelp("curate", "--source", "bad.jsonl", "--out", "bad", "curate.keep_columns=[id]")
    assert outcome.code == 1
    assert "bad.jsonl" in outcome.stderr
    assert "line 4" in outcome.stderr
