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
from whelp.artifacts.token_store import (
    MASK_COLUMN,
    finish_split,
    iter_batches,
    make_batch,
    make_schema,
    name_data_file,
    write_rows,
)
from whelp.prepare.config import PrepareConfig
from whelp.prepare.held_out import choose_held_out
from whelp.prepare.ledger import Ledger
from whelp.prepare.parts import Part, count_masked, join_ranges

Lengths = npt.NDArray[np.int64]
Written = tuple[dict[str, dict[str, Any]], int]  # what is in each file, size and checksum; tokens that are not trained


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
    has_mask = any(entry["masked"] is not None for part in parts for entry in part.files.values())
    schema = make_schema(vocab_size, has_mask=has_mask)
    counts: dict[str, dict[str, int]] = {}
    checksums: dict[str, dict[str, Any]] = {}
    for side in sides:
        (folder / side).mkdir()
        write = _write_train if side == "train" else _write_test
        files, masked = write(folder / side, parts, tails, schema)
        documents, tokens = (sum(int(entry.pop(what)) for entry in files.values()) for what in ("documents", "tokens"))
        finish_split(folder / side, schema, len(files), documents, tokens)
        ledger.documents[side], ledger.tokens[side], ledger.masked[side] = documents, tokens, masked
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


def _write_train(folder: Path, parts: list[Part], tails: list[Lengths] | None, schema: pa.Schema) -> Written:
    """One file for each part."""
    entries: list[dict[str, Any]] = []
    num_masked = 0
    for index, part in enumerate(parts):
        entry = part.files.get("train")
        if entry is None:
            continue
        path = folder / f"{len(entries)}.tmp"
        has_schema = (entry["masked"] is not None) == (MASK_COLUMN in schema.names)
        if has_schema and (tails is None or not tails[index].any()):
            _link(part.path("train"), path)
            num_masked += entry["masked"] or 0
            entries.append({name: entry[name] for name in ("documents", "tokens", "bytes", "checksum")})
            continue
        batches = _Masked(_select(part, schema, None if tails is None else tails[index], is_test=False))
        documents, tokens = write_rows(path, schema, batches)
        num_masked += batches.num_masked
        entries.append({"documents": documents, "tokens": tokens, **describe_file(path)})
    names = [name_data_file(index, len(entries)) for index in range(len(entries))]
    for index, name in enumerate(names):
        (folder / f"{index}.tmp").rename(folder / name)
    return dict(zip(names, entries, strict=True)), num_masked


def _write_test(folder: Path, parts: list[Part], tails: list[Lengths] | None, schema: pa.Schema) -> Written:
    """One file for all parts: what is held out is small."""

    def select() -> Iterator[pa.RecordBatch]:
        for index, part in enumerate(parts):
            yield from _select(part, schema, None if tails is None else tails[index], is_test=True)

    path = folder / name_data_file(0, 1)
    batches = _Masked(select())
    documents, tokens = write_rows(path, schema, batches)
    return {path.name: {"documents": documents, "tokens": tokens, **describe_file(path)}}, batches.num_masked


class _Masked:
    """Batches passed on; counts the tokens in them that are not trained."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches, self.num_masked = batches, 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.num_masked += count_masked(batch) or 0
            yield batch


def _link(path: Path, target: Path) -> None:
    """Give a file a second name: nothing is copied, and a killed run still finds the first."""
    try:
        os.link(path, target)
    except OSError:  # a file system without links
        shutil.copyfile(path, target)


def _select(part: Part, schema: pa.Schema, tails: Lengths | None, *, is_test: bool) -> Iterator[pa.RecordBatch]:
    """The train or the test side of a part. With `tails`, so many tokens of each of its documents are held out."""
    side = "test" if is_test and tails is None else "train"
    if side not in part.files:
        return
    first = 0
    for batch in iter_batches(part.path(side)):
        lengths = document_lengths(batch)
        sizes, chosen = lengths, np.ones(len(lengths), dtype=bool)
        stops = batch.column(0).offsets.to_numpy(zero_copy_only=False)[1:].astype(np.int64)
        if tails is not None:
            held_out = tails[first : first + len(lengths)]
            first += len(lengths)
            sizes, stops = (held_out, stops) if is_test else (lengths - held_out, stops - held_out)
            chosen = (sizes > 0) | ((lengths == 0) & (not is_test))  # a document of no token has its fate, too: train
        if not chosen.any():
            continue
        stops, sizes = stops[chosen], sizes[chosen]
        starts = stops - sizes
        mask = None
        if MASK_COLUMN in batch.schema.names:
            mask = _take(batch.column(MASK_COLUMN), starts, stops)
        elif MASK_COLUMN in schema.names:  # a part without one has nothing that is not trained
            mask = np.ones(sizes.sum(), np.uint8)
        yield make_batch(
            schema,
            _take(batch.column("input_ids"), starts, stops),
            np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            batch.column("file_index").filter(pa.array(chosen)),
            batch.column("line").filter(pa.array(chosen)),
            mask,
        )


def _take(lists: pa.ListArray, starts: Lengths, stops: Lengths) -> npt.NDArray[Any]:
    return join_ranges(lists.values.to_numpy(zero_copy_only=True), starts, stops)
