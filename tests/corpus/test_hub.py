"""Datasets of the hub: loaded by the package `datasets`, here from a folder or at its border; no network."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from whelp.base.errors import MissingExtraError, SourceError
from whelp.corpus import Source, SourceConfig, open_source

from .test_row_shape import PairShape, as_lines, read_values
from .test_saved_datasets import read_splits
from .test_source import make, read_rows, write

datasets = pytest.importorskip("datasets", reason="needs the extra hub: pip install 'whelp[hub]'")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What the package is asked to load; it gives three splits."""
    calls: list[Any] = []

    def load_dataset(path: str, **params: Any) -> Any:
        calls.append((path, dict(params)))
        made = datasets.DatasetDict(
            {
                split: datasets.Dataset.from_dict({"n": range(count), "text": [f"{split} {number}" for number in range(count)]})
                for split, count in (("validation", 2), ("train", 9), ("test", 3))
            }
        )
        if params.get("streaming"):
            return datasets.IterableDatasetDict({split: rows.to_iterable_dataset() for split, rows in made.items()})
        return made[params["split"]] if "split" in params else made

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setenv("WHELP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return calls


def open_hub(source: str, **options: Any) -> Source:
    """Open a source by its word."""
    return open_source(SourceConfig(source=source, **options))


@pytest.mark.parametrize("source", ["org/name", "hf:org/name"])
def test_an_id(asked: list[Any], source: str) -> None:
    """Its train split is read, `test` is held out; the same contents have not changed."""
    opened = open_hub(source)
    assert asked == [("org/name", {})]
    assert read_splits(opened) == {
        "train": [f"train {number}" for number in range(9)],
        "test": [f"test {number}" for number in range(3)],
    }
    assert read_rows(opened)[0] == ("org/name[train]", "train 0", 1)
    assert open_hub(source).changed_since(opened.describe()) == []


def test_options_are_handed_on(asked: list[Any]) -> None:
    """The folder within, whatever else the package takes, and the split."""
    params = {"name": "20220301.en", "revision": "abc"}
    opened = open_hub("org/name", source_data_dir="en", source_dataset_params=params, source_dataset_split="validation")
    assert asked == [("org/name", {**params, "data_dir": "en"})]
    assert read_splits(opened)["train"] == ["validation 0", "validation 1"]
    assert read_splits(open_hub("org/name", source_dataset_params={"split": "test"}))["train"][0] == "test 0"
    with pytest.raises(SourceError, match=r"org/name: has no split 'dev'; it has validation, train, test"):
        open_hub("org/name", source_dataset_split="dev")


def test_streaming(asked: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """Only as many rows as are asked for are fetched, once; the split that is held out is fetched whole."""
    caplog.set_level(logging.INFO, "whelp")
    for _ in range(2):
        opened = open_hub("org/name", source_streaming=True, dataset_offset=2, dataset_length=3)
        assert read_splits(opened) == {"train": ["train 2", "train 3", "train 4"], "test": ["test 0", "test 1", "test 2"]}
    assert asked[0] == ("org/name", {"streaming": True})
    assert caplog.messages[:2] == ["org/name[train]: fetching 5 rows", "org/name[test]: fetching all rows"]
    assert all("fetched before" in message for message in caplog.messages[2:])
    assert len(read_splits(open_hub("org/name", source_streaming=True, dataset_length=0.5))["train"]) == 4


def test_a_token_is_not_written_down(asked: list[Any], tmp_path: Path) -> None:
    """What lets one in is handed on, and kept nowhere."""
    open_hub("org/name", source_streaming=True, source_dataset_params={"token": "hf_secret"})
    assert asked[0][1]["token"] == "hf_secret"
    kept = [path.read_text(encoding="utf-8") for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(kept) == 4
    assert "hf_secret" not in "".join(kept)


def test_a_stream_that_breaks(monkeypatch: pytest.MonkeyPatch, asked: list[Any], tmp_path: Path) -> None:
    """Rows that stop half-way leave nothing behind, and say why."""

    def rows() -> Any:
        yield {"text": "a"}
        raise RuntimeError("the line is dead")

    monkeypatch.setattr(datasets, "load_dataset", lambda path, **params: {"train": rows()})
    with pytest.raises(SourceError, match=r"failed \(RuntimeError: the line is dead\)"):
        open_hub("org/name", source_streaming=True)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_what_was_tried(monkeypatch: pytest.MonkeyPatch, asked: list[Any], tmp_path: Path) -> None:
    """Neither a path nor a dataset: the error says both; in a folder that is here, it is a wrong path."""

    def load_dataset(path: str, **params: Any) -> Any:
        raise ConnectionError(f"cannot reach {path}.\nAnd more")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    message = (
        r"org/name: there is no file or folder org/name here, and loading the dataset 'org/name' from the hub failed "
        r"\(ConnectionError: cannot reach org/name\), but expected a path, or a dataset"
    )
    with pytest.raises(SourceError, match=message):
        open_hub("org/name")
    with pytest.raises(SourceError, match=r"^hf:org/name: loading the dataset 'org/name'"):
        open_hub("hf:org/name")
    write(tmp_path, {"books/one.txt": "x"})
    with pytest.raises(SourceError, match=r"books/on\.txt: there is no such file or folder.*Did you mean one\.txt\?"):
        open_hub("books/on.txt")
    assert [row[1] for row in read_rows(open_hub("books/one.txt"))] == ["x"]
    with pytest.raises(SourceError, match=r"nowhere/rows\.jsonl: there is no such file or folder \(.* has no nowhere\)"):
        open_hub("nowhere/rows.jsonl")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"org/name \(no such path here, .*datasets is not installed.*whelp\[hub\]"):
        open_hub("org/name")


def test_options_without_a_use(tmp_path: Path) -> None:
    """A folder of data beside a plain file is a mistake."""
    write(tmp_path, {"a.txt": "x"})
    with pytest.raises(SourceError, match=r"is read as it is, but data\.source_data_dir is given, but expected a kind of file"):
        make(tmp_path / "a.txt", source_data_dir="x")


def test_a_real_load(tmp_path: Path) -> None:
    """The package itself, on a folder of files with splits in their names; columns of a shape."""
    datasets.disable_progress_bars()
    rows = [{"prompt": f"p{number}", "completion": "c", "n": number} for number in range(20)]
    write(tmp_path / "data", {"train.jsonl": as_lines(rows), "test.jsonl": as_lines(rows[:2])})
    config = SourceConfig(
        source=f"hf:{tmp_path / 'data'}", source_dataset_params={"cache_dir": str(tmp_path / "cache")}, dataset_offset=15
    )
    source = open_source(config, PairShape())
    expected = [{"prompt": row["prompt"], "completion": "c"} for row in rows]
    assert read_values(source) == expected[15:] + expected[:2]
    assert [partition.split for partition in source.iter_partitions()] == ["train", "test"]
    assert source.num_bytes < 2000
