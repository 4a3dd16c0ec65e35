"""What a source says of files that have different columns."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whelp.base.errors import SourceError
from whelp.corpus import SourceConfig, open_source

QUESTION = {"question": "Why?", "answer": "So.", "id": 7}


def write_lines(path: Path, *rows: object) -> None:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of every format; three of them have questions and answers, in JSON and Parquet."""
    write_lines(tmp_path / "a.jsonl.gz", QUESTION, QUESTION)
    (tmp_path / "b.json").write_text(json.dumps([QUESTION]), encoding="utf-8")
    (tmp_path / "c.csv").write_text("text,note\nhello,there\n", encoding="utf-8")
    pq.write_table(pa.table({"question": ["Who?"], "answer": ["He."], "n": [1]}), tmp_path / "d.parquet")
    (tmp_path / "e.txt").write_text("plain text", encoding="utf-8")
    pq.write_table(pa.table({"n": [1]}), tmp_path / "f.parquet")
    write_lines(tmp_path / "g.jsonl", {"text": "good"}, {"text": None})
    (tmp_path / "h.jsonl").write_text("no JSON\n", encoding="utf-8")
    return tmp_path


def test_columns_of_all_files(folder: Path) -> None:
    """Files with the same columns of text are one kind; those that cannot be read, and plain text, are of none."""
    source = open_source(SourceConfig(source=str(folder / "*.*"), custom_text_key="text"))
    assert source.say_columns() == [
        "a.jsonl.gz, b.json, d.parquet: question, answer",
        "c.csv: text, note",
        "f.parquet: none",
        "g.jsonl: text",
    ]


def test_a_row_without_text_among_different_files(folder: Path) -> None:
    """Where the work stops at a row that has no text, the error says which files have which columns, and what to write."""
    with pytest.raises(SourceError) as caught:
        list(open_source(SourceConfig(source=str(folder / "[cdg].*"))).iter_partitions())
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("g.jsonl, line 2: 'text' is null, but expected text.")
    assert lines[1:5] == [
        "The files of this source have different columns of text:",
        "  c.csv: text, note",
        "  d.parquet: question, answer",
        "  g.jsonl: text",
    ]
    assert "data.multi_column_keys" in lines[5]
    assert "data.mixture" in lines[5]


def test_a_bad_row_says_nothing_of_columns(folder: Path) -> None:
    """Files that are alike are not listed, nor are columns where a row is bad for another reason."""
    write_lines(folder / "i.jsonl", {"text": "good"}, {"text": 5})
    for names, words in (("[gi].jsonl", "g.jsonl, line 2: 'text' is null"), ("[ci].*", "i.jsonl, line 2: 'text' is a number")):
        with pytest.raises(SourceError) as caught:
            list(open_source(SourceConfig(source=str(folder / names))).iter_partitions())
        assert str(caught.value).startswith(words)
        assert "\n" not in str(caught.value)
