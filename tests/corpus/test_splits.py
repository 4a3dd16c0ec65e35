"""Splits that the names of files and folders say."""

from __future__ import annotations

from pathlib import Path

import pytest

from whelp.base.errors import SourceError
from whelp.corpus import SourceConfig, open_source

from .test_source import write


def read(folder: Path, **options: str) -> dict[str, list[str]]:
    """The texts of each split."""
    texts: dict[str, list[str]] = {}
    for partition in open_source(SourceConfig(source=str(folder), **options)).iter_partitions():  # type: ignore[arg-type]
        texts.setdefault(partition.split, []).extend(partition.batch.column("text").to_pylist())
    return texts


@pytest.mark.parametrize(
    "names",
    [
        ["test/b.txt", "train/a.txt"],
        ["data/test-00000-of-00001.txt", "data/train-00000-of-00001.txt"],
        ["gsm8k_test.txt", "gsm8k_train.txt"],
        ["eval.txt", "Training.txt"],
        ["test.jsonl", "train.jsonl"],
        ["dev/x.txt", "train/test.txt"],  # a folder says more than a name
        ["README.md", "dataset_info.json", "test.txt", "train.txt"],
    ],
)
def test_names_say_the_split(tmp_path: Path, names: list[str]) -> None:
    """What is held out by the source itself is the test split; what tells of the files is left out."""
    for name in names:
        text = (
            "held out" if ("test" in name or "eval" in name or "dev" in name) and not name.startswith("train/") else "trained"
        )
        write(tmp_path, {name: f'{{"text": "{text}"}}' if name.endswith("jsonl") else text})
    assert read(tmp_path) == {"train": ["trained"], "test": ["held out"]}
    source = open_source(SourceConfig(source=str(tmp_path)))
    assert [file.kind for file in source.skipped] == ["about the splits"] * (len(names) - 2)


@pytest.mark.parametrize(
    "names",
    [
        ["src/a.txt", "tests/b.txt"],  # `tests` is no such word
        ["a.txt", "test/b.txt", "train/c.txt"],  # one belongs to none
        ["contest.txt", "train.txt"],
        ["train-test.txt", "train.txt"],
        ["test.txt", "validation.txt"],  # none to train on
        ["train/README.md", "train/a.txt"],  # only one split
    ],
)
def test_other_folders_are_not_divided(tmp_path: Path, names: list[str]) -> None:
    """Unless every file belongs to one of several splits, one of them train, all files are read."""
    write(tmp_path, dict.fromkeys(names, "text"))
    assert read(tmp_path) == {"train": ["text"] * len(names)}


def test_test_wins_over_validation_and_another_split_can_be_asked_for(tmp_path: Path) -> None:
    """What is in no split that is used is skipped and counted; a split that is not there is an error that lists them."""
    write(tmp_path, {"train.txt": "a", "validation.txt": "b", "test.txt": "c"})
    assert read(tmp_path) == {"train": ["a"], "test": ["c"]}
    assert [(file.path, file.reason) for file in open_source(SourceConfig(source=str(tmp_path))).skipped] == [
        ("validation.txt", "of the split validation")
    ]
    assert read(tmp_path, source_dataset_split="validation") == {"train": ["b"], "test": ["c"]}
    with pytest.raises(SourceError, match="has no split 'extra'; it has test, train, validation"):
        read(tmp_path, source_dataset_split="extra")


def test_a_kind_of_file_in_a_folder(tmp_path: Path) -> None:
    """`source: json` with a folder follows its names, too."""
    write(tmp_path, {"train/a.jsonl": '{"text": "a"}', "test/b.jsonl": '{"text": "b"}'})
    source = open_source(SourceConfig(source="json", source_data_dir=str(tmp_path)))
    assert [(file.split, file.split_name) for file in source.files] == [("train", "train"), ("test", "test")]


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    """A source without splits is not trained on whole where one split of it was asked for; a folder of one split is that."""
    write(tmp_path, {"rows.jsonl": '{"text": "a"}', "b/validation.jsonl": '{"text": "b"}'})
    with pytest.raises(
        SourceError, match=r"rows\.jsonl: has no splits, but data\.source_dataset_split is validation\. Leave it out"
    ):
        open_source(SourceConfig(source=str(tmp_path / "rows.jsonl"), source_dataset_split="validation"))
    with pytest.raises(SourceError, match="has no splits"):
        open_source(SourceConfig(source_dataset_split="validation"), rows=[{"text": "a"}])
    assert read(tmp_path / "b", source_dataset_split="validation") == {"train": ["b"]}


def test_splits_that_are_not_used_are_counted(tmp_path: Path) -> None:
    """Of rows from Python and of data files with splits, too; each under its name."""
    rows = {name: [{"text": name}] for name in ("train", "test", "validation", "extra")}
    source = open_source(SourceConfig(), rows=rows)
    assert [file.kind for file in source.skipped] == ["split validation", "split extra"]
    assert [(file.split, file.split_name) for file in source.files] == [("train", "train"), ("test", "test")]
    write(tmp_path, {f"{name}.jsonl": f'{{"text": "{name}"}}' for name in rows})
    files = {name: str(tmp_path / f"{name}.jsonl") for name in rows}
    source = open_source(SourceConfig(source="json", source_dataset_params={"data_files": files}))
    assert [file.kind for file in source.skipped] == ["split validation", "split extra"]
