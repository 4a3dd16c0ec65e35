"""Parts to splits: the files of a finished store.

A part that no document is taken from is linked under its final name: no byte is copied. Where documents, or their tails,
are held out after all were counted, the part is written anew, once for each side. Sources lie one after the other.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
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
from whelp.base.arrays import to_arrow, to_numpy
from whelp.prepare.config import PrepareConfig
from whelp.prepare.held_out import choose_held_out
from whelp.prepare.ledger import Ledger
from whelp.prepare.parts import Part, join_ranges

Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """The parts of one source. Its ledger gets to know what went into each split.

    `seed` draws what is held out; `name` is the source's in a mixture.
    """

    parts: list[Part]
    config: PrepareConfig
    ledger: Ledger
    seed: int
    name: str | None = None

    @property
    def has_test(self) -> bool:
        """Whether the documents of its test split are in parts of their own."""
        return any("test" in part.files for part in self.parts)


@dataclass
class _Placed:
    """A part on its way into the splits; `counts` is filled while it is written.

    `tails` are the tokens at the end of each of its documents that are held out; None: the part has its sides already.
    """

    part: Part
    tails: Lengths | None
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {"train": Counter(), "test": Counter()})


def lay_out_splits(folder: Path, groups: list[Group], vocab_size: int) -> dict[str, dict[str, Any]]:
    """Write train and test from the parts, one source after the other; return size and checksum of their files."""
    placed = [_place(group) for group in groups]
    flat = [one for some in placed for one in some]
    has_test = any(group.has_test for group in groups) or any(one.tails is not None for one in flat)
    for side in ("train", "test"):  # also one of before that is not wanted any more
        shutil.rmtree(folder / side, ignore_errors=True)
    has_mask = any(entry["masked"] is not None for one in flat for entry in one.part.files.values())
    schema = make_schema(vocab_size, has_mask=has_mask)
    checksums: dict[str, dict[str, Any]] = {}
    for side in ["train", "test"] if has_test else ["train"]:
        (folder / side).mkdir()
        files = _write_train(folder / side, flat, schema) if side == "train" else _write_test(folder / side, flat, schema)
        for group, some in zip(groups, placed, strict=True):
            counted = sum((one.counts[side] for one in some), Counter())
            ledger = group.ledger
            ledger.documents[side], ledger.tokens[side] = counted["documents"], counted["tokens"]
            ledger.masked[side] = counted["masked"]
        documents, tokens = (sum(one.counts[side][what] for one in flat) for what in ("documents", "tokens"))
        finish_split(folder / side, schema, len(files), documents, tokens)
        checksums |= {f"{side}/{name}": entry for name, entry in files.items()}
    return checksums


def _place(group: Group) -> list[_Placed]:
    """Choose what is held out of a source, by its own rule; count the documents that are divided."""
    if group.has_test or group.config.test_split == 0:
        return [_Placed(part, None) for part in group.parts]
    lengths = [_lengths(part) for part in group.parts]
    where = "data.test_split" if group.name is None else f"data.test_split of the source {group.name}"
    tails = choose_held_out(np.concatenate(lengths), group.config, group.seed, where=where)
    group.ledger.documents_divided = int(((tails > 0) & (tails < np.concatenate(lengths))).sum())
    each = np.split(tails, np.cumsum([len(some) for some in lengths])[:-1])
    return [_Placed(part, held) for part, held in zip(group.parts, each, strict=True)]


def _lengths(part: Part) -> Lengths:
    if "train" not in part.files:
        return np.zeros(0, np.int64)
    return np.concatenate([document_lengths(batch) for batch in iter_batches(part.path("train"))])


def document_lengths(batch: pa.RecordBatch) -> Lengths:
    """Tokens in each document."""
    lengths: Lengths = np.diff(to_numpy(batch.column(0).offsets)).astype(np.int64)
    return lengths


def _write_train(folder: Path, placed: list[_Placed], schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """One file for each part; return size and checksum of each."""
    entries: list[dict[str, Any]] = []
    for one in placed:
        entry = one.part.files.get("train")
        if entry is None:
            continue
        path = folder / f"{len(entries)}.tmp"
        has_schema = (entry["masked"] is not None) == (MASK_COLUMN in schema.names)
        if has_schema and (one.tails is None or not one.tails.any()):
            _link(one.part.path("train"), path)
            one.counts["train"].update({name: entry[name] or 0 for name in ("documents", "tokens", "masked")})
            entries.append({name: entry[name] for name in ("bytes", "checksum")})
            continue
        write_rows(path, schema, _select(one, schema, is_test=False))
        entries.append(describe_file(path))
    names = [name_data_file(index, len(entries)) for index in range(len(entries))]
    for index, name in enumerate(names):
        (folder / f"{index}.tmp").rename(folder / name)
    return dict(zip(names, entries, strict=True))


def _write_test(folder: Path, placed: list[_Placed], schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """One file for all parts: what is held out is small. Return its size and checksum."""
    path = folder / name_data_file(0, 1)
    write_rows(path, schema, itertools.chain.from_iterable(_select(one, schema, is_test=True) for one in placed))
    return {path.name: describe_file(path)}


def _link(path: Path, target: Path) -> None:
    """Give a file a second name: nothing is copied, and a killed run still finds the first."""
    try:
        os.link(path, target)
    except OSError:  # a file system without links
        shutil.copyfile(path, target)


def _select(placed: _Placed, schema: pa.Schema, *, is_test: bool) -> Iterator[pa.RecordBatch]:
    """The train or the test side of a part, counted as it goes by."""
    part, tails, counts = placed.part, placed.tails, placed.counts["test" if is_test else "train"]
    side = "test" if is_test and tails is None else "train"
    if side not in part.files:
        return
    first = 0
    for batch in iter_batches(part.path(side)):
        lengths = document_lengths(batch)
        sizes, chosen = lengths, np.ones(len(lengths), dtype=bool)
        stops = to_numpy(batch.column(0).offsets)[1:].astype(np.int64)
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
        counts.update(documents=len(sizes), tokens=int(sizes.sum()), masked=0 if mask is None else int((mask == 0).sum()))
        yield make_batch(
            schema,
            _take(batch.column("input_ids"), starts, stops),
            np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            batch.column("file_index").filter(to_arrow(chosen)),
            batch.column("line").filter(to_arrow(chosen)),
            mask,
        )


def _take(lists: pa.ListArray, starts: Lengths, stops: Lengths) -> npt.NDArray[Any]:
    return join_ranges(to_numpy(lists.values), starts, stops)
