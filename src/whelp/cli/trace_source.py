"""Where a source of text is in a token store: by name, by path, or by the contents of a file, through `whelp curate`, too."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.manifest import find_kind
from whelp.artifacts.token_store import TokenStore
from whelp.base.arrays import to_numpy
from whelp.base.files import read_json
from whelp.base.hashing import hash_file
from whelp.base.paths import as_path


@dataclass(frozen=True)
class Asked:
    """What is looked for: a name or a pattern, or a file or a folder that is here.

    What is here is known by its path, and by the contents of its files, wherever they lay when they were prepared. Only where
    neither is found is it known by its name (`by_name`), as what is not here always is.
    """

    word: str
    by_name: bool

    @classmethod
    def read(cls, word: str) -> Asked:
        """What a word on the command line means."""
        word = str(as_path(word)) if word.startswith("~") else word
        return cls(word, by_name=not os.path.exists(word))

    @cached_property
    def path(self) -> str:
        """Where it would be."""
        return os.path.realpath(self.word)

    @cached_property
    def _files(self) -> dict[int, list[Path]]:
        """The files that are here, by their size."""
        found: dict[int, list[Path]] = {}
        here = Path(self.word)
        places = [here] if here.is_file() else (Path(root, name) for root, _, names in os.walk(here) for name in names)
        for place in places:
            if place.is_file():
                found.setdefault(place.stat().st_size, []).append(place)
        return found

    def has_contents(self, file: Mapping[str, Any]) -> bool:
        """Whether a file that is here has the contents of this one; only files of its size are read."""
        same_size = self._files.get(int(file.get("bytes", -1)), [])
        return any(_hash_once(place) == file.get("fingerprint") for place in same_size)

    def matches_name(self, description: Mapping[str, Any], name: str | None) -> bool:
        """Whether a whole source is meant: by its name in a mixture, or by what it was called in the recipe."""
        return self.word in (name, description.get("name"))

    def matches_file(self, description: Mapping[str, Any], file: Mapping[str, Any]) -> bool:
        """Whether a file of a source is meant."""
        label = str(file["path"])
        whole = os.path.realpath(os.path.join(str(description.get("root", "")), label))
        is_named = self.word in (label, os.path.basename(label)) or fnmatch.fnmatch(label, self.word)
        return (
            whole == self.path
            or whole.startswith(self.path.rstrip(os.sep) + os.sep)
            or self.has_contents(file)
            or (self.by_name and is_named)
        )


_hash_once = cache(hash_file)


@dataclass(frozen=True)
class SplitCount:
    """Documents and tokens."""

    documents: int = 0
    tokens: int = 0

    def __add__(self, other: SplitCount) -> SplitCount:
        return SplitCount(self.documents + other.documents, self.tokens + other.tokens)


@dataclass(frozen=True)
class Found:
    """What a store has of the source.

    Attributes:
        files: Labels of files that are the source's, or hold some of it.
        splits: Documents and tokens of it in each split.
        parts: Of the training split, by source of the mixture (None: the only one): tokens of it, tokens in all.
        through: Curated corpora that it came through.
    """

    files: list[str]
    splits: dict[str, SplitCount]
    parts: dict[str | None, tuple[int, int]]
    through: list[str]


def find_in_store(store: TokenStore, asked: Asked) -> Found:
    """Count what a store has of a source. Nothing is written, and of the store only its columns of places are read."""
    source = store.manifest.inputs["source"]
    descriptions = source.get("sources") or {None: source}
    whole_files: dict[int, str] = {}
    some_rows: dict[int, npt.NDArray[np.int64]] = {}  # of a curated file: the lines that came from the source
    through: list[str] = []
    number = 0
    for name, description in descriptions.items():
        is_meant = asked.matches_name(description, name)
        for file in description.get("files", []):
            if is_meant or asked.matches_file(description, file):
                whole_files[number] = str(file["path"])
            else:
                lines, corpus = _find_curated(description, file, asked)
                if len(lines):
                    some_rows[number] = lines
                    through.append(str(corpus))
            number += 1
    splits, parts = dict[str, SplitCount](), dict[str | None, tuple[int, int]]()
    for split in store.manifest.counts["splits"]:
        splits[split] = SplitCount()
        for name, part in store.split_by_source(split).items():
            is_ours = _find_documents(part.table, whole_files, some_rows)
            lengths = np.diff(part.document_ends, prepend=0)
            splits[split] += SplitCount(int(is_ours.sum()), int(lengths[is_ours].sum()))
            if split == "train":
                parts[name] = int(lengths[is_ours].sum()), int(lengths.sum())
    labels = store.sources
    files = [labels[place] if place < len(labels) else str(place) for place in sorted({*whole_files, *some_rows})]
    return Found(files=files, splits=splits, parts=parts, through=sorted(set(through)))


def _find_documents(
    table: Any, whole_files: Mapping[int, str], some_rows: Mapping[int, npt.NDArray[np.int64]]
) -> npt.NDArray[np.bool_]:
    """Which documents are of these files, or of these lines of those."""
    file_index = np.concatenate([np.empty(0, np.int32), *(to_numpy(chunk) for chunk in table.column("file_index").chunks)])
    is_ours = np.isin(file_index, list(whole_files))
    if some_rows:
        line = np.concatenate([np.empty(0, np.int64), *(to_numpy(chunk) for chunk in table.column("line").chunks)])
        for number, lines in some_rows.items():
            is_ours |= (file_index == number) & np.isin(line, lines)
    return is_ours


def _find_curated(
    description: Mapping[str, Any], file: Mapping[str, Any], asked: Asked
) -> tuple[npt.NDArray[np.int64], Path | None]:
    """Of a file that `whelp curate` wrote: the lines, from 1 on, whose rows came from the source; and the corpus.

    What it curated may have been curated before: a row's line of that file is followed to where that came from.
    """
    path = Path(str(description.get("root", "")), str(file["path"]))
    nothing = np.empty(0, np.int64)
    corpus = next((parent for parent in path.parents if find_kind(parent) == "curated"), None)
    if corpus is None or not path.is_file():
        return nothing, None
    source = read_json(corpus / "manifest.json")["inputs"]["source"]
    whole, some = set[str](), dict[str, npt.NDArray[np.int64]]()
    for name, inner in (source.get("sources") or {None: source}).items():
        is_meant = asked.matches_name(inner, name)
        for one in inner.get("files", []):
            if is_meant or asked.matches_file(inner, one):
                whole.add(str(one["path"]))
            elif len(lines := _find_curated(inner, one, asked)[0]):
                some[str(one["path"])] = lines
    if not whole and not some:
        return nothing, corpus
    import pyarrow as pa
    import pyarrow.compute as pc

    origins, lines = _read_origins(path)
    is_ours = to_numpy(pc.is_in(origins, pa.array(sorted(whole), origins.type)).cast("uint8")).astype(np.bool_)
    for label, own in some.items():
        is_there = to_numpy(pc.equal(origins, label).fill_null(False).cast("uint8")).astype(np.bool_)
        is_ours |= is_there & np.isin(to_numpy(lines.fill_null(-1)), own)
    return np.flatnonzero(is_ours) + 1, corpus


def _read_origins(path: Path) -> tuple[Any, Any]:
    """The columns `origin` and `line` of a curated file."""
    import pyarrow as pa

    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path, columns=["origin", "line"])
    else:
        import pyarrow.json

        schema = pa.schema([("origin", pa.large_string()), ("line", pa.int64())])
        options = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        reading = pyarrow.json.ReadOptions(block_size=1 << 26)
        table = pyarrow.json.read_json(path, read_options=reading, parse_options=options)
    return table.column("origin").combine_chunks(), table.column("line").combine_chunks()
