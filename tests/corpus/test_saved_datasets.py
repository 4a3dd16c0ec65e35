"""Datasets saved with `save_to_disk`, and splits that a source has of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import whelp
from whelp.base.errors import SourceError

from .test_source import make, read_rows, write

datasets = pytest.importorskip("datasets", reason="needs the extra hub: pip install 'whelp[hub]'")


def save(path: Path, **splits: list[str]) -> Path:
    """Save a dataset of texts; of several splits, a dictionary of them."""
    made = {name: datasets.Dataset.from_dict({"id": range(len(texts)), "text": texts}) for name, texts in splits.items()}
    whole = made["train"] if list(made) == ["train"] else datasets.DatasetDict(made)
    whole.save_to_disk(path)
    return path


def read_splits(source: Any, **sizes: int) -> dict[str, list[str]]:
    """The texts of each split; a partition has one, and those of test come last."""
    found: dict[str, list[str]] = {}
    order = []
    for partition in source.iter_partitions(**sizes):
        order.append(partition.split)
        found.setdefault(partition.split, []).extend(partition.batch.column("text").to_pylist())
    assert order == sorted(order, reverse=True)  # train before test
    return found


@pytest.fixture(autouse=True)
def quiet() -> None:
    """No bars."""
    datasets.disable_progress_bars()


def test_one_saved_dataset(tmp_path: Path) -> None:
    """Its rows, in order, also when they were chosen before it was saved, and in several files."""
    texts = [f"text {number}" for number in range(50)]
    source = make(save(tmp_path / "one", train=texts))
    assert [row[1] for row in read_rows(source)] == texts
    assert read_rows(source)[3] == ("data-00000-of-00001.arrow", "text 3", 4)
    assert source.document == "row"
    chosen = datasets.load_from_disk(tmp_path / "one").select([5, 3, 40])
    chosen.save_to_disk(tmp_path / "chosen")
    assert [row[1] for row in read_rows(make(tmp_path / "chosen"))] == ["text 5", "text 3", "text 40"]
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(tmp_path / "parts", num_shards=3)
    assert [row[1] for row in read_rows(make(tmp_path / "parts"))] == texts


def test_indices_of_older_packages(tmp_path: Path) -> None:
    """A saved dataset with a mapping of indices beside it is read through the package, in that order."""
    folder = save(tmp_path / "a", train=["a", "b", "c"])
    with pa.OSFile(str(folder / "indices.arrow"), "wb") as file:
        table = pa.table({"indices": pa.array([2, 0], pa.uint64())})
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "indices.arrow"}]}))
    read = datasets.load_from_disk(folder)["text"]
    assert [row[1] for row in read_rows(make(folder))] == list(read)


def test_splits_of_its_own(tmp_path: Path) -> None:
    """`test`, or `validation` when there is no `test`, is held out; a partition never mixes."""
    train, test = [f"train {number}" for number in range(30)], ["test 0", "test 1"]
    folder = save(tmp_path / "a", validation=["v"], test=test, train=train)
    for sizes in ({}, {"partition_bytes": 40}):
        assert read_splits(make(folder), **sizes) == {"train": train, "test": test}
    assert read_splits(make(folder, dataset_offset=28)) == {"train": train[28:], "test": test}
    assert read_splits(make(folder, source_dataset_split="validation")) == {"train": ["v"], "test": test}
    assert read_splits(make(folder, source_dataset_split="test")) == {"train": test, "test": ["v"]}
    assert read_splits(make(save(tmp_path / "b", train=train, validation=["v"]))) == {"train": train, "test": ["v"]}
    with pytest.raises(SourceError, match=r"no document is left by dataset_offset and dataset_length \(it has 30\)"):
        read_splits(make(folder, dataset_offset=30))
    with pytest.raises(SourceError, match=r"has no split 'dev'; it has validation, test, train.*source_dataset_split"):
        make(folder, source_dataset_split="dev")


def test_tokens_are_refused(tmp_path: Path) -> None:
    """A token store is a saved dataset, too; it is named for what it is."""
    write(tmp_path, {"a.txt": "a b\n\nc d\n\ne f\n"})
    data = {"source": str(tmp_path / "a.txt"), "tokenizer": {"learn": "chars"}, "test_split": 1}
    whelp.prepare({"data": data}, out=tmp_path / "store")
    with pytest.raises(SourceError, match=r"holds tokens, not text \(columns input_ids, .*whelp train --store"):
        make(tmp_path / "store")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged(tmp_path: Path, content: str) -> None:
    """A broken list of files is named."""
    folder = save(tmp_path / "a", train=["a"])
    (folder / "state.json").write_text(content)
    with pytest.raises(SourceError, match=r"state\.json: .*but expected a saved dataset"):
        make(folder)
    save(tmp_path / "b", train=["a"], test=["b"])
    (tmp_path / "b" / "test" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(SourceError, match=r"data-00000-of-00001\.arrow: cannot be read \(no such file"):
        make(tmp_path / "b")


def test_messages_name_it_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path stays one, whichever file it is about; what is kept of the files is the same as of the whole path."""
    save(tmp_path / "a", train=["a"], test=["b"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"\Aa: has no split 'dev'"):
        make("a", source_dataset_split="dev")
    written, whole = make("a", source_dataset_split="test"), make(tmp_path / "a", source_dataset_split="test")
    assert {**written.describe(), "name": ""} == {**whole.describe(), "name": ""}
    assert written.skipped == whole.skipped
    (tmp_path / "a" / "test" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(SourceError, match=r"\Aa/test/data-00000-of-00001\.arrow: cannot be read"):
        make("a")


def test_not_text_of_documents(tmp_path: Path) -> None:
    """Rows are rows: a way to cut text does not fit."""
    with pytest.raises(SourceError, match=r"holds rows, but data\.document is line"):
        make(save(tmp_path / "a", train=["a"]), document="line")
