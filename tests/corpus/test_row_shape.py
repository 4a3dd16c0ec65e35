"""Rows of several columns: what is delivered, what is a bad row, and that every format gives the same."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from whelp.base.errors import SourceError
from whelp.corpus import Source, SourceConfig, TextShape, iter_texts, open_source

from .test_rows_files import NASTY, need
from .test_source import read_notes, write

TURNS = pa.large_list(pa.struct([("role", pa.large_string()), ("content", pa.large_string())]))


@dataclass(frozen=True)
class PairShape:
    """Prompt and completion, or turns; a row needs one of them. Made of types of its own, as another room would."""

    schema: pa.Schema = pa.schema([("prompt", pa.large_string()), ("completion", pa.large_string()), ("turns", TURNS)])

    companions: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)

    def find_bad(self, rows: pa.RecordBatch) -> Mapping[int, Any]:
        """Rows where everything is null."""
        has_any = np.zeros(rows.num_rows, np.bool_)
        for column in rows.columns:
            has_any |= pc.is_valid(column).to_numpy(zero_copy_only=False)
        value = SimpleNamespace(reason="nothing in it", found="has neither a pair nor turns", expected="one of them")
        return {int(index): value for index in np.flatnonzero(~has_any)}


def make(source: object, **options: Any) -> Source:
    """Open a source of pairs."""
    return open_source(SourceConfig(source=str(source), **options), PairShape())


def read_values(source: Source, **sizes: int) -> list[dict[str, Any]]:
    """Every row as what is not null in it, without its place."""
    rows = [row for partition in source.iter_partitions(**sizes) for row in partition.batch.to_pylist()]
    return [{name: row[name] for name in row if name not in ("file_index", "line") and row[name] is not None} for row in rows]


def read_lines(source: Source, **sizes: int) -> list[int]:
    """Where every row is."""
    return [line for partition in source.iter_partitions(**sizes) for line in partition.batch.column("line").to_pylist()]


def as_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, str]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def as_parquet(rows: list[Any], schema: pa.Schema | None = None) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, row_group_size=3)
    return file.getvalue()


def as_arrow(rows: list[Any]) -> bytes:
    file = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    return file.getvalue()


PAIRS = [{"id": "x", "prompt": text, "other": "o", "completion": f"answer {text}"} for text in NASTY]
CHATS = [
    {
        "id": number,
        "prompt": None,
        "turns": [
            {"role": role, "content": f"{text} {number}", "weight": 1}
            for role, text in zip("ab", NASTY[number : number + 2], strict=True)
        ],
    }
    for number in range(8)
]
FORMATS: dict[str, Any] = {
    "a.jsonl": as_lines,
    "a.json": lambda rows: json.dumps(rows).encode(),
    "a.csv": as_csv,
    "a.parquet": as_parquet,
    "a.arrow": as_arrow,
    "a.jsonl.gz": lambda rows: gzip.compress(as_lines(rows)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_columns_of_every_format(tmp_path: Path, name: str) -> None:
    """The shape's columns come in its order, with types of its own; others are left out."""
    write(tmp_path, {name: FORMATS[name](PAIRS)})
    source = make(tmp_path / name)
    [partition] = source.iter_partitions()
    expected = {"prompt": pa.large_string(), "completion": pa.large_string(), "file_index": pa.int32(), "line": pa.int64()}
    assert [(field.name, field.type) for field in partition.batch.schema] == list(expected.items())
    partition.batch.validate(full=True)
    assert read_values(source) == [{name: row[name] for name in ("prompt", "completion")} for row in PAIRS]
    assert read_lines(source) == list(range(1, len(PAIRS) + 1))


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "a.csv"])
def test_turns_of_every_format(tmp_path: Path, name: str) -> None:
    """Lists of objects keep the shape's fields; other fields are left out, missing ones are null."""
    rows = [*CHATS, {"id": 9, "turns": [{"role": "c"}, {}]}, {"id": 10, "turns": None, "prompt": "p"}]
    write(tmp_path, {name: FORMATS[name](rows)})
    source = make(tmp_path / name)
    expected: list[Any] = [
        {"turns": [{"role": turn["role"], "content": turn["content"]} for turn in row["turns"]]} for row in CHATS
    ]
    expected += [{"turns": [{"role": "c", "content": None}, {"role": None, "content": None}]}, {"prompt": "p"}]
    found = read_values(source)
    assert found == expected
    for partition in source.iter_partitions():
        assert partition.batch.schema.field("turns").type == TURNS
        partition.batch.validate(full=True)


def turn_round(row: dict[str, Any]) -> dict[str, Any]:
    """A conversation as `datasets` stores a list of objects: an object of lists."""
    turns = row["turns"]
    if turns is None:
        return row
    return {**row, "turns": {name: [turn.get(name) for turn in turns] for name in ("role", "content", "weight")}}


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "a.csv"])
def test_turns_stored_the_other_way_round(tmp_path: Path, name: str) -> None:
    """An object of lists gives the rows, and the fingerprint, of the list of objects; nulls and empty lists as well."""
    rows = [*CHATS, {"id": 9, "turns": [{"role": "c"}, {}]}, {"id": 10, "turns": None, "prompt": "p"}, {"id": 11, "turns": []}]
    write(tmp_path / "turns", {name: FORMATS[name](rows)})
    write(tmp_path / "lists", {name: FORMATS[name]([turn_round(row) for row in rows])})
    one, other = make(tmp_path / "turns" / name), make(tmp_path / "lists" / name)
    assert read_values(other) == read_values(one)
    assert [part.fingerprint for part in other.iter_partitions()] == [part.fingerprint for part in one.iter_partitions()]
    for block_bytes in (50, 1000):
        assert read_values(make(tmp_path / "lists" / name), block_bytes=block_bytes) == read_values(one)


def test_lists_of_different_lengths_in_a_table(tmp_path: Path) -> None:
    """Of a file that is typed, too, such a row is named, or left out and counted; a list that is null is one of nulls."""
    rows = [
        {"turns": {"role": ["a", "b"], "content": ["c", "d"]}, "prompt": None},
        {"turns": {"role": ["a"], "content": ["c", "d"]}},
        {"turns": {"role": None, "content": ["e"]}},
        {"turns": None, "prompt": "p"},
    ]
    write(tmp_path, {"a.parquet": as_parquet(rows)})
    message = (
        "a.parquet, row 2: 'turns' holds lists of different lengths \\(1 of role, 2 of content\\), but expected equal lengths"
    )
    with pytest.raises(SourceError, match=message):
        list(make(tmp_path / "a.parquet").iter_partitions())
    source = make(tmp_path / "a.parquet", on_bad_rows="skip")
    assert read_values(source) == [
        {"turns": [{"role": "a", "content": "c"}, {"role": "b", "content": "d"}]},
        {"turns": [{"role": None, "content": "e"}]},
        {"prompt": "p"},
    ]
    assert read_notes(source) == {"rows skipped: lists of different lengths": 1}


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_and_partitions_do_not_matter(tmp_path: Path, name: str) -> None:
    """Rows and fingerprints are the same for every size of block, rows for every size of partition."""
    rows = [{"prompt": f"{number} " + "é\n" * (number % 13), "completion": "c" * (number % 7)} for number in range(150)]
    rows.append({"prompt": " ", "completion": ""})
    write(tmp_path, {name: FORMATS[name](rows), "b.jsonl": as_lines(CHATS)})
    source = make(tmp_path)
    whole = read_values(source)
    assert len(whole) == len(rows) - 1 + len(CHATS)
    expected = [partition.fingerprint for partition in source.iter_partitions(partition_bytes=400)]
    assert len(expected) > 5
    for block_bytes in (13, 200):
        found = list(source.iter_partitions(partition_bytes=400, block_bytes=block_bytes))
        assert [partition.fingerprint for partition in found] == expected
    assert read_values(source, partition_bytes=400, block_bytes=64) == whole
    assert read_notes(source, partition_bytes=400) == {"empty documents dropped": 1}


def test_partition_has_the_columns_that_its_rows_have(tmp_path: Path) -> None:
    """Files of other columns and of text meet in one partition; nulls stand where a row has no value."""
    write(
        tmp_path, {"a.jsonl": as_lines([{"prompt": "p", "completion": "c"}]), "b.txt": "text", "c.jsonl": as_lines(CHATS[:1])}
    )
    [partition] = make(tmp_path).iter_partitions()
    assert partition.batch.schema.names == ["prompt", "completion", "turns", "text", "file_index", "line"]
    rows = partition.batch.to_pylist()
    assert [row["text"] for row in rows] == [None, "text", None]
    assert [row["turns"] is None for row in rows] == [True, True, False]
    write(tmp_path / "only", {"b.txt": "text"})
    [partition] = make(tmp_path / "only").iter_partitions()
    assert partition.batch.schema.names == ["text", "file_index", "line"]


@pytest.mark.parametrize(
    ("row", "message", "reason"),
    [
        ({"prompt": 1}, "'prompt' is a number, but expected text", "a value that is not text"),
        ({"prompt": ["a"], "completion": "b"}, "'prompt' is a list", "a value that is not text"),
        ({"turns": "a"}, "'turns' is text, but expected a list of objects", "a value that is not a list"),
        ({"turns": {"role": "a"}}, "'role' of 'turns' is text", "a value that is not a list"),
        ({"turns": {"x": ["a"]}}, "'turns' is an object", "a value that is not a list"),
        (
            {"turns": {"role": ["a", "b"], "content": ["c"]}},
            "lists of different lengths .2 of role, 1 of",
            "lists of different",
        ),
        ({"turns": {"role": ["a"], "content": [3]}}, "'content' of turn 1 of 'turns' is a number", "a value that is not text"),
        ({"turns": ["a"]}, "'turns' holds text in its list, but expected a list of objects", "not an object"),
        ({"turns": [{"role": "a"}, None]}, "'turns' holds null in its list", "not an object"),
        ({"turns": [{"role": "a", "content": 3}]}, "'content' of turn 1 of 'turns' is a number", "a value that is not text"),
        ({"turns": [{"content": "\ud800"}]}, "'content' of turn 1 of 'turns' holds half of a", "text that is not UTF-8"),
        ({"prompt": None, "turns": None}, "has neither a pair nor turns, but expected one of them", "nothing in it"),
        ({"x": 1}, "has neither a pair nor turns", "nothing in it"),
        (["a"], "a list, but expected a JSON object", "not an object"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_bad_rows_of_json(tmp_path: Path, name: str, row: Any, message: str, reason: str) -> None:
    """A value of another kind, and what the shape refuses, is named by its place; or kept with its text."""
    good = {"prompt": "p", "completion": "c", "turns": [{"role": "a", "content": "b"}]}
    write(tmp_path, {name: FORMATS[name]([good, good, row, good])})
    with pytest.raises(SourceError, match=rf"{name}, {'line' if name == 'a.jsonl' else 'row'} 3: .*{message}"):
        make(tmp_path / name)
    source = make(tmp_path / name, on_bad_rows="skip")
    for block_bytes in (16, 1 << 20):
        assert read_lines(source, block_bytes=block_bytes) == [1, 2, 4]
        [(note, count)] = read_notes(source, block_bytes=block_bytes).items()
        assert note.startswith(f"rows skipped: {reason}")
        assert count == 1
        [bad] = [bad for partition in source.iter_partitions(block_bytes=block_bytes) for bad in partition.bad_rows]
        assert (bad.file, bad.number, f"rows skipped: {bad.reason}") == (name, 3, note)
        assert bad.text is not None
        assert "," in bad.text or json.loads(bad.text) == row


def test_open_quote_in_the_last_column_of_the_file(tmp_path: Path) -> None:
    """A quote left open is found, in whatever order the shape has the columns."""
    write(tmp_path, {"a.csv": 'completion,prompt\nc,p\nc,"p\nc,p\n', "b.csv": 'completion,prompt\n"c\n",p\n'})
    with pytest.raises(SourceError, match=r"a quote that opens in row 2 \(line 3\) is never closed"):
        list(make(tmp_path / "a.csv").iter_partitions())
    assert read_values(make(tmp_path / "b.csv")) == [{"prompt": "p", "completion": "c\n"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
def test_empty_rows_are_not_bad(tmp_path: Path, name: str) -> None:
    """A row that is there but blank is dropped and counted, as of text, even where the shape has no use for it."""

    @dataclass(frozen=True)
    class NeedsInk(PairShape):
        def find_bad(self, rows: pa.RecordBatch) -> Mapping[int, Any]:
            value = SimpleNamespace(reason="blank", found="is blank", expected="ink")
            good = [any(row[name] not in (None, "", " ", []) for name in row) for row in rows.to_pylist()]
            return {index: value for index, is_good in enumerate(good) if not is_good}

    rows = [{"prompt": "p"}, {"prompt": ""}, {"prompt": " "}, {"prompt": None}]
    write(tmp_path, {name: FORMATS[name](rows)})
    with pytest.raises(SourceError, match=r"4: is blank, but expected ink"):
        list(open_source(SourceConfig(source=str(tmp_path / name)), NeedsInk()).iter_partitions())
    source = open_source(SourceConfig(source=str(tmp_path / name), on_bad_rows="skip"), NeedsInk())
    assert read_values(source) == [{"prompt": "p"}]
    assert read_notes(source) == {"rows skipped: blank": 1, "empty documents dropped": 2}


def test_null_turns_of_parquet(tmp_path: Path) -> None:
    """A null among the turns is a bad row in files that cannot hold another kind."""
    turns = [[{"role": "a"}], [{"role": "a"}, None], None, [], [{"role": "b"}]]
    write(tmp_path, {"a.parquet": as_parquet([{"prompt": "p", "turns": value} for value in turns])})
    with pytest.raises(SourceError, match=r"a\.parquet, row 2: 'turns' holds null in its list, but expected a list of objects"):
        make(tmp_path / "a.parquet")
    assert read_lines(make(tmp_path / "a.parquet", on_bad_rows="skip")) == [1, 3, 4, 5]


def test_columns_of_another_type(tmp_path: Path) -> None:
    """A file that says a type that cannot be is refused as a whole, by column."""
    write(
        tmp_path,
        {
            "a.parquet": as_parquet([{"prompt": 1, "completion": "c"}]),
            "b.parquet": as_parquet([{"turns": ["a", "b"]}]),
            "c.csv": "prompt,turns\na,b\n",
            "d.parquet": as_parquet([{"turns": [{"role": 1}]}]),
            "e.parquet": as_parquet([{"prompt": 1.0, "completion": "c"}]),
        },
    )
    for name, message in {
        "a.parquet": "its column prompt holds int64, .*Name the column in data.custom_text_key, data.multi_column_keys or data.pieces",
        "e.parquet": "its column prompt holds double, .*convert FILE --out FILE.csv` writes such values as text; or leave it out",
        "b.parquet": r"its column turns holds list<.*string>, not lists of objects with text",
        "c.csv": "its column turns holds string, not lists of objects",
        "d.parquet": "its column turns holds list<.*int64",
    }.items():
        with pytest.raises(SourceError, match=rf"{name}: {message}"):
            make(tmp_path / name)


def test_files_without_the_columns(tmp_path: Path) -> None:
    """The only column of text is delivered as `text`; with several, the error names them."""
    write(tmp_path, {"a.jsonl": as_lines([{"n": 1, "body": "x"}, {"n": 2, "body": None}]), "b.csv": "title,body\na,b\n"})
    with pytest.raises(SourceError, match=r"a\.jsonl, line 2: 'body' is null, but expected text"):
        list(make(tmp_path / "a.jsonl").iter_partitions())
    assert read_values(make(tmp_path / "a.jsonl", on_bad_rows="skip")) == [{"text": "x"}]
    with pytest.raises(SourceError, match=r"b\.csv: has no column 'text', and 2 columns hold text: title, body"):
        make(tmp_path / "b.csv")
    assert read_values(make(tmp_path / "b.csv", custom_text_key="title")) == [{"text": "a"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_columns_that_come_late(tmp_path: Path, name: str) -> None:
    """A column first seen after hundreds of rows is found, in the shape's columns and as the text."""
    rows: list[Any] = [{"prompt": "p"}] * 300 + [{"completion": "late"}]
    write(tmp_path, {name: FORMATS[name](rows)})
    assert read_values(make(tmp_path / name), block_bytes=200)[-1] == {"completion": "late"}
    rows = [{"note": '"prompt"'}] * 300 + [{"prompt": "late"}]
    write(tmp_path, {name: FORMATS[name](rows)})
    assert read_values(make(tmp_path / name, on_bad_rows="skip"), block_bytes=200) == [{"prompt": "late"}]
    key_lines = [{"note": "n"}] * 300 + [{"clé": "late"}]
    write(tmp_path, {name: FORMATS[name](key_lines)})
    assert read_values(open_source(SourceConfig(source=str(tmp_path / name), on_bad_rows="skip", custom_text_key="clé"))) == [
        {"text": "late"}
    ]
    for key in (None, "text"):
        rows = [{"note": "n"}] * 300 + [{"text": "late"}]
        write(tmp_path, {name: FORMATS[name](rows)})
        source = open_source(SourceConfig(source=str(tmp_path / name), on_bad_rows="skip", custom_text_key=key))
        assert read_values(source) == [{"text": "late"}]
        assert read_notes(source) == {"rows skipped: null or missing text": 300}


def test_text_shape_is_the_default(tmp_path: Path) -> None:
    """`TextShape` given and left out are the same."""
    write(tmp_path, {"a.jsonl": as_lines([{"title": "t", "body": "b"}])})
    config = SourceConfig(source=str(tmp_path), custom_text_key="body")
    found = [next(open_source(config, shape).iter_partitions()) for shape in (None, TextShape("body"))]
    assert found[0].fingerprint == found[1].fingerprint
    assert found[0].batch.column("text").to_pylist() == ["b"]


def test_fingerprints_tell_columns_apart(tmp_path: Path) -> None:
    """The same words in another column, row or turn are other rows."""
    variants: list[Any] = [
        [{"prompt": "a", "completion": "b"}],
        [{"prompt": "b", "completion": "a"}],
        [{"prompt": "ab"}],
        [{"completion": "ab"}],
        [{"prompt": "a"}, {"completion": "b"}],
        [{"turns": [{"role": "a"}, {"role": "b"}]}],
        [{"turns": [{"role": "a"}]}, {"turns": [{"role": "b"}]}],
        [{"turns": [{"role": "a", "content": "b"}]}],
    ]
    seen = set()
    for rows in variants:
        write(tmp_path, {"a.jsonl": as_lines(rows)})
        [partition] = make(tmp_path / "a.jsonl").iter_partitions()
        seen.add(partition.fingerprint)
    assert len(seen) == len(variants)


def test_texts_of_columns(tmp_path: Path) -> None:
    """A vocabulary is learned from every column's values."""
    write(tmp_path, {"a.jsonl": as_lines([{"prompt": "p", "completion": "c"}, {"turns": [{"role": "r", "content": "t"}]}])})
    found = [text for texts in iter_texts(make(tmp_path / "a.jsonl")) for text in texts.to_pylist()]
    assert sorted(found) == ["c", "p", "r", "t"]


def test_raw_text_is_cut(tmp_path: Path) -> None:
    """What is kept of a bad row ends after 2,000 characters; a ragged row of CSV is kept as it stands."""
    write(
        tmp_path, {"a.jsonl": '{"prompt": "p"}\n{"prompt": 1, "x": "' + "y" * 5000 + '"}\n', "b.csv": "prompt,n\na,1\nb\nc,3\n"}
    )
    for name, number, text in (("a.jsonl", 2, '{"prompt": 1, "x": "' + "y" * 1980), ("b.csv", 2, "b")):
        [partition] = make(tmp_path / name, on_bad_rows="skip").iter_partitions()
        [bad] = partition.bad_rows
        assert (bad.number, bad.text) == (number, text)


def test_many_bad_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are told; beyond so many, without their text."""
    monkeypatch.setattr("whelp.corpus.partition.MOST_RAW_ROWS", 3)
    write(tmp_path, {"a.jsonl": '{"prompt": "p"}\n' + "{\n" * 5})
    [partition] = make(tmp_path / "a.jsonl", on_bad_rows="skip").iter_partitions()
    assert [(bad.number, bad.text) for bad in partition.bad_rows] == [(2, "{"), (3, "{"), (4, "{"), (5, None), (6, None)]


def test_real_conversations() -> None:
    """Pairs as they are published, from JSON lines, gzip and Parquet."""
    lines, parquet = need("instruct/gsm8k_test.jsonl", "parquet/gsm8k_test.parquet")

    @dataclass(frozen=True)
    class Questions(PairShape):
        schema: pa.Schema = pa.schema([("question", pa.large_string()), ("answer", pa.large_string())])

    expected = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    for path in (lines, parquet):
        assert read_values(open_source(SourceConfig(source=str(path)), Questions()), block_bytes=10_000) == expected


def test_both_parsers_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a line holds, Arrow's parser and Python's give the same rows and the same bad rows."""
    random = np.random.default_rng(0)
    texts = ["", "a", "é\n", '"', " ", "\\", "🐕", None, None]
    others = [*texts, *texts, *texts, 1, 1.5, True, [], {}]

    def pick(values: list[Any]) -> Any:
        return values[int(random.integers(len(values)))]

    def make_turns(values: list[Any]) -> Any:
        turns = [
            {name: pick(values) for name in ("content", "role", "extra")[: random.integers(4)]}
            for _ in range(random.integers(4))
        ]
        return pick([turns, turns, turns, None])

    rows = []
    for number in range(600):
        values = others if number % 40 == 0 else texts
        row = {"prompt": pick(values), "turns": make_turns(values), "completion": pick(values), "n": pick(others)}
        names = random.permutation(list(row))[: random.integers(1, 5)].tolist()
        rows.append({name: row[name] for name in names})
    write(tmp_path, {"a.jsonl": as_lines(rows)})

    def read(block_bytes: int) -> Any:
        source = make(tmp_path / "a.jsonl", on_bad_rows="skip")
        partitions = list(source.iter_partitions(block_bytes=block_bytes))
        bad = [bad for partition in partitions for bad in partition.bad_rows]
        return [partition.fingerprint for partition in partitions], bad, read_values(source, block_bytes=block_bytes)

    with_arrow = read(300)
    monkeypatch.setattr("whelp.corpus.json_rows._read_with_arrow", lambda *arguments: None)
    assert read(1 << 20) == with_arrow
    assert len(with_arrow[1]) > 20
    assert len(with_arrow[2]) > 300
