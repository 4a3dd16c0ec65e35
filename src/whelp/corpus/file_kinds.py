"""A kind of file as a source: `source: json` with `source_data_dir`, or with `data_files` in `source_dataset_params`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from whelp.base.errors import SourceError
from whelp.corpus.compressed import split_name
from whelp.corpus.config import SourceConfig
from whelp.corpus.find_files import FoundFile, SkippedFile, expand
from whelp.corpus.remote import find_remote
from whelp.corpus.rows import find_format
from whelp.corpus.source_words import is_url
from whelp.corpus.splits import choose_by_name, choose_splits, skip_others

_SUFFIXES = {  # what is read from a folder; None: everything
    "text": None,
    "json": (".json", ".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "pandas": (".parquet", ".feather", ".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".ods", ".pkl", ".pickle"),
}
_PICKLES = (".pkl", ".pickle")
_PARAMS = ("data_files", "data_dir", "delimiter", "sep", "storage_options")


def find_kind_files(kind: str, config: SourceConfig) -> tuple[list[FoundFile], list[SkippedFile]]:
    """The files of a kind, wherever they are, and those of splits not in use; a mapping of `data_files` says their splits.

    Raises:
        SourceError: When it is not said where they are, when there are none, or when they cannot be read safely.
    """
    params = config.source_dataset_params
    unknown = [name for name in params if name not in _PARAMS]
    if unknown:
        raise SourceError(
            "data.source_dataset_params",
            f"has {', '.join(unknown)}",
            f"of {', '.join(_PARAMS)} for source: {kind}",
            "Take it out.",
        )
    folder = params.get("data_dir") or config.source_data_dir
    files = params.get("data_files")
    if not folder and not files:
        raise SourceError(
            kind,
            "there is no file or folder of that name, and for a kind of file nothing says where the files are",
            "",
            f"Put your files into a folder {kind}/. As a kind of file: set data.source_data_dir to their folder, "
            "or data.source_dataset_params to {data_files: ...}.",
        )
    asked = config.source_dataset_split
    if not files and not is_url(str(folder)) and os.path.isdir(str(folder)):
        return choose_by_name(_find(str(folder), kind, config), Path(str(folder)).absolute(), asked, folder)
    splits = files if isinstance(files, Mapping) else {"train": files or folder}
    found: list[FoundFile] = []
    option = "data.source_dataset_params.data_files"
    for name, split in choose_splits(option, splits, asked):
        for item in _as_list(splits[name]):
            where = item if item is folder or not folder or is_url(item) else str(Path(folder) / item)
            found += [replace(file, split=split, split_name=name) for file in _find(where, kind, config)]
    return found, skip_others(option, splits, asked)


def _as_list(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str) for item in items):
        raise SourceError("data.source_dataset_params.data_files", f"is {value!r}", "a file, a glob, or a list of those", "")
    return items


def _find(item: str, kind: str, config: SourceConfig) -> list[FoundFile]:
    if is_url(item):
        found, _ = find_remote(item, config, is_named=True)
    else:
        _, paths, _, is_named = expand(item, config.include_suffixes)
        found = [FoundFile(path, is_named, written=item if is_named else None) for path in paths]
    suffixes = _SUFFIXES[kind]
    if suffixes is not None and not (len(found) == 1 and found[0].is_named):
        found = [file for file in found if split_name(file.path)[0] in suffixes]
        if not found:
            raise SourceError(item, f"has no files of the kind {kind}", f"names that end in {', '.join(suffixes)}", "")
    return [replace(file, format=_choose_format(file, kind, config)) for file in found]


def _choose_format(file: FoundFile, kind: str, config: SourceConfig) -> str | None:
    suffix = split_name(file.path)[0]
    if kind == "text":
        return "text"
    if suffix in _PICKLES:
        raise SourceError(
            file.where,
            "is a pickle, which may run any program when it is opened",
            "a frame in a safe format",
            "Write it with `frame.to_parquet`, or hand the frame over: whelp.prepare(..., rows=frame).",
        )
    known = find_format(file.path)
    if kind == "csv":
        return known if known in ("csv", "tsv") else "csv"
    if kind == "json":
        return known if known in ("json", "jsonl") else "json"
    return "parquet" if kind == "parquet" else known
