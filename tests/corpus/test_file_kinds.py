"""`source: json` and its like, with a folder or with files."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import pytest

from whelp.base.errors import SourceError
from whelp.corpus import SourceConfig, open_source

from .test_rows_files import FORMATS
from .test_saved_datasets import read_splits
from .test_source import write


def read(kind: str, **options: Any) -> dict[str, list[str]]:
    """The texts of each split."""
    return read_splits(open_source(SourceConfig(source=kind, **options)))


def make_folder(root: Path) -> Path:
    """Files of every kind, one text each, that says the kind."""
    contents = {name: FORMATS[name]([name]) for name in ("a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.feather")}
    return write(root, {**contents, "b.jsonl.gz": gzip.compress(FORMATS["a.jsonl"](["packed"])), "c.txt": "c.txt"})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("json", ["a.json", "a.jsonl", "packed"]),
        ("csv", ["a.csv", "a.tsv"]),
        ("parquet", ["a.parquet"]),
        ("pandas", ["a.csv", "a.feather", "a.json", "a.jsonl", "a.parquet", "a.tsv", "packed"]),
    ],
)
def test_a_folder(tmp_path: Path, kind: str, expected: list[str]) -> None:
    """The files of the kind are read, others are not; `data_dir` of the parameters wins."""
    folder = str(make_folder(tmp_path))
    assert read(kind, source_data_dir=folder) == {"train": expected}
    assert read(kind, source_data_dir="nowhere", source_dataset_params={"data_dir": folder}) == {"train": expected}


def test_text(tmp_path: Path) -> None:
    """Every file of the folder is text, whatever its name; `document` cuts it."""
    write(tmp_path, {"a.json": '{"text": "x"}\n', "b.md": "b\nc\n"})
    assert read("text", source_data_dir=str(tmp_path)) == {"train": ['{"text": "x"}\n', "b\nc\n"]}
    assert read("text", source_data_dir=str(tmp_path), document="line") == {"train": ['{"text": "x"}', "b", "c"]}


def test_files(tmp_path: Path) -> None:
    """A file, a glob, a list; below the folder where there is one; of any name."""
    make_folder(tmp_path)
    write(tmp_path, {"rows.data": '{"text": "odd"}\n{"text": "name"}\n', "tabs.txt": "text\tn\na\tb\n"})

    def files(kind: str, value: Any, **more: Any) -> list[str]:
        return read(kind, source_data_dir=str(tmp_path), source_dataset_params={"data_files": value, **more})["train"]

    assert files("json", "a.jsonl") == ["a.jsonl"]
    assert files("json", ["b.jsonl.gz", "a.json*"]) == ["packed", "a.json", "a.jsonl"]
    assert files("json", "rows.data") == ["odd", "name"]
    assert files("csv", "tabs.txt", delimiter="\t") == ["a"]
    assert files("csv", "tabs.txt", sep="\t") == ["a"]
    assert files("parquet", str(tmp_path / "a.parquet")) == ["a.parquet"]


def test_splits(tmp_path: Path) -> None:
    """A mapping of files says what is held out."""
    make_folder(tmp_path)
    data_files = {"test": str(tmp_path / "b.jsonl.gz"), "train": [str(tmp_path / "a.json"), str(tmp_path / "a.jsonl")]}
    found = read("json", source_dataset_params={"data_files": data_files})
    assert found == {"train": ["a.json", "a.jsonl"], "test": ["packed"]}
    source = open_source(SourceConfig(source="json", source_dataset_params={"data_files": data_files}))
    assert [file.label for file in source.files] == ["a.json", "a.jsonl", "b.jsonl.gz"]
    swapped = SourceConfig(
        source="json", source_dataset_params={"data_files": {"train": data_files["test"], "test": data_files["train"]}}
    )
    assert open_source(swapped).changed_since(source.describe()) == [
        "a.json: now in the split test",
        "a.jsonl: now in the split test",
        "b.jsonl.gz: now in the split train",
    ]
    with pytest.raises(SourceError, match="has no split 'dev'; it has test, train"):
        read("json", source_dataset_params={"data_files": data_files}, source_dataset_split="dev")


def test_a_path_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder called text is a folder, unless it is said where the files are."""
    monkeypatch.chdir(write(tmp_path, {"text/a.txt": "in the folder", "other/b.txt": "elsewhere"}))
    assert read("text") == {"train": ["in the folder"]}
    assert read("text", source_data_dir="other") == {"train": ["elsewhere"]}


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "json",
            {},
            r"json: there is no file or folder of that name.*Put your files into a folder json/.*set data\.source_data_dir",
        ),
        ("json", {"source_data_dir": "{}/nowhere"}, "there is no such file or folder"),
        ("parquet", {"source_data_dir": "{}"}, r"has no files of the kind parquet, but expected names that end in \.parquet"),
        ("csv", {"source_dataset_params": {"data_files": 5}}, "data_files: is 5, but expected a file"),
        ("csv", {"source_dataset_params": {"data_files": "x", "skiprows": 1}}, "has skiprows, but expected of data_files"),
        ("pandas", {"source_dataset_params": {"data_files": "{}/a.pkl"}}, r"is a pickle, which may run.*frame\.to_parquet"),
        ("json", {"source_data_dir": "{}", "document": "line"}, r"holds rows, but data\.document is line"),
    ],
)
def test_mistakes(tmp_path: Path, kind: str, options: dict[str, Any], message: str) -> None:
    """Each says what to do."""
    write(tmp_path, {"a.csv": "text\na\n", "a.pkl": pickle.dumps({"text": ["a"]}), "b.json": '[{"text": "b"}]'})

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(inside) for key, inside in value.items()}
        return value.replace("{}", str(tmp_path)) if isinstance(value, str) else value

    with pytest.raises(SourceError, match=message):
        read(kind, **fill(options))
