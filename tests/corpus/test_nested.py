"""Text inside of columns: fields named with dots, and no guess where a file has such text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from whelp.base.errors import SourceError
from whelp.corpus import Source, SourceConfig, open_source
from whelp.corpus.nested import look_at_rows, look_at_schema

TICKETS = [
    {"id": 1, "created": "2024-03-01", "fields": {"subject": "Hi", "body": "It broke."}, "reply": {"by": {"name": "Bob"}}},
    {"id": 2, "created": "2024-03-02", "fields": None, "reply": {"by": {"name": "Eve"}}},
    {"id": 3, "created": "2024-03-03", "fields": {"subject": "Ho", "body": None}, "reply": None},
    {"id": 4, "created": "2024-03-04", "fields": {"subject": "Hu", "body": "Für Köln."}, "reply": {"by": None}},
]
SHAREGPT = [
    {"id": f"talk {n}", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?"}]} for n in range(3)
]
OPENAI = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]}]


@dataclass(frozen=True)
class Columns:
    """Columns of text that the user named."""

    names: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.large_string()) for name in self.names])

    @property
    def named(self) -> Mapping[str, str]:
        return dict.fromkeys(self.names, "data.multi_column_keys")

    companions: Mapping[str, str] = field(default_factory=dict)

    def find_bad(self, rows: pa.RecordBatch) -> Mapping[int, Any]:
        """None."""
        return {}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def write_array(path: Path, rows: list[dict[str, Any]]) -> Path:
    path = path.with_suffix(".json")
    path.write_text(json.dumps(rows))
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path = path.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_feather(path: Path, rows: list[dict[str, Any]]) -> Path:
    path = path.with_suffix(".arrow")
    feather.write_feather(pa.Table.from_pylist(rows), path)
    return path


Write = Callable[[Path, list[dict[str, Any]]], Path]
WRITERS = pytest.mark.parametrize("write", [write_lines, write_array, write_parquet, write_feather])


def read(source: Source, *names: str) -> list[Any]:
    """The texts of all rows."""
    rows = [row for partition in source.iter_partitions() for row in partition.batch.to_pylist()]
    return [tuple(row.get(name) for name in names) if len(names) > 1 else row.get(names[0]) for row in rows]


@WRITERS
def test_fields_of_objects(tmp_path: Path, write: Write) -> None:
    """They are columns; null where an object above them is."""
    path = write(tmp_path / "tickets", TICKETS)
    source = open_source(SourceConfig(source=str(path)), Columns(("fields.body", "reply.by.name", "created")))
    assert read(source, "fields.body", "reply.by.name", "created") == [
        ("It broke.", "Bob", "2024-03-01"),
        (None, "Eve", "2024-03-02"),
        (None, None, "2024-03-03"),
        ("Für Köln.", None, "2024-03-04"),
    ]


@WRITERS
def test_a_field_as_the_text(tmp_path: Path, write: Write) -> None:
    """A row without it is bad, as one without the column is."""
    path = write(tmp_path / "tickets", TICKETS)
    config = SourceConfig(source=str(path), custom_text_key="fields.body", on_bad_rows="skip")
    assert read(open_source(config), "text") == ["It broke.", "Für Köln."]
    with pytest.raises(SourceError, match=r"row 2|line 2"):
        read(open_source(SourceConfig(source=str(path), custom_text_key="fields.body")), "text")


def test_a_field_in_rows_of_python() -> None:
    """Frames, tables and dictionaries."""
    config = SourceConfig(custom_text_key="fields.body", on_bad_rows="skip")
    for rows in (TICKETS, pa.Table.from_pylist(TICKETS)):
        assert read(open_source(config, rows=rows), "text") == ["It broke.", "Für Köln."]


@pytest.mark.parametrize("write", [write_lines, write_array])
def test_a_column_of_that_very_name_comes_first(tmp_path: Path, write: Write) -> None:
    """Row by row, so that the order of rows and the parser do not matter."""
    rows = [{"a.b": "column", "a": {"b": "field"}}, {"a": {"b": "field"}}, {"a.b": "column"}]
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0], [1], [2]):
        path = write(tmp_path / "dots", [rows[index] for index in order])
        texts = read(open_source(SourceConfig(source=str(path), custom_text_key="a.b")), "text")
        assert texts == [rows[index].get("a.b", "field") for index in order]


def test_a_column_and_a_field_of_it(tmp_path: Path) -> None:
    """A column that is text in some rows and an object in others is read row by row."""
    path = write_lines(tmp_path / "mixed", [{"a": "text"}, {"a": {"b": "field"}}])
    config = SourceConfig(source=str(path), on_bad_rows="skip")
    assert read(open_source(config, Columns(("a.b", "a"))), "a.b", "a") == [(None, "text")]


def test_a_field_that_comes_late(tmp_path: Path) -> None:
    """It is found as a late column is."""
    path = write_lines(tmp_path / "late", [{"a": {"x": 1}}] * 300 + [{"a": {"b": "late"}}])
    config = SourceConfig(source=str(path), custom_text_key="a.b", on_bad_rows="skip")
    assert read(open_source(config), "text") == ["late"]


def test_numbers_in_a_field(tmp_path: Path) -> None:
    """Whole numbers are text where the user named the field, as in a column."""
    path = write_lines(tmp_path / "numbers", [{"a": {"year": 1999}}, {"a": {"year": "MM"}}])
    assert read(open_source(SourceConfig(source=str(path)), Columns(("a.year",))), "a.year") == ["1999", "MM"]


@WRITERS
@pytest.mark.parametrize(
    ("rows", "found", "advice"),
    [
        (TICKETS, "one column holds text: created; there is text further inside of fields", "custom_text_key=fields.subject"),
        (
            SHAREGPT,
            "one column holds text: id; there is text further inside of conversations",
            "data.conversation_template=tokenizer data.conversation_key=conversations data.conversation_sender_key=from ",
        ),
        (
            OPENAI,
            "only further inside of messages (a list of objects with role, content)",
            "data.conversation_template=tokenizer;",
        ),
        ([{"id": "x", "lines": ["one", "two"]}], "further inside of lines (a list of texts)", "Set data.custom_text_key"),
        ([{"pages": [{"words": "one"}]}], "inside of pages (a list of objects with words)", "data.conversation_format"),
    ],
    ids=["objects", "sharegpt", "openai", "texts", "objects in a list"],
)
def test_no_guess_beside_text_that_lies_inside(
    tmp_path: Path, write: Write, rows: list[dict[str, Any]], found: str, advice: str
) -> None:
    """The only column of text is not taken for the text where there is text elsewhere: of such data it is an id or a date."""
    path = write(tmp_path / "rows", rows)
    with pytest.raises(SourceError) as error:
        open_source(SourceConfig(source=str(path)))
    assert found in error.value.found
    assert advice in str(error.value)


@WRITERS
def test_no_guess_in_place_of_columns_that_were_named(tmp_path: Path, write: Write) -> None:
    """A misspelt column is an error that names the nearest first, fields of objects among them."""
    path = write(tmp_path / "tickets", TICKETS)
    with pytest.raises(SourceError, match=r"no column fields.bdy, which data.multi_column_keys names; it has fields.body, "):
        open_source(SourceConfig(source=str(path)), Columns(("fields.bdy",)))
    path = write(tmp_path / "single", [{"content": "a"}])
    with pytest.raises(SourceError, match="has no column contents, which"):
        open_source(SourceConfig(source=str(path)), Columns(("contents",)))


@WRITERS
def test_an_object_that_was_named_for_its_text(tmp_path: Path, write: Write) -> None:
    """The error says what is in it, and how to name that."""
    path = write(tmp_path / "tickets", TICKETS)
    config = SourceConfig(source=str(path), custom_text_key="fields")
    with pytest.raises(SourceError, match=r"column fields holds an object with subject, body.*custom_text_key=fields.subject"):
        open_source(config)


def test_values_and_types_are_described_alike() -> None:
    """Whether a file says its types, or its first rows show them."""
    for rows in (TICKETS, SHAREGPT, OPENAI, [{"a": [["x"]], "b": {"c": [{"d": "e"}]}, "n": 1}]):
        assert look_at_rows(rows) == look_at_schema(pa.Table.from_pylist(rows).schema)


def test_a_long_line(tmp_path: Path) -> None:
    """Also a line that is too long to be parsed for its columns shows what is inside."""
    path = write_lines(tmp_path / "long", [{"id": "x", "talk": [{"role": "user", "content": "word " * 3_500_000}]}])
    with pytest.raises(
        SourceError, match=r"text: id; there is text further inside of talk \(a list of objects with role, content\)"
    ):
        open_source(SourceConfig(source=str(path)))
