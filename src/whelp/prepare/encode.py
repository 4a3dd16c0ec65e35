"""Documents to a token store: encode partition by partition, then lay the splits out.

1. Each partition of the source becomes one file in STORE/.parts, named by a fingerprint of its text, the vocabulary and
   the options. A killed run finds the finished ones again; an edited file changes only its own. The template makes pieces
   of text of its rows; a part has a mask where some tokens are not trained.
2. With all documents counted, the held-out ones are chosen, and train and test are written from the parts. A test split
   that the source brings along is taken as it is.
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
    MASK_COLUMN,
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
from whelp.prepare.config import PrepareConfig, TemplateConfig
from whelp.prepare.ledger import Ledger
from whelp.prepare.order import shuffle_indices
from whelp.prepare.segments import encode_pieces
from whelp.prepare.template import NO_TEXT, Template, make_template

PARTS_FOLDER = ".parts"
FEW_DOCUMENTS = 20  # with fewer, the tail of each document is held out instead of whole ones
_COUNTS = b"counts"
_FORMAT = 1  # raise it when the same inputs would give another store


class PartitionLike(Protocol):
    """A piece of the source. It may have a `split`, train or test; without one it is of train."""

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
    def encode_batch(self, texts: pa.Array, *, allow_special: bool = ...) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]: ...
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
    template: Template | None = None,
    seed: int = 0,
) -> Iterator[PrepareReport]:
    """Write a token store at `folder`; yield a report after each partition.

    Args:
        partitions: Pieces of the source, in order; each a record batch of the template's columns (as far as there are
            such), `file_index` and `line`.
        source: What identifies the source, for the manifest.
        sources: Names of the source's files; asked once all partitions are read.
        count_files: Fills in the ledger's files and notes; asked at the same time.
        template: Makes text of rows; by default the one of a recipe that says nothing of templates.
        seed: Draws the held-out documents.

    Raises:
        ArtifactError: When something else than a token store stands at `folder`.
        PlanError: When there is no document to train on.
    """
    _check_place(folder)
    parts_folder = folder / PARTS_FOLDER
    parts_folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_NAME).unlink(missing_ok=True)  # from here on it is not finished
    template = template or make_template(TemplateConfig())
    separator = _separator_ids(vocabulary, config)
    options = {"format": _FORMAT, "vocabulary": vocabulary.fingerprint, "separator": separator.tolist()}
    options |= {"min": config.min_token_size, "max": config.max_token_size, "template": template.fingerprint}
    options |= {"separator_mask": config.separator_mask}
    parts: list[Path] = []
    is_test: list[bool] = []  # of each part: whether the source says that it is of the test split
    ledger = Ledger()
    for partition in partitions:
        key = hash_json({**options, "text": partition.fingerprint})
        part = parts_folder / f"part-{partition.index:05d}-{key}.arrow"
        is_reused = part.is_file()
        if not is_reused:
            _encode_partition(partition.batch, template, vocabulary, separator, config, part)
        part_counts = _count_part(part, ledger)
        parts.append(part)
        is_test.append(getattr(partition, "split", "train") == "test")
        yield PrepareReport(partition=partition.index, is_reused=is_reused, **part_counts)
    count_files(ledger)
    num_documents = ledger.documents_in - ledger.documents.total()  # what is not dropped
    if num_documents == 0:
        dropped = ", ".join(f"{count:,} {fate}" for fate, count in ledger.documents.items()) or "no document at all"
        raise PlanError(
            folder, f"nothing is left to train on ({dropped})", "at least one document", "Check data.source and its filters."
        )
    schema = make_schema(vocabulary.size, has_mask=any(_has_mask(part) for part in parts))
    splits = _write_splits(folder, parts, is_test, schema, config, ledger, seed)
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
    if template.chat_template is not None:
        inputs["chat_template"] = hash_json(template.chat_template)
    write_manifest(
        folder,
        Manifest(
            kind="token_store",
            config={
                **{field.name: getattr(config, field.name) for field in fields(PrepareConfig)},
                **template.options,
                "seed": seed,
            },
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
    template: Template,
    vocabulary: VocabularyLike,
    separator: npt.NDArray[Any],
    config: PrepareConfig,
    part: Path,
) -> None:
    """Encode one partition's documents, drop what the filters drop, append the separators, write one part file."""
    segments = template.segment(batch)
    options = template.config
    encoded = encode_pieces(
        segments, vocabulary, allow_special=options.special_tokens_in_text, skip=options.data_prefix_skip_mask
    )
    ids, mask, lengths = encoded.ids, encoded.mask, np.diff(encoded.offsets)
    dropped = _find_dropped(lengths, mask, segments.strategies, config)
    counts = {
        "documents_in": len(lengths),
        "text_bytes": _num_text_bytes(segments.texts),
        "dropped": {reason: [int(where.sum()), int(lengths[where].sum())] for reason, where in dropped.items() if where.any()},
        "strategies": segments.count_strategies(),
    }
    file_index, line = batch.column("file_index"), batch.column("line")
    kept = ~np.logical_or.reduce(list(dropped.values()))
    if not kept.all():
        is_kept = np.repeat(kept, lengths)
        ids, mask = ids[is_kept], None if mask is None else mask[is_kept]
        file_index, line = file_index.filter(pa.array(kept)), line.filter(pa.array(kept))
        lengths = lengths[kept]
    joined, offsets = _append_separator(ids, lengths, separator)
    if mask is None and not config.separator_mask and len(separator):
        mask = np.ones(len(ids), np.uint8)
    if mask is not None:
        mask, _ = _append_separator(mask, lengths, np.full(len(separator), config.separator_mask, np.uint8))
        mask = None if mask.all() else mask
    schema = make_schema(vocabulary.size, has_mask=mask is not None).with_metadata({_COUNTS: json.dumps(counts)})
    temporary = part.with_suffix(".tmp")
    with open_sink(temporary) as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(make_batch(schema, joined, offsets, file_index, line, mask))
    temporary.replace(part)


def _find_dropped(
    lengths: npt.NDArray[np.int64], mask: npt.NDArray[np.uint8] | None, strategies: npt.NDArray[np.int8], config: PrepareConfig
) -> dict[str, npt.NDArray[np.bool_]]:
    """Which documents are dropped, by reason; each for one reason."""
    dropped = {NO_TEXT: strategies < 0, "too short": lengths < config.min_token_size}
    if config.max_token_size >= 0:
        dropped["too long"] = lengths > config.max_token_size
    if mask is not None:
        trained = np.concatenate(([0], np.cumsum(mask, dtype=np.int64)))
        ends = np.cumsum(lengths)
        dropped["fully masked"] = (trained[ends] == trained[ends - lengths]) & (lengths > 0)
    taken = np.zeros(len(lengths), np.bool_)
    for reason, where in dropped.items():
        dropped[reason] = where & ~taken
        taken |= where
    return dropped


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
    ledger.strategies.update(counts["strategies"])
    for reason, (documents, tokens) in counts["dropped"].items():
        ledger.documents[f"dropped: {reason}"] += documents
        ledger.tokens[f"dropped: {reason}"] += tokens
        ledger.tokens_in += tokens
    return {"num_documents": num_documents, "num_tokens": num_tokens, "num_bytes": counts["text_bytes"]}


def _document_lengths(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    lengths: npt.NDArray[np.int64] = np.diff(batch.column(0).offsets.to_numpy(zero_copy_only=False)).astype(np.int64)
    return lengths


def _has_mask(part: Path) -> bool:
    with pa.memory_map(str(part)) as source:
        return MASK_COLUMN in pa.ipc.open_stream(source).schema.names


def _write_splits(
    folder: Path,
    parts: list[Path],
    is_test: list[bool],
    schema: pa.Schema,
    config: PrepareConfig,
    ledger: Ledger,
    seed: int,
) -> dict[str, dict[str, int]]:
    """Write train and test from the parts; return what is in each."""
    part_lengths = [
        np.concatenate([np.zeros(0, np.int64), *(_document_lengths(batch) for batch in iter_batches(part))]) for part in parts
    ]
    lengths = np.concatenate(part_lengths)
    is_test_document = np.repeat(is_test, [len(part) for part in part_lengths])
    if is_test_document.any():  # the source brings its own test split
        if is_test_document.all():
            raise PlanError(
                folder, "every document is of the test split", "some to train on", "Add a train split to data.source."
            )
        held_out = np.where(is_test_document, lengths, 0)
    elif config.test_split > 0:
        held_out = choose_held_out(lengths, config, seed)
    else:
        held_out = np.zeros(len(lengths), np.int64)
    names = ["train", "test"] if held_out.any() or config.test_split > 0 else ["train"]
    ledger.documents_divided = int(((held_out > 0) & (held_out < lengths)).sum())
    splits = {}
    for name in ("train", "test"):  # also one of before that is not wanted any more
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in names:
        batches = _select(parts, schema, held_out, is_test=name == "test")
        documents, tokens = write_split(folder / name, schema, _count_masked(batches, name, ledger))
        ledger.documents[name], ledger.tokens[name] = documents, tokens
        splits[name] = {"documents": documents, "tokens": tokens}
    return splits


def _count_masked(batches: Iterable[pa.RecordBatch], name: str, ledger: Ledger) -> Iterator[pa.RecordBatch]:
    """Pass batches on, adding the tokens that are not trained to the ledger."""
    for batch in batches:
        if MASK_COLUMN in batch.schema.names:
            values = _values(batch.column(MASK_COLUMN))
            ledger.masked[name] += len(values) - int(np.count_nonzero(values))
        yield batch


def _values(lists: pa.ListArray) -> npt.NDArray[Any]:
    """The values of all lists, one after the other, without a copy."""
    first, last = lists.offsets[0].as_py(), lists.offsets[len(lists)].as_py()
    values: npt.NDArray[Any] = lists.values.slice(first, last - first).to_numpy(zero_copy_only=True)
    return values


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
            if chosen.all() and (sizes == lengths).all() and len(batch.columns) == len(schema):
                yield pa.record_batch(batch.columns, schema=schema)
                continue
            lists = batch.column(0)
            values = lists.values.to_numpy(zero_copy_only=True)
            ends = lists.offsets.to_numpy(zero_copy_only=False)[1:].astype(np.int64)
            stops = (ends if is_test else ends - tails)[chosen]
            starts = stops - sizes[chosen]
            offsets = np.concatenate(([0], np.cumsum(sizes[chosen]))).astype(np.int64)
            mask = None
            if MASK_COLUMN in batch.schema.names:
                mask = _join_ranges(batch.column(MASK_COLUMN).values.to_numpy(zero_copy_only=True), starts, stops)
            elif MASK_COLUMN in schema.names:  # another part has tokens that are not trained
                mask = np.ones(offsets[-1], np.uint8)
            is_chosen = pa.array(chosen)
            yield make_batch(
                schema,
                _join_ranges(values, starts, stops),
                offsets,
                batch.column("file_index").filter(is_chosen),
                batch.column("line").filter(is_chosen),
                mask,
            )


def _join_ranges(values: npt.NDArray[Any], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """values[start:stop] of all ranges, in order; neighbours that touch are copied as one."""
    is_gap = starts[1:] != stops[:-1]
    run_starts = starts[np.concatenate(([True], is_gap))]
    run_stops = stops[np.concatenate((is_gap, [True]))]
    return np.concatenate([values[start:stop] for start, stop in zip(run_starts, run_stops, strict=True)])
