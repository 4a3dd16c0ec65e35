"""Options that are set, but lead to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whelp.base.errors import SourceError
from whelp.corpus import SourceConfig, open_source

from .test_source import write


@pytest.mark.parametrize(
    ("name", "value", "unused_for", "used_for"),
    [
        ("delimiter", ";", ["a.jsonl", "a.txt"], ["a.csv"]),
        ("column_names", ["text", "b"], ["a.jsonl", "a.txt"], ["a.csv"]),
        ("sheet", "A", ["a.jsonl", "a.csv", "a.txt"], []),
        ("quoted_fields", False, ["a.jsonl", "a.txt"], ["a.csv"]),
        ("encoding", "latin-1", ["a.jsonl"], ["a.csv", "a.txt"]),
        ("strip_carriage_returns", False, ["a.jsonl", "a.csv"], ["a.txt"]),
        ("custom_text_key", "text", ["a.txt"], ["a.jsonl", "a.csv"]),
        ("include_suffixes", [".txt"], ["a.txt"], ["."]),
        ("source_streaming", True, ["a.txt", "a.jsonl", "."], []),
    ],
)
def test_what_no_file_uses_is_found(tmp_path: Path, name: str, value: Any, unused_for: list[str], used_for: list[str]) -> None:
    """By the kinds of the files that are there; what is as it is by default is nobody's wish."""
    write(tmp_path, {"a.jsonl": '{"text": "a"}', "a.csv": "text;b\na;1\n", "a.txt": "a"})
    for file in unused_for:
        source = open_source(SourceConfig(source=str(tmp_path / file), **{name: value}))
        assert list(source.find_unused()) == [name], file
        assert not open_source(SourceConfig(source=str(tmp_path / file))).find_unused()
    for file in used_for:
        assert not open_source(SourceConfig(source=str(tmp_path / file), **{name: value})).find_unused(), file


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"name": "en"}, "has name, which nothing in data.source takes, .* Take it out"),
        ({"sep": ";", "storage_options": {}}, "has sep, storage_options, which nothing .* Set data.delimiter instead"),
    ],
)
def test_parameters_that_nothing_takes(tmp_path: Path, params: dict[str, Any], said: str) -> None:
    """A subset of a dataset that is asked for of a file would be the whole file. A list may name files of a store."""
    write(tmp_path, {"a.jsonl": '{"text": "a"}'})
    with pytest.raises(SourceError, match=said):
        open_source(SourceConfig(source=str(tmp_path / "a.jsonl"), source_dataset_params=params))
    write(tmp_path, {"a.paths": "a.jsonl"})
    open_source(SourceConfig(source=str(tmp_path / "a.paths"), source_dataset_params={"storage_options": {}}))
