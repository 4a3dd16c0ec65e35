"""Datasets of the hub, loaded with the package `datasets`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from whelp.base.errors import MissingExtraError, SourceError, say_first_line
from whelp.base.hashing import hash_json
from whelp.base.log import log
from whelp.corpus.cache import find_cache_folder, write_cached
from whelp.corpus.config import SourceConfig
from whelp.corpus.find_files import FoundFile, SkippedFile
from whelp.corpus.python_rows import make_dataset_file, to_json_line
from whelp.corpus.source_words import HUB_PREFIX
from whelp.corpus.splits import choose_splits, skip_others


def find_hub(item: str, config: SourceConfig, candidates: list[str]) -> tuple[list[FoundFile], list[SkippedFile]]:
    """Load a dataset of the hub; its splits as tables, and those not in use.

    Raises:
        MissingExtraError: Without the package `datasets`.
        SourceError: When it cannot be loaded, or has no such split.
    """
    name = item.removeprefix(HUB_PREFIX)
    datasets = import_datasets(item if item.startswith(HUB_PREFIX) else f"{item} (no such path here, so a dataset of the hub)")
    params = dict(config.source_dataset_params)
    if config.source_data_dir is not None:
        params.setdefault("data_dir", config.source_data_dir)
    if config.source_streaming:
        params["streaming"] = True
    try:
        loaded = datasets.load_dataset(name, **params)
    except Exception as error:  # of any kind: the hub, the network, the format, a builder's own
        raise _cannot_load(item, name, error) from error
    splits = dict(loaded) if isinstance(loaded, dict) else {config.source_dataset_split: loaded}
    found = []
    for split_name, split in choose_splits(item, splits, config.source_dataset_split):
        label = f"{name}[{split_name}]"
        if config.source_streaming:
            asked = {option: repr(value) for option, value in params.items() if option != "token"}
            key = {"name": name, "params": asked, "split": split_name}
            limit = _limit(config) if split == "train" else None
            path = _keep_stream(item, splits[split_name], label, key, limit, candidates)
            file = FoundFile(path, is_named=True, label=label, format="jsonl", split=split, keep=path)
        else:
            file = make_dataset_file(splits[split_name], label, split, candidates)
        found.append(replace(file, split_name=split_name))
    return found, skip_others(name, splits, config.source_dataset_split)


def import_datasets(where: object) -> Any:
    """The package `datasets`.

    Raises:
        MissingExtraError: When it is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtraError(where, "datasets", "hub") from None
    return datasets


def _cannot_load(item: str, name: str, error: Exception) -> SourceError:
    tried = "" if item.startswith(HUB_PREFIX) else f"there is no file or folder {item} here, and "
    return SourceError(
        item,
        f"{tried}loading the dataset {name!r} from the hub failed ({say_first_line(error, with_kind=True)})",
        "a path, or a dataset that can be reached",
        "Check the spelling and the network; what the dataset needs (a configuration, say) goes into source_dataset_params.",
    )


def _limit(config: SourceConfig) -> int | None:
    """How many rows a stream must give: the counts asked for; None for all."""
    offset, length = config.dataset_offset or 0, config.dataset_length
    if length is None or length < 1 or 0 < offset < 1:
        return None
    return int(max(offset, 0) + length)


def _keep_stream(
    item: str, rows: Iterable[dict[str, Any]], label: str, key: dict[str, Any], limit: int | None, candidates: list[str]
) -> Path:
    """Fetch the rows of a stream once into a file that is kept; a source is read more than once."""
    columns = getattr(rows, "column_names", None) or []
    roots = dict.fromkeys(name if name in columns else name.partition(".")[0] for name in candidates)
    chosen = [name for name in roots if name in columns]
    key = {**key, "limit": limit, "columns": chosen}
    path = find_cache_folder() / "streams" / hash_json(key) / "rows.jsonl"
    if path.is_file():
        log.info("%s: the rows fetched before are read (%s)", label, path)
        return path
    log.info("%s: fetching %s", label, "all rows" if limit is None else f"{limit:,} rows")
    selected = rows.select_columns(chosen) if chosen and hasattr(rows, "select_columns") else rows
    try:
        write_cached(path, _iter_lines(islice(selected, limit)))
    except OSError:
        raise
    except Exception as error:
        raise _cannot_load(item, key["name"], error) from error
    (path.parent / "about.json").write_text(json.dumps(key, indent=2), encoding="utf-8")
    return path


def _iter_lines(rows: Iterable[Any]) -> Iterator[bytes]:
    return (to_json_line(row) for row in rows)
