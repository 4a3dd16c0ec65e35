"""Whole numbers, true and false in columns that the user names: the same text from every format, counted; never a guess."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from whelp.base.errors import SourceError
from whelp.corpus import Source, SourceConfig, open_source

from .test_row_shape import as_csv, as_lines, as_parquet, read_values
from .test_source import read_notes, write

pd = pytest.importorskip("pandas", reason="needs pandas: pip install pandas")

ROWS: list[dict[str, Any]] = [
    {"label": value, "is_new": truth, "body": f"b{value}"}
    for value, truth in [(7, True), (-3, False), (0, True), (2**63 - 1, False), (-(2**63), True), (1900, True)] * 4
]
AS_TEXT = [{"label": str(row["label"]), "is_new": json.dumps(row["is_new"]), "body": row["body"]} for row in ROWS]
NOTES = {"column label: whole numbers, read as text": 24, "column is_new: true or false, read as text": 24}


def as_ipc(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def as_dictionaries(rows: list[dict[str, Any]]) -> bytes:
    table = pa.Table.from_pylist(rows)
    return as_ipc(pa.table({name: table.column(name).combine_chunks().dictionary_encode() for name in table.column_names}))


FORMATS = {
    "a.jsonl": as_lines,
    "a.json": lambda rows: json.dumps(rows).encode(),
    "a.parquet": as_parquet,
    "a.arrow": lambda rows: as_ipc(pa.Table.from_pylist(rows)),
    "dictionaries.arrow": as_dictionaries,
}


@dataclass(frozen=True)
class Shape:
    """Three columns that the user names, and one that nobody does."""

    schema: pa.Schema = pa.schema([(name, pa.large_string()) for name in ("label", "is_new", "body", "output")])
    companions: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, str] = field(
        default_factory=lambda: dict.fromkeys(("label", "is_new", "body"), "data.multi_column_keys")
    )

    def find_bad(self, rows: pa.RecordBatch) -> Mapping[int, Any]:
        """None."""
        return {}


def make(path: Path, **options: Any) -> Source:
    """A source of the columns of `Shape`."""
    return open_source(SourceConfig(source=str(path), **options), Shape())


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_text_from_every_format(tmp_path: Path, name: str) -> None:
    """Digits, `true` and `false`, counted by column; rows and fingerprints are those of a CSV file that has them as text."""
    write(tmp_path, {"given/a.csv": as_csv(AS_TEXT), name: FORMATS[name](ROWS)})
    expected = read_values(make(tmp_path / "given" / "a.csv"))
    assert expected == AS_TEXT
    source = make(tmp_path / name)
    for block_bytes in (30, 1 << 20):
        assert read_values(source, block_bytes=block_bytes) == expected
        assert read_notes(source, block_bytes=block_bytes) == NOTES
    one_by_one, whole = (list(source.iter_partitions(block_bytes=block_bytes)) for block_bytes in (30, 1 << 20))
    assert [part.fingerprint for part in one_by_one] == [part.fingerprint for part in whole]


@pytest.mark.parametrize("name", FORMATS)
def test_a_text_of_numbers(tmp_path: Path, name: str) -> None:
    """A column that `custom_text_key` names may hold numbers; nulls are bad rows as ever, and not counted as numbers."""
    rows = [{"year": 1984, "title": "a"}, {"year": None, "title": "b"}, {"year": 2001, "title": "c"}]
    write(tmp_path, {name: FORMATS[name](rows)})
    options: dict[str, Any] = {"source": str(tmp_path / name), "custom_text_key": "year", "on_bad_rows": "skip"}
    assert read_values(open_source(SourceConfig(**options))) == [{"text": "1984"}, {"text": "2001"}]
    assert read_notes(open_source(SourceConfig(**options))) == {
        "column year: whole numbers, read as text": 2,
        "rows skipped: null or missing text": 1,
    }


@pytest.mark.parametrize("name", FORMATS)
def test_numbers_are_no_guess(tmp_path: Path, name: str) -> None:
    """The only column of text is taken, whatever numbers stand beside it; a column of numbers that nobody named is refused."""
    write(tmp_path / "beside", {name: FORMATS[name]([{"id": 7, "is_new": True, "story": "once"}])})
    write(tmp_path / "alone", {name: FORMATS[name]([{"id": 7, "is_new": True}])})
    write(tmp_path / "text", {name: FORMATS[name]([{"text": 7}])})
    write(tmp_path / "output", {name: FORMATS[name]([{"body": "b", "output": 7}])})
    assert read_values(open_source(SourceConfig(source=str(tmp_path / "beside" / name)))) == [{"text": "once"}]
    with pytest.raises(SourceError, match="has no column 'text', and none holds text"):
        open_source(SourceConfig(source=str(tmp_path / "alone" / name)))
    remedy = "Name the column in data.custom_text_key, data.multi_column_keys or data.pieces, to have its whole numbers"
    with pytest.raises(SourceError, match=remedy):
        open_source(SourceConfig(source=str(tmp_path / "text" / name)))
    with pytest.raises(SourceError, match=rf"output.*{remedy}"):
        make(tmp_path / "output" / name)


def test_lines_of_several_kinds(tmp_path: Path) -> None:
    """Text, numbers of any length and null in one column, however the file is cut into blocks."""
    values = ["7", "-0", "12345678901234567890123", "null", "true", '"eight"', "9"]
    write(tmp_path, {"a.jsonl": "".join(f'{{"label": {value}, "body": "b"}}\n' for value in values)})
    source = make(tmp_path / "a.jsonl")
    for block_bytes in (10, 60, 1 << 20):
        labels = [row.get("label") for row in read_values(source, block_bytes=block_bytes)]
        assert labels == ["7", "0", "12345678901234567890123", None, "true", "eight", "9"]
        assert read_notes(source, block_bytes=block_bytes) == {
            "column label: whole numbers, read as text": 4,
            "column label: true or false, read as text": 1,
        }


@pytest.mark.parametrize("value", ["7.0", "1e3", "0.1", "1" * 5000])
@pytest.mark.parametrize("before", [0, 3])
def test_other_numbers_are_refused(tmp_path: Path, value: str, before: int) -> None:
    """A fraction or an exponent has no one text, also in a column that is named."""
    good = '{"label": 7, "body": "b"}\n'
    write(tmp_path, {"a.jsonl": good * before + f'{{"label": {value}, "body": "b"}}\n' + good})
    found = f"line {before + 1}: 'label' is a number that is not written as a whole one, but expected text, or a whole number"
    message = rf"{found}\. Write it in quotes, or"
    with pytest.raises(SourceError, match=message):
        make(tmp_path / "a.jsonl")
    source = make(tmp_path / "a.jsonl", on_bad_rows="skip")
    assert [row["label"] for row in read_values(source)] == ["7"] * (before + 1)
    assert read_notes(source)["rows skipped: a value that is not text"] == 1


def test_other_numbers_in_a_typed_column_are_refused(tmp_path: Path) -> None:
    """A whole column of them is refused, with what to do."""
    write(tmp_path, {"a.parquet": as_parquet([{"label": 7.0, "body": "b"}])})
    with pytest.raises(SourceError, match=r"its column label holds double.*`whelp convert FILE --out FILE\.csv`"):
        make(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "rows",
    [
        [{"label": 7, "is_new": True}, {"label": 8, "is_new": False}],
        [{"label": np.int16(7), "is_new": np.bool_(True)}, {"label": np.uint64(8), "is_new": np.bool_(False)}],
        pd.DataFrame({"label": [7, 8], "is_new": [True, False]}),
        pd.DataFrame({"label": pd.array([7, 8], "Int64"), "is_new": [True, False]}),
        pd.DataFrame({"label": ["7", 8], "is_new": [True, "false"]}),
        pa.table({"label": pa.array([7, 8], pa.uint8()), "is_new": [True, False]}),
    ],
    ids=["plain", "numpy", "frame", "frame of nullable numbers", "frame of several kinds", "table"],
)
def test_rows_of_python(rows: Any) -> None:
    """The same text from whatever holds the rows."""
    source = open_source(SourceConfig(), Shape(), rows=rows)
    assert read_values(source) == [{"label": "7", "is_new": "true"}, {"label": "8", "is_new": "false"}]
