"""Documents to a token store: encode partition by partition, then lay the splits out.

1. Each partition of the source becomes one file in STORE/.parts, named by a fingerprint of its text, the vocabulary and
   the options. A killed run finds the finished ones again; an edited file changes only its own.
2. With all documents counted, the held-out ones are chosen, and train and test are written from the parts.
3. The manifest is written last, then the parts go.

Partitions depend on the source alone, so the store is the same, to the byte, however often the work was interrupted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.artifacts.manifest import NAME as MANIFEST_NAME
from whelp.artifacts.manifest import Manifest, describe_files, find_kind, write_manifest
from whelp.artifacts.token_store import (
    DATA_FILE,
    LEDGER_FILE,
    SOURCES_FILE,
    TOKENIZER_FOLDER,
    iter_batches,
    make_batch,
    make_schema,
    open_sink,
    write_split,
    write_splits,
)
from whelp.base.errors import ArtifactError, PlanError
from whelp.base.files import sync_tree, write_json
from whelp.base.hashing import hash_json
from whelp.base.seeds import make_seed
from whelp.prepare.config import PrepareConfig
from whelp.prepare.ledger import Ledger
from whelp.prepare.order import shuffle_indices

PARTS_FOLDER = ".parts"
FEW_DOCUMENTS = 20  # with fewer, the tail of each document is held out instead of whole ones
_COUNTS = b"counts"
_FORMAT = 1  # raise it when the same inputs would give another store


class PartitionLike(Protocol):
    """A piece of the source."""

    @property
    def index(self) -> int: ...
    @property
    def batch(self) -> pa.RecordBatch: ...
    @property
    def fingerprint(self) -> str: ...


class VocabularyLike(Protocol):
    """What encodes the text."""

    @property
    def size(self) -> int: ...
    @property
    def eos_id(self) -> int | None: ...
    @property
    def fingerprint(self) -> str: ...
    def encode_batch(self, texts: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]: ...
    def encode(self, text: str) -> npt.NDArray[Any]: ...
    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """Progress after one partition."""

    partition: int
    num_documents: int
    num_tokens: int
    num_bytes: int
    is_reused: bool


def prepare(
    partitions: Iterable[PartitionLike],
    vocabulary: VocabularyLike,
    config: PrepareConfig,
    folder: Path,
    *,
    source: Mapping[str, Any],
    sources: Callable[[], list[str]],
    count_files: Callable[[Ledger], None] = lambda ledger: None,
    seed: int = 0,
) -> Iterator[PrepareReport]:
    """Write a token store at `folder`; yield a report after each partition.

    Args:
        partitions: Pieces of the source, in order; each a record batch of `text`, `file_index`, `line`.
        source: What identifies the source, for the manifest.
        sources: Names of the source's files; asked once all partitions are read.
        count_files: Fills in the ledger's files and notes; asked at the same time.
        seed: Draws the held-out documents.

    Raises:
        ArtifactError: When something else than a token store stands at `folder`.
        PlanError: When there is no document to train on.
    """
    _check_place(folder)
    parts_folder = folder / PARTS_FOLDER
    parts_folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_NAME).unlink(missing_ok=True)  # from here on it is not finished
    schema = make_schema(vocabulary.size)
    separator = _separator_ids(vocabulary, config)
    options = {"format": _FORMAT, "vocabulary": vocabulary.fingerprint, "separator": separator.tolist()}
    options |= {"min": config.min_token_size, "max": config.max_token_size}
    parts: list[Path] = []
    ledger = Ledger()
    for partition in partitions:
        key = hash_json({**options, "text": partition.fingerprint})
        part = parts_folder / f"part-{partition.index:05d}-{key}.arrow"
        is_reused = part.is_file()
        if not is_reused:
            _encode_partition(partition.batch, vocabulary, separator, config, schema, part)
        part_counts = _count_part(part, ledger)
        parts.append(part)
        yield PrepareReport(partition=partition.index, is_reused=is_reused, **part_counts)
    count_files(ledger)
    num_documents = ledger.documents_in - ledger.documents.total()  # what is not dropped
    if num_documents == 0:
        dropped = ", ".join(f"{count:,} {fate}" for fate, count in ledger.documents.items()) or "no document at all"
        raise PlanError(
            folder, f"nothing is left to train on ({dropped})", "at least one document", "Check data.source and its filters."
        )
    splits = _write_splits(folder, parts, schema, config, ledger, num_documents, seed)
    shutil.rmtree(folder / TOKENIZER_FOLDER, ignore_errors=True)
    (folder / TOKENIZER_FOLDER).mkdir()
    vocabulary.save(folder / TOKENIZER_FOLDER)
    write_json(folder / SOURCES_FILE, sources())
    write_json(folder / LEDGER_FILE, ledger.to_dict())
    write_splits(folder, list(splits))
    names = [f"{split}/{DATA_FILE}" for split in splits] + [SOURCES_FILE, LEDGER_FILE]
    sync_tree(folder)
    counts: dict[str, Any] = {"vocab_size": vocabulary.size, "splits": splits, "text_bytes": ledger.text_bytes}
    inputs = {"source": dict(source), "tokenizer": vocabulary.fingerprint, "format": _FORMAT}
    write_manifest(
        folder,
        Manifest(
            kind="token_store",
            config={**{field.name: getattr(config, field.name) for field in fields(PrepareConfig)}, "seed": seed},
            counts=counts,
            inputs=inputs,
            files=describe_files(folder, names),
        ),
    )
    clear_parts(folder)


def clear_parts(folder: Path) -> None:
    """Remove the parts of a finished store; a run that was killed just before its end has left them."""
    shutil.rmtree(folder / PARTS_FOLDER, ignore_errors=True)


def _check_place(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArtifactError(folder, "is a file", "a folder for the token store", "Choose another --out.")
    kind = find_kind(folder)
    is_ours = kind == "token_store" or (folder / PARTS_FOLDER).is_dir() or not any(folder.iterdir())
    if not is_ours:
        found = f"holds a {kind}" if kind else "holds other files"
        raise ArtifactError(folder, found, "an empty folder or a token store", "Choose another --out; nothing was changed.")


def _separator_ids(vocabulary: VocabularyLike, config: PrepareConfig) -> npt.NDArray[Any]:
    text = config.separator_text
    if text is not None:
        return vocabulary.encode(text)
    if vocabulary.eos_id is None:
        raise PlanError(
            "data.separator",
            "is eos, but the tokenizer has no end-of-text token",
            "",
            "Set data.separator to newline, none or a text.",
        )
    return np.array([vocabulary.eos_id])


def _encode_partition(
    batch: pa.RecordBatch,
    vocabulary: VocabularyLike,
    separator: npt.NDArray[Any],
    config: PrepareConfig,
    schema: pa.Schema,
    part: Path,
) -> None:
    """Encode one partition's documents, drop what the filters drop, append the separators, write one part file."""
    ids, offsets = vocabulary.encode_batch(batch.column("text"))
    lengths = np.diff(offsets)
    is_short = lengths < config.min_token_size
    is_long = lengths > config.max_token_size if config.max_token_size >= 0 else np.zeros(len(lengths), dtype=bool)
    kept = ~(is_short | is_long)
    dropped = {"too short": is_short, "too long": is_long}
    counts = {
        "documents_in": len(lengths),
        "text_bytes": _num_text_bytes(batch.column("text")),
        "dropped": {reason: [int(where.sum()), int(lengths[where].sum())] for reason, where in dropped.items() if where.any()},
    }
    file_index, line = batch.column("file_index"), batch.column("line")
    if not kept.all():
        ids = ids[np.repeat(kept, lengths)]
        file_index, line = file_index.filter(pa.array(kept)), line.filter(pa.array(kept))
        lengths = lengths[kept]
    ids, offsets = _append_separator(ids, lengths, separator)
    schema = schema.with_metadata({_COUNTS: json.dumps(counts)})
    temporary = part.with_suffix(".tmp")
    with open_sink(temporary) as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(make_batch(schema, ids, offsets, file_index, line))
    temporary.replace(part)


def _num_text_bytes(texts: pa.Array) -> int:
    """UTF-8 bytes of all texts together."""
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64 if pa.types.is_large_string(texts.type) else np.int32)
    return int(offsets[texts.offset + len(texts)] - offsets[texts.offset])


def _append_separator(
    ids: npt.NDArray[Any], lengths: npt.NDArray[np.int64], separator: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Flat ids with the separator after every document, and the new offsets (documents + 1)."""
    offsets = np.concatenate(([0], np.cumsum(lengths + len(separator)))).astype(np.int64)
    if not len(separator):
        return ids, offsets
    joined = np.empty(offsets[-1], dtype=ids.dtype)
    is_text = np.ones(offsets[-1], dtype=bool)
    for place, separator_id in enumerate(separator):
        where = offsets[1:] - len(separator) + place
        joined[where] = separator_id
        is_text[where] = False
    joined[is_text] = ids
    return joined, offsets


def _count_part(part: Path, ledger: Ledger) -> dict[str, int]:
    """Add a part's counts to the ledger; the documents it kept get their fate when the splits are written."""
    with pa.memory_map(str(part)) as source:
        reader = pa.ipc.open_stream(source)
        counts = json.loads(reader.schema.metadata[_COUNTS])
        lengths = [_document_lengths(batch) for batch in reader]
    num_documents, num_tokens = sum(map(len, lengths)), sum(int(length.sum()) for length in lengths)
    ledger.documents_in += counts["documents_in"]
    ledger.text_bytes += counts["text_bytes"]
    ledger.tokens_in += num_tokens
    for reason, (documents, tokens) in counts["dropped"].items():
        ledger.documents[f"dropped: {reason}"] += documents
        ledger.tokens[f"dropped: {reason}"] += tokens
        ledger.tokens_in += tokens
    return {"num_documents": num_documents, "num_tokens": num_tokens, "num_bytes": counts["text_bytes"]}


def _document_lengths(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    lengths: npt.NDArray[np.int64] = np.diff(batch.column(0).offsets.to_numpy(zero_copy_only=False)).astype(np.int64)
    return lengths


def _write_splits(
    folder: Path, parts: list[Path], schema: pa.Schema, config: PrepareConfig, ledger: Ledger, num_documents: int, seed: int
) -> dict[str, dict[str, int]]:
    """Write train and test from the parts; return what is in each."""
    names = ["train", "test"] if config.test_split > 0 else ["train"]
    lengths = np.concatenate([_document_lengths(batch) for part in parts for batch in iter_batches(part)])
    held_out = choose_held_out(lengths, config, seed) if len(names) == 2 else np.zeros(num_documents, dtype=np.int64)
    ledger.documents_divided = int(((held_out > 0) & (held_out < lengths)).sum())
    splits = {}
    for name in ("train", "test"):  # also one of before that is not wanted any more
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in names:
        batches = _select(parts, schema, held_out, is_test=name == "test")
        documents, tokens = write_split(folder / name, schema, batches)
        ledger.documents[name], ledger.tokens[name] = documents, tokens
        splits[name] = {"documents": documents, "tokens": tokens}
    return splits


def choose_held_out(lengths: npt.NDArray[np.int64], config: PrepareConfig, seed: int) -> npt.NDArray[np.int64]:
    """How many tokens at the end of each document are held out: all of some documents, or the tail of each.

    Raises:
        PlanError: When nothing would be left to train on.
    """
    num_documents, wanted = len(lengths), config.test_split
    by_tail = config.test_split_by == "tail" or (
        config.test_split_by == "auto" and num_documents < FEW_DOCUMENTS and wanted < 1
    )
    if by_tail:
        tails = np.minimum(np.round(lengths * wanted).astype(np.int64), np.maximum(lengths - 1, 0))
        longest = int(np.argmax(lengths))
        tails[longest] = max(tails[longest], min(2, lengths[longest] - 1))  # a test split is never empty
        return tails
    num_test = int(wanted) if wanted >= 1 else max(1, round(num_documents * wanted))
    if num_test >= num_documents:
        raise PlanError(
            "data.test_split",
            f"holds out {num_test:,} of {num_documents:,} documents, which leaves none to train on",
            "",
            "Lower it, or set data.test_split_by=tail to hold out the end of each document.",
        )
    if config.test_split_shuffle:
        chosen = shuffle_indices(np.arange(num_test), num_documents, make_seed(seed, "held out"))
    else:
        chosen = np.arange(num_documents - num_test, num_documents)
    held_out = np.zeros(num_documents, dtype=np.int64)
    held_out[chosen] = lengths[chosen]
    return held_out


def _select(
    parts: list[Path], schema: pa.Schema, held_out: npt.NDArray[np.int64], *, is_test: bool
) -> Iterator[pa.RecordBatch]:
    """The train or the test side of every part, one record batch each."""
    first = 0
    for part in parts:
        for batch in iter_batches(part):
            lengths = _document_lengths(batch)
            tails = held_out[first : first + len(lengths)]
            first += len(lengths)
            sizes = tails if is_test else lengths - tails
            chosen = (sizes > 0) | ((lengths == 0) & (not is_test))  # a document of no token has its fate, too: train
            if not chosen.any():
                continue
            if chosen.all() and (sizes == lengths).all():
                yield pa.record_batch(batch.columns, schema=schema)
                continue
            lists = batch.column(0)
            values = lists.values.to_numpy(zero_copy_only=True)
            ends = lists.offsets.to_numpy(zero_copy_only=False)[1:].astype(np.int64)
            stops = (ends if is_test else ends - tails)[chosen]
            offsets = np.concatenate(([0], np.cumsum(sizes[chosen]))).astype(np.int64)
            mask = pa.array(chosen)
            yield make_batch(
                schema,
                _join_ranges(values, stops - sizes[chosen], stops),
                offsets,
                batch.column(1).filter(mask),
                batch.column(2).filter(mask),
            )


def _join_ranges(values: npt.NDArray[Any], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """values[start:stop] of all ranges, in order; neighbours that touch are copied as one."""
    is_gap = starts[1:] != stops[:-1]
    run_starts = starts[np.concatenate(([True], is_gap))]
    run_stops = stops[np.concatenate((is_gap, [True]))]
    return np.concatenate([values[start:stop] for start, stop in zip(run_starts, run_stops, strict=True)])
