"""Rows to a corpus: judge partition by partition, compare all documents, write what is kept and what is dropped.

1. Each partition becomes a part in FOLDER/.parts, named by a fingerprint of its text and of the rules. A killed run finds the
   finished ones again; an edited file changes only its own.
2. Documents and paragraphs of all parts are compared with each other, by their signatures.
3. Files are written, the manifest last; then the parts go.

Partitions depend on the source alone, so the corpus is the same, to the byte, on any number of workers, and however often the
work was interrupted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

from whelp.artifacts.manifest import NAME as MANIFEST_NAME
from whelp.artifacts.manifest import Manifest, describe_files, find_kind, write_manifest
from whelp.base.engines import Engine, LocalEngine
from whelp.base.errors import ArtifactError, PlanError
from whelp.base.files import sync_tree, write_json
from whelp.base.hashing import hash_json
from whelp.curate.config import CurateConfig
from whelp.curate.duplicates import find_duplicates
from whelp.curate.ledger import Ledger
from whelp.curate.parts import Part, read_part, write_part
from whelp.curate.pipeline import CuratedPart, Pipeline
from whelp.curate.shards import ShardWriter
from whelp.curate.writing import TEST, write_corpus

KIND = "curated"
PARTS_FOLDER = ".parts"
LEDGER_FILE = "ledger.json"
FORMAT = 2  # raise it when the same inputs would give another corpus


class PartitionLike(Protocol):
    """A piece of the source; `split` is train or test."""

    @property
    def index(self) -> int: ...
    @property
    def batch(self) -> pa.RecordBatch: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def split(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class PartCurated:
    """Progress after one partition: what went in, and what is kept so far of it."""

    partition: int
    num_documents: int
    num_kept: int
    num_bytes: int
    is_reused: bool


@dataclass(frozen=True, kw_only=True)
class StageStarted:
    """All partitions are judged; what follows looks at all of them."""

    stage: Literal["comparing", "writing"]
    num_documents: int


@dataclass(frozen=True)
class _Job:
    index: int
    batch: pa.RecordBatch
    place: Path
    done: Part | None

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What `_curate` is called with."""
        return (self.batch,)


class _Work:
    """What runs on workers: the rules of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __call__(self, batch: pa.RecordBatch) -> CuratedPart:
        return self._pipeline.apply(batch)


def curate(
    partitions: Iterable[PartitionLike],
    pipeline: Pipeline,
    folder: Path,
    *,
    labels: Callable[[], Sequence[str]],
    describe_source: Callable[[], Mapping[str, Any]],
    inputs: Mapping[str, Any] | None = None,
    count_files: Callable[[Ledger], None] = lambda ledger: None,
    engine: Engine | None = None,
) -> Iterator[PartCurated | StageStarted | Ledger]:
    """Write a corpus at `folder`; yield what happens, the ledger last. Rows held out for testing stay as they are.

    Args:
        partitions: Pieces of the source, in order; each a record batch of columns of text, `file_index` and `line`.
        labels: Names of the files; asked once all partitions are read.
        describe_source: What identifies the source, for the manifest; asked on a thread of its own.
        inputs: What else decides the result, for the manifest.
        count_files: Fills in the ledger's files and notes; asked once all partitions are read.
        engine: Where partitions are judged; threads of this process by default.

    Raises:
        ArtifactError: When something else than a curated corpus stands at `folder`.
        PlanError: When no document is kept.
    """
    _check_place(folder)
    parts_folder = folder / PARTS_FOLDER
    parts_folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_NAME).unlink(missing_ok=True)  # from here on it is not finished
    config = pipeline.config
    decided_by = {"format": FORMAT, "config": config.resolved(), **(inputs or {})}
    ledger = Ledger()
    parts: list[Part] = []
    with ThreadPoolExecutor(1, thread_name_prefix="describe") as background:
        description = background.submit(describe_source)
        held_out: list[pa.RecordBatch] = []
        jobs = _iter_jobs(partitions, decided_by, parts_folder, held_out)
        for job, part in (engine or LocalEngine()).run(jobs, _Work(pipeline), write_part):
            ledger.add_part(part)
            parts.append(part)
            yield PartCurated(
                partition=job.index,
                num_documents=part.documents_in,
                num_kept=part.num_kept,
                num_bytes=part.bytes_in,
                is_reused=job.done is not None,
            )
        source = dict(description.result())
    yield StageStarted(stage="comparing", num_documents=sum(part.num_kept for part in parts))
    found = find_duplicates(
        parts,
        exact=config.find("exact_duplicates") is not None,
        near=config.find("near_duplicates"),
        paragraphs=config.find("duplicate_paragraphs") is not None,
    )
    yield StageStarted(stage="writing", num_documents=sum(part.num_kept for part in parts))
    names = write_corpus(folder, parts, found, config, labels(), ledger)
    names += _write_held_out(folder, held_out, config, labels(), ledger)
    count_files(ledger)
    if not ledger.documents_kept:
        raise PlanError(
            folder,
            f"no document is kept of {ledger.documents_in:,} ({_list_reasons(ledger)})",
            "some",
            "Look at them in dropped/, and choose another curate.preset or other numbers.",
        )
    write_json(folder / LEDGER_FILE, ledger.to_dict())
    sync_tree(folder)
    write_manifest(
        folder,
        Manifest(
            kind=KIND,
            config=config.resolved(),
            counts={
                "documents_in": ledger.documents_in,
                "documents_kept": ledger.documents_kept,
                "documents_test": ledger.documents_test,
                "dropped": dict(ledger.dropped),
                "bytes_in": ledger.bytes_in,
                "bytes_kept": ledger.bytes_kept,
            },
            inputs={"source": source, "format": FORMAT, **(inputs or {})},
            files=describe_files(folder, [*names, LEDGER_FILE]),
        ),
    )
    clear_parts(folder)
    yield ledger


def clear_parts(folder: Path) -> None:
    """Remove the parts of a finished corpus; a run that was killed just before its end has left them."""
    shutil.rmtree(folder / PARTS_FOLDER, ignore_errors=True)


def _iter_jobs(
    partitions: Iterable[PartitionLike], decided_by: Mapping[str, Any], folder: Path, held_out: list[pa.RecordBatch]
) -> Iterator[_Job]:
    """What there is to do; a part that a run before has finished is found by its name. Rows held out are put aside."""
    for partition in partitions:
        if partition.split == TEST:
            held_out.append(partition.batch)
            continue
        key = hash_json({**decided_by, "text": partition.fingerprint})
        place = folder / f"part-{partition.index:05d}-{key}"
        yield _Job(partition.index, partition.batch, place, read_part(place))


def _write_held_out(
    folder: Path, batches: list[pa.RecordBatch], config: CurateConfig, labels: Sequence[str], ledger: Ledger
) -> list[str]:
    """Write the rows that the source holds out for testing as they are."""
    shutil.rmtree(folder / TEST, ignore_errors=True)
    if not batches:
        return []
    table = pa.concat_tables([pa.Table.from_batches([batch]) for batch in batches], promote_options="default").combine_chunks()
    names = pa.array(labels, pa.large_string())
    with ShardWriter(folder / TEST, config.format, config.shard_megabytes << 20) as writer:
        for batch in table.to_batches():
            origin = names.take(batch.column("file_index"))
            place = batch.schema.get_field_index("file_index")
            writer.write(batch.set_column(place, pa.field("origin", pa.large_string()), origin))
    ledger.documents_test = table.num_rows
    return [f"{TEST}/{name}" for name in writer.names]


def _list_reasons(ledger: Ledger) -> str:
    most = ", ".join(f"{count:,} {reason}" for reason, count in ledger.dropped.most_common(4))
    return most or "there is none"


def _check_place(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArtifactError(folder, "is a file", "a folder for the corpus", "Choose another --out.")
    kind = find_kind(folder)
    if kind != KIND and not (folder / PARTS_FOLDER).is_dir() and any(folder.iterdir()):
        found = f"holds a {kind.replace('_', ' ')}" if kind else "holds other files"
        raise ArtifactError(folder, found, "an empty folder or a curated corpus", "Choose another --out; nothing was changed.")
