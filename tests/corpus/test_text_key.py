"""A column that is asked for by name must be in some file; columns that nobody named need the one of the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whelp.base.errors import SourceError
from whelp.corpus import Source, SourceConfig, open_source

from .test_source import write


@dataclass(frozen=True)
class Shape:
    """A column of one's own, and a question that is of no use without its answer."""

    schema: pa.Schema = field(
        default_factory=lambda: pa.schema([(name, pa.large_string()) for name in ("content", "question", "answer", "text")])
    )
    companions: Mapping[str, str] = field(default_factory=lambda: {"question": "answer"})
    named: Mapping[str, str] = field(default_factory=dict)

    def find_bad(self, rows: pa.RecordBatch) -> Mapping[int, Any]:
        """None."""
        return {}


ROWS = {
    "a.jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
    "a.json": json.dumps,
    "a.csv": lambda rows: ",".join(rows[0]) + "\n" + "".join(",".join(row.values()) + "\n" for row in rows),
}


def make(folder: Path, name: str, rows: list[dict[str, str]], **options: Any) -> Source:
    """A file of rows, opened."""
    folder.mkdir(exist_ok=True)
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    else:
        write(folder, {name: ROWS[name](rows)})
    return open_source(SourceConfig(source=str(folder / name), **options), Shape())


def read(source: Source) -> list[dict[str, Any]]:
    """What is in the rows, without nulls and places."""
    rows = [row for partition in source.iter_partitions() for row in partition.batch.to_pylist()]
    return [{name: row[name] for name in row if name not in ("file_index", "line") and row[name] is not None} for row in rows]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_a_key_that_no_file_has(tmp_path: Path, name: str) -> None:
    """A misspelt name is an error that names the nearest column, also where another candidate would do."""
    rows = [{"title": "t", "contents": "c", "text": "x"}] * 3
    message = (
        r"has no column 'content'; it has contents, (text, title|title, text), but expected the column of data.custom_text_key"
    )
    with pytest.raises(SourceError, match=message):
        make(tmp_path, name, rows, custom_text_key="content")
    assert read(make(tmp_path, name, rows)) == [{"text": "x"}] * 3


def test_a_key_that_comes_late(tmp_path: Path) -> None:
    """One row of one file that has it is enough; rows without it are for the next way to make text of them."""
    rows = [{"text": str(number)} for number in range(500)] + [{"content": "c"}]
    assert read(make(tmp_path, "a.jsonl", rows, custom_text_key="content"))[-2:] == [{"text": "499"}, {"content": "c"}]
    write(tmp_path, {"some/a.jsonl": '{"text": "x"}\n', "some/b.jsonl": '{"content": "c"}\n', "some/c.txt": "plain"})
    source = open_source(SourceConfig(source=str(tmp_path / "some"), custom_text_key="content"), Shape())
    assert read(source) == [{"text": "x"}, {"content": "c"}, {"text": "plain"}]
    write(tmp_path, {"none/a.jsonl": '{"text": "x"}\n', "none/b.jsonl": '{"text": "c"}\n'})
    with pytest.raises(
        SourceError, match="the first of 2 files, none of which has that column, has no column 'content'; it has text"
    ):
        open_source(SourceConfig(source=str(tmp_path / "none"), custom_text_key="content"), Shape())


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_a_question_without_the_column_of_its_answer(tmp_path: Path, name: str) -> None:
    """It is passed over, never the whole text: another column is taken, or the file is refused with what to set."""
    rows = [{"question": "q", "context": "c", "response": "r"}] * 3
    message = r"3 columns hold text: .*, but expected rows with text. Set data.custom_text_key .*, or data.multi_column_keys"
    with pytest.raises(SourceError, match=message):
        make(tmp_path, name, rows)
    assert read(make(tmp_path, name, [{**row, "text": "x"} for row in rows])) == [{"text": "x"}] * 3
    assert read(make(tmp_path, name, [{"question": "q", "answer": "a"}])) == [{"question": "q", "answer": "a"}]


def test_an_answer_that_comes_late(tmp_path: Path) -> None:
    """Of JSON lines, the first that has an answer may be far down."""
    rows = [{"question": "q"}] * 300 + [{"question": "q", "answer": "a"}]
    found = read(make(tmp_path, "a.jsonl", rows))
    assert (len(found), found[0], found[-1]) == (301, {"question": "q"}, {"question": "q", "answer": "a"})
