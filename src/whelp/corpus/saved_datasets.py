"""Datasets saved with `save_to_disk`: their Arrow files are read as they are."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from whelp.base.errors import SourceError
from whelp.base.files import read_json
from whelp.corpus.config import SourceConfig
from whelp.corpus.find_files import FoundFile, SkippedFile
from whelp.corpus.splits import choose_splits, skip_others

_SPLITS_FILE = "dataset_dict.json"
_STATE_FILE = "state.json"
_INFO_FILE = "dataset_info.json"
_IDS = "input_ids"


def find_saved(folder: Path, config: SourceConfig) -> tuple[list[FoundFile], list[SkippedFile]] | None:
    """The Arrow files of a saved dataset, or of the splits of several, and the splits not in use; None when the folder is none.

    Their paths are whole; errors name `folder` as it is given.

    Raises:
        SourceError: When it is damaged, has no such split, or holds tokens.
    """
    if os.path.isfile(folder / _SPLITS_FILE):
        splits = {name: folder / name for name in _read(folder / _SPLITS_FILE).get("splits", [])}
    elif os.path.isfile(folder / _STATE_FILE) and os.path.isfile(folder / _INFO_FILE):
        splits = {"train": folder}
    else:
        return None
    found: list[FoundFile] = []
    for name, split in choose_splits(folder, splits, config.source_dataset_split):
        found += [replace(file, split_name=name) for file in _find_split(splits[name], split)]
    return found, skip_others(folder.absolute(), splits, config.source_dataset_split)


def _find_split(folder: Path, split: str) -> list[FoundFile]:
    state = _read(folder / _STATE_FILE)
    names = [entry["filename"] for entry in state.get("_data_files", [])]
    for name in names[:1]:
        _check_columns(folder, folder / name)
    if state.get("_indices_data_files"):  # rows chosen or shuffled without writing them anew; older packages saved that
        from whelp.corpus.hub import import_datasets
        from whelp.corpus.python_rows import make_dataset_file

        dataset = import_datasets(folder).load_from_disk(str(folder))
        return [make_dataset_file(dataset, str(folder.absolute()), split)]
    return [
        FoundFile(folder.absolute() / name, is_named=True, written=str(folder / name), format="arrow", split=split)
        for name in names
    ]


def _check_columns(folder: Path, path: Path) -> None:
    try:
        with pa.memory_map(str(path)) as file:
            names = pa.ipc.open_stream(file).schema.names
    except (OSError, pa.ArrowException):
        return  # reading it says what is wrong
    if _IDS in names:
        raise SourceError(
            folder,
            f"holds tokens, not text (columns {', '.join(names)})",
            "a dataset of text",
            "Train on a token store with `whelp train --store`; name the text that it was made from here.",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise SourceError(path, f"cannot be read ({error.__class__.__name__})", "a saved dataset", "Save it again.") from None
    if not isinstance(value, dict):
        raise SourceError(path, "is not a JSON object", "a saved dataset", "Save it again.")
    return value
