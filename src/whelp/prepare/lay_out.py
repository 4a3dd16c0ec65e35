"""Parts to splits: the files of a finished store.

A part that no document is taken from is linked under its final name: no byte is copied. Where documents, or their tails,
are held out after all were counted, the part is written anew, once for each side.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.artifacts.manifest import describe_file
from whelp.artifacts.token_store import finish_split, iter_batches, make_batch, make_schema, name_data_file, write_rows
from whelp.prepare.config import PrepareConfig
from whelp.prepare.held_out import choose_held_out
from whelp.prepare.ledger import Ledger
from whelp.prepare.parts import Part, join_ranges

Lengths = npt.NDArray[np.int64]


def lay_out_splits(
    folder: Path, parts: list[Part], vocab_size: int, config: PrepareConfig, ledger: Ledger, seed: int
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, Any]]]:
    """Write train and test from the parts; return what is in each, and size and checksum of their files."""
    has_test = any("test" in part.files for part in parts)
    tails = None if has_test or config.test_split == 0 else _choose_tails(parts, config, seed)
    sides = ["train", "test"] if has_test or tails is not None else ["train"]
    for side in ("train", "test"):  # also one of before that is not wanted any more
        shutil.rmtree(folder / side, ignore_errors=True)
    if tails is not None:
        divided = [(held > 0) & (held < _lengths(part)) for part, held in zip(parts, tails, strict=True)]
        ledger.documents_divided = sum(int(some.sum()) for some in divided)
    schema = make_schema(vocab_size)
    counts: dict[str, dict[str, int]] = {}
    checksums: dict[str, dict[str, Any]] = {}
    for side in sides:
        (folder / side).mkdir()
        write = _write_train if side == "train" else _write_test
        documents, tokens, files = write(folder / side, parts, tails, schema)
        finish_split(folder / side, schema, len(files), documents, tokens)
        ledger.documents[side], ledger.tokens[side] = documents, tokens
        counts[side] = {"documents": documents, "tokens": tokens}
        checksums |= {f"{side}/{name}": entry for name, entry in files.items()}
    return counts, checksums


def _choose_tails(parts: list[Part], config: PrepareConfig, seed: int) -> list[Lengths]:
    """For each part, how many tokens at the end of each of its documents are held out."""
    lengths = [_lengths(part) for part in parts]
    tails = choose_held_out(np.concatenate(lengths), config, seed)
    return np.split(tails, np.cumsum([len(some) for some in lengths])[:-1])


def _lengths(part: Part) -> Lengths:
    if "train" not in part.files:
        return np.zeros(0, np.int64)
    return np.concatenate([document_lengths(batch) for batch in iter_batches(part.path("train"))])


def document_lengths(batch: pa.RecordBatch) -> Lengths:
    """Tokens in each document."""
    lengths: Lengths = np.diff(batch.column(0).offsets.to_numpy(zero_copy_only=False)).astype(np.int64)
    return lengths


def _write_train(
    folder: Path, parts: list[Part], tails: list[Lengths] | None, schema: pa.Schema
) -> tuple[int, int, dict[str, dict[str, Any]]]:
    """One file for each part; returns documents, tokens, and size and checksum of the files by name."""
    num_documents = num_tokens = 0
    entries: list[dict[str, Any]] = []
    for index, part in enumerate(parts):
        path = folder / f"{len(entries)}.tmp"
        entry = part.files.get("train")
        if entry is None:
            continue
        if tails is None or not tails[index].any():
            _link(part.path("train"), path)
            documents, tokens = entry["documents"], entry["tokens"]
        else:
            documents, tokens = write_rows(path, schema, _select(part, schema, tails[index], is_test=False))
            entry = describe_file(path)
        entries.append({name: entry[name] for name in ("bytes", "checksum")})
        num_documents, num_tokens = num_documents + documents, num_tokens + tokens
    names = [name_data_file(index, len(entries)) for index in range(len(entries))]
    for index, name in enumerate(names):
        (folder / f"{index}.tmp").rename(folder / name)
    return num_documents, num_tokens, dict(zip(names, entries, strict=True))


def _write_test(
    folder: Path, parts: list[Part], tails: list[Lengths] | None, schema: pa.Schema
) -> tuple[int, int, dict[str, dict[str, Any]]]:
    """One file for all parts: what is held out is small; returns the same as `_write_train`."""

    def batches() -> Iterator[pa.RecordBatch]:
        for index, part in enumerate(parts):
            if tails is not None:
                yield from _select(part, schema, tails[index], is_test=True)
            elif "test" in part.files:
                yield from iter_batches(part.path("test"))

    path = folder / name_data_file(0, 1)
    documents, tokens = write_rows(path, schema, batches())
    return documents, tokens, {path.name: describe_file(path)}


def _link(path: Path, target: Path) -> None:
    """Give a file a second name: nothing is copied, and a killed run still finds the first."""
    try:
        os.link(path, target)
    except OSError:  # a file system without links
        shutil.copyfile(path, target)


def _select(part: Part, schema: pa.Schema, tails: Lengths, *, is_test: bool) -> Iterator[pa.RecordBatch]:
    """The train or the test side of a part whose documents, or their tails, are held out."""
    first = 0
    for batch in iter_batches(part.path("train")) if "train" in part.files else ():
        lengths = document_lengths(batch)
        held_out = tails[first : first + len(lengths)]
        first += len(lengths)
        sizes = held_out if is_test else lengths - held_out
        chosen = (sizes > 0) | ((lengths == 0) & (not is_test))  # a document of no token has its fate, too: train
        if not chosen.any():
            continue
        lists = batch.column(0)
        ends = lists.offsets.to_numpy(zero_copy_only=False)[1:].astype(np.int64)
        stops = (ends if is_test else ends - held_out)[chosen]
        offsets = np.concatenate(([0], np.cumsum(sizes[chosen]))).astype(np.int64)
        ids = join_ranges(lists.values.to_numpy(zero_copy_only=True), stops - sizes[chosen], stops)
        mask = pa.array(chosen)
        yield make_batch(schema, ids, offsets, batch.column("file_index").filter(mask), batch.column("line").filter(mask))
