"""Rows handed over from Python."""

from __future__ import annotations

import gc
import json
import tempfile
from collections import UserDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import whelp
from whelp.base.errors import SourceError, StaleError
from whelp.corpus import Source, SourceConfig, open_source

from .test_row_shape import CHATS, PairShape, read_values
from .test_rows_files import NASTY
from .test_saved_datasets import read_splits
from .test_source import read_rows

datasets = pytest.importorskip("datasets", reason="needs the extra hub: pip install 'whelp[hub]'")
pandas = pytest.importorskip("pandas", reason="needs pandas: pip install pandas")
ROWS = [{"id": number, "text": text} for number, text in enumerate(NASTY)]


class Again:
    """Rows that can be read again and again."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(ROWS)


MAKERS: dict[str, Any] = {
    "frame": lambda: pandas.DataFrame(ROWS),
    "frame of objects": lambda: pandas.DataFrame(ROWS).astype({"text": object}).set_index("id"),
    "table": lambda: pa.Table.from_pylist(ROWS),
    "chunks": lambda: pa.concat_tables([pa.Table.from_pylist(ROWS[:3]), pa.Table.from_pylist(ROWS[3:])]),
    "batch": lambda: pa.RecordBatch.from_pylist(ROWS),
    "reader": lambda: pa.Table.from_pylist(ROWS).to_reader(),
    "dataset": lambda: datasets.Dataset.from_list(ROWS),
    "chosen rows": lambda: datasets.Dataset.from_list(list(reversed(ROWS))).select(range(len(ROWS) - 1, -1, -1)),
    "stream": lambda: datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
    "list": lambda: ROWS,
    "generator": lambda: (row for row in ROWS),
    "iterable": Again,
}


def give(rows: Any, shape: Any = None, **options: Any) -> Source:
    """Open rows."""
    return open_source(SourceConfig(**options), shape, rows=rows)


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind(name: str) -> None:
    """The same rows from everything, as often as they are read; and a fingerprint that follows them."""
    source = give(MAKERS[name]())
    expected = [("rows", text, number) for number, text in enumerate(NASTY, 1)]
    assert read_rows(source) == expected
    assert read_rows(source, partition_bytes=100) == expected
    assert source.document == "row"
    before = json.loads(json.dumps(source.describe()))
    assert before["is_given"] is True
    assert give(MAKERS[name]()).changed_since(before) == []
    other = give([*ROWS[:-1], {"id": 1, "text": "x" * 2999 + "y"}])
    assert len(other.changed_since(before)) == 1
    assert read_rows(give(MAKERS[name](), dataset_offset=0.5, dataset_length=2)) == expected[5:7]


TEXTS: dict[str, Any] = {
    "list": lambda: list(NASTY),
    "generator": lambda: (text for text in NASTY),
    "column of pandas": lambda: pandas.Series(NASTY, name="other"),
    "column of Arrow": lambda: pa.chunked_array([NASTY[:2], NASTY[2:]]),
    "array of NumPy": lambda: np.array(NASTY, dtype=object),
    "mappings of one's own": lambda: [UserDict({"text": text}) for text in NASTY],
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("key", [None, "text"])
def test_texts_without_a_column(name: str, key: str | None) -> None:
    """A text is a row; nothing else is needed."""
    expected = [("rows", text, number) for number, text in enumerate(NASTY, 1)]
    assert read_rows(give(TEXTS[name](), custom_text_key=key)) == expected


def test_texts_of_splits_and_without_values() -> None:
    """Lists of texts by split are splits; a text that is missing is a bad row, as in a table."""
    assert read_splits(give({"train": ["a", "b"], "test": ["t"]})) == {"train": ["a", "b"], "test": ["t"]}
    assert [row[1] for row in read_rows(give(["a", None, "b"], on_bad_rows="skip"))] == ["a", "b"]
    assert [row[1] for row in read_rows(give(pandas.Series(["a", None]), on_bad_rows="skip"))] == ["a"]
    assert [row[1] for row in read_rows(give(["a"], custom_text_key="body"))] == ["a"]


def test_frames_of_polars() -> None:
    """With their own types of text, also what is not computed yet."""
    polars = pytest.importorskip("polars", reason="needs polars: pip install polars")
    frame = polars.DataFrame(ROWS)
    for rows in (frame, frame.lazy(), frame["text"]):
        assert [row[1] for row in read_rows(give(rows))] == NASTY


@pytest.mark.parametrize("name", ["table", "dataset", "list", "frame"])
def test_columns_of_a_shape(name: str) -> None:
    """Conversations come through every kind."""
    makers: dict[str, Any] = {
        "table": pa.Table.from_pylist,
        "dataset": datasets.Dataset.from_list,
        "list": list,
        "frame": pandas.DataFrame,
    }
    found = read_values(give(makers[name](CHATS), PairShape()))
    expected = [[{"role": turn["role"], "content": turn["content"]} for turn in row["turns"]] for row in CHATS]
    assert [row["turns"] for row in found] == expected


def test_splits() -> None:
    """A mapping of splits, or a dictionary of datasets: what is held out stays so."""
    splits: dict[str, Any] = {"test": [{"text": "t"}], "train": pandas.DataFrame({"text": ["a", "b"]})}
    assert read_splits(give(splits)) == {"train": ["a", "b"], "test": ["t"]}
    both = datasets.DatasetDict({name: datasets.Dataset.from_dict({"text": [name]}) for name in ("validation", "train")})
    assert read_splits(give(both)) == {"train": ["train"], "test": ["validation"]}
    with pytest.raises(SourceError, match="has no split 'train'; it has dev"):
        give({"dev": [{"text": "t"}]})
    assert read_splits(give({"dev": [{"text": "t"}]}, source_dataset_split="dev")) == {"train": ["t"]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a"}, {"text": 1}], "rows, row 2: 'text' is a number, but expected text"),
        ([{"text": "a"}, {"text": None}], "rows, row 2: 'text' is null"),
        ([{"text": "a"}, {"text": b"b"}], "rows, row 2: 'text' is an object, but expected text"),
        ([{"text": "a"}, "b"], "rows, row 2: text, but expected a JSON object"),
        ([{"text": "a"}, {"text": "\ud800"}], "row 2: 'text' holds half of a surrogate pair"),
        ([{"a": "x", "b": "y"}], "rows: has no column 'text', and 2 columns hold text: a, b"),
        (pandas.DataFrame({"text": ["a", 1]}), "rows, row 2: 'text' is a number"),
        (pandas.DataFrame({"text": ["a", None]}), "rows, row 2: 'text' is null"),
        (pandas.DataFrame({"text": ["a", 1, None]}), "rows, row 2: 'text' is a number"),
        (pandas.DataFrame({"text": [1, 2]}), "rows: its column text holds int64"),
        (pandas.DataFrame({"n": [1, 2]}), "has no column 'text', and none holds text: n"),
        (pandas.DataFrame({"text": []}), "rows: has no rows"),
        ([], "rows: has no rows"),
        (5, "rows: is a int, but expected a pandas frame"),
        ("text.txt", r"rows: is a str, but expected a pandas frame.* A file or a folder is data\.source of the recipe\."),
        (iter, r"rows: is a .*, but expected a pandas frame.* Call it"),
        (
            [{"text": "a"}, SourceConfig()],
            r"rows, row 2: is a SourceConfig, but expected a dictionary or a text\. Make a dictionary",
        ),
        (["a", 1], "rows, row 2: a number, but expected a JSON object"),
        ({}, "rows: is a dict"),
        ({"text": ["a", "b"]}, "rows: is a dict, but expected .*Convert it, for example to a list of dictionaries"),
        (pandas.DataFrame([["a", "b"]], columns=["text", "text"]), "rows: has 2 columns 'text'"),
    ],
    ids=str,
)
def test_rows_that_cannot_be_used(rows: Any, message: str) -> None:
    """Each is named by its row, or for what it is."""
    with pytest.raises(SourceError, match=message):
        list(give(rows).iter_partitions())


def test_other_columns_of_a_frame_do_not_matter() -> None:
    """A column of several kinds that nobody asks for is no obstacle."""
    frame = pandas.DataFrame({"mixed": [1, "a"], "text": ["x", "y"], 3: [None, object()]})
    assert [row[1] for row in read_rows(give(frame))] == ["x", "y"]


def test_a_spooled_file_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a generator gave is kept in a temporary file as long as the source is there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = give(row for row in ROWS)
    assert len(list(tmp_path.iterdir())) == 1
    assert len(read_rows(source)) == len(ROWS)
    del source
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_prepare(tmp_path: Path) -> None:
    """`whelp.prepare(..., rows=...)`: made once, left when the rows are the same, made again when they are not."""
    recipe = {"data": {"tokenizer": {"learn": "chars"}, "test_split": 0, "on_bad_rows": "skip"}}
    frame = pandas.DataFrame({"text": [f"document {number}" for number in range(30)] + [None]})
    assert whelp.prepare(recipe, out=tmp_path / "store", rows=frame).splits["train"]["documents"] == 30
    before = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    whelp.prepare(recipe, out=tmp_path / "store", rows=frame)
    assert (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == before
    assert whelp.prepare(recipe, out=tmp_path / "store", rows=frame[:20]).splits["train"]["documents"] == 20
    assert json.loads((tmp_path / "store" / "sources.json").read_text()) == ["rows"]


def test_train_does_not_compare_rows_that_are_gone(tmp_path: Path) -> None:
    """A store of rows from Python is trained on as it is; one of files is compared with them."""
    from whelp.artifacts.token_store import open_store
    from whelp.cli.prepare import check_fresh

    (tmp_path / "a.txt").write_text("a\n\nb\n\nc\n")
    recipe = whelp.load_recipe({"data": {"source": str(tmp_path / "a.txt"), "tokenizer": {"learn": "chars"}, "test_split": 0}})
    whelp.prepare(recipe, out=tmp_path / "store", rows=[{"text": "abc"}])
    check_fresh(open_store(tmp_path / "store"), recipe)
    whelp.prepare(recipe, out=tmp_path / "store")
    (tmp_path / "a.txt").write_text("other\n")
    with pytest.raises(StaleError, match=r"a\.txt: edited"):
        check_fresh(open_store(tmp_path / "store"), recipe)
