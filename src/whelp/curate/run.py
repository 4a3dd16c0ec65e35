"""Rows to a corpus: judge partition by partition, compare all documents, write what is kept and what is dropped.

1. Each partition becomes a part in FOLDER/.parts, decided by its text and the rules (artifacts/source_stream.py).
2. Documents and paragraphs of all parts are compared with each other, by their signatures.
3. Files are written, the manifest last; then the parts go.

Partitions depend on the source alone, so the corpus is the same, to the byte, on any number of workers, and however often the
work was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from whelp.artifacts.manifest import Manifest, describe_files, write_manifest
from whelp.artifacts.parts_folder import begin_folder, clear_parts
from whelp.artifacts.source_stream import PartJob, SourceStream, find_job, iter_partitions
from whelp.base.engines import Engine, LocalEngine
from whelp.base.errors import PlanError
from whelp.base.files import sync_tree, write_json
from whelp.base.worker_threads import working_apart
from whelp.curate.duplicates import find_duplicates
from whelp.curate.ledger import Ledger
from whelp.curate.parts import Part, read_part, write_part
from whelp.curate.pipeline import CuratedPart, Pipeline
from whelp.curate.writing import DROPPED, TEST, CuratedSource, name_folders, write_corpus

KIND = "curated"
LEDGER_FILE = "ledger.json"
FORMAT = 4  # raise it when the same inputs would give another corpus


@dataclass(frozen=True, kw_only=True)
class SourceToCurate(SourceStream):
    """One source of a corpus, and what is asked of its rows.

    Attributes:
        pipeline: Its rules, for columns of text. What compares documents (exact and near duplicates) is the same in all sources.
        inputs: What else decides what becomes of it, for the manifest.
    """

    pipeline: Pipeline
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PartCurated:
    """Progress after one partition: what went in, and what is kept so far of it.

    `last_file` is the number, among the files of all sources, of the last that gave a document.
    """

    partition: int
    last_file: int | None
    num_documents: int
    num_kept: int
    num_bytes: int
    is_reused: bool


@dataclass(frozen=True, kw_only=True)
class StageStarted:
    """All partitions are judged; what follows looks at all of them."""

    stage: Literal["comparing", "writing"]
    num_documents: int


class _Work:
    """What runs on workers: the rules of each source."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self._pipelines = pipelines

    def __call__(self, stream: int, batch: pa.RecordBatch) -> CuratedPart:
        return self._pipelines[stream].apply(batch)


def curate(
    streams: Sequence[SourceToCurate],
    folder: Path,
    *,
    labels: Callable[[], Sequence[str]],
    describe_source: Callable[[], Mapping[str, Any]],
    count_files: Callable[[Ledger], None] = lambda ledger: None,
    look_through: Callable[[], object] = lambda: None,
    engine: Engine | None = None,
) -> Iterator[PartCurated | StageStarted | Ledger]:
    """Write a corpus at `folder`; yield what happens, the ledger last. Rows held out for testing stay as they are.

    Args:
        streams: The source, or those of a mixture, each with a name: of rows that are alike in two of them, that of the first
            stays.
        labels: Names of the files of all sources; asked once all partitions are read.
        describe_source: What identifies the sources, for the manifest; asked once all partitions are read.
        count_files: Fills in the ledger's files and notes; asked at the same time.
        look_through: Finds out for `describe_source` what reading the partitions does not; called on a thread of its own, since
            it may take as long as reading everything once.
        engine: Where partitions are judged; threads of this process by default.

    Raises:
        ArtifactError: When something else than a curated corpus stands at `folder`.
        PlanError: When no document is kept, of all sources or of one.
    """
    config = streams[0].pipeline.config
    compared = {
        name: [stream.pipeline.config.find(name) for stream in streams] for name in ("exact_duplicates", "near_duplicates")
    }
    assert all(values.count(values[0]) == len(values) for values in compared.values()), compared
    sources = [
        CuratedSource(columns=stream.pipeline.columns, config=stream.pipeline.config, name=stream.name, folder=name)
        for stream, name in zip(streams, name_folders([stream.name for stream in streams]), strict=True)
    ]
    yield from _iter_judged(streams, sources, folder, look_through, engine or LocalEngine())
    described = dict(describe_source())
    parts = [part for source in sources for part in source.parts]
    yield StageStarted(stage="comparing", num_documents=sum(part.num_kept for part in parts))
    found = find_duplicates(
        parts,
        exact=config.find("exact_duplicates") is not None,
        near=config.find("near_duplicates"),
        paragraphs=any(source.config.find("duplicate_paragraphs") is not None for source in sources),
    )
    yield StageStarted(stage="writing", num_documents=sum(part.num_kept for part in parts))
    names = write_corpus(folder, sources, found, labels())
    for source in sources:
        _check_kept(folder, source)
    is_mixture = sources[0].name is not None
    ledger = sources[0].ledger
    if is_mixture:
        ledger = Ledger.join({str(source.name): source.ledger for source in sources}, config.examples)
    count_files(ledger)
    write_json(folder / LEDGER_FILE, ledger.to_dict())
    sync_tree(folder)
    own = {str(source.name): source.config.resolved() for source in sources}
    inputs = {str(stream.name): dict(stream.inputs) for stream in streams}
    write_manifest(
        folder,
        Manifest(
            kind=KIND,
            config={"sources": own} if is_mixture else config.resolved(),
            counts={
                "documents_in": ledger.documents_in,
                "documents_kept": ledger.documents_kept,
                "documents_test": ledger.documents_test,
                "dropped": dict(ledger.dropped),
                "bytes_in": ledger.bytes_in,
                "bytes_kept": ledger.bytes_kept,
            },
            inputs={
                "source": described,
                "format": FORMAT,
                **({"sources": inputs} if is_mixture else streams[0].inputs),
            },
            files=describe_files(folder, [*names, LEDGER_FILE]),
        ),
    )
    clear_parts(folder)
    yield ledger


def _iter_judged(
    streams: Sequence[SourceToCurate],
    sources: Sequence[CuratedSource],
    folder: Path,
    look_through: Callable[[], object],
    engine: Engine,
) -> Iterator[PartCurated]:
    """Judge every partition, and fill in the sources; yield what came of each."""
    jobs = _iter_jobs(streams, sources, begin_folder(folder, KIND, "a curated corpus"))
    work = _Work([stream.pipeline for stream in streams])
    with working_apart(look_through):
        for job, part in engine.run(jobs, work, write_part):
            source = sources[job.partition.stream]
            source.ledger.add_part(part)
            source.parts.append(part)
            yield PartCurated(
                partition=job.partition.index,
                last_file=job.last_file,
                num_documents=part.documents_in,
                num_kept=part.num_kept,
                num_bytes=part.bytes_in,
                is_reused=job.done is not None,
            )


def _iter_jobs(
    streams: Sequence[SourceToCurate], sources: Sequence[CuratedSource], parts_folder: Path
) -> Iterator[PartJob[Part]]:
    """What there is to do; rows held out are put aside."""
    decided_by = [
        {"format": FORMAT, "config": source.config.resolved(), **stream.inputs}
        for stream, source in zip(streams, sources, strict=True)
    ]
    for partition in iter_partitions(streams):
        number = partition.stream
        if partition.split == TEST:
            sources[number].held_out.append(partition.batch)
            continue
        yield find_job(partition, parts_folder, decided_by[number], read_part, (number, partition.batch))


def _check_kept(folder: Path, source: CuratedSource) -> None:
    ledger = source.ledger
    if ledger.documents_kept:
        return
    where, next_step = folder, "Look at them in dropped/, and choose another curate.preset or other numbers."
    if source.name is not None:
        where = folder / DROPPED / source.folder
        next_step = f"Look at them there; take {source.name} out of data.mixture, or give it rules of its own (curate)."
    most = ", ".join(f"{count:,} {reason}" for reason, count in ledger.dropped.most_common(4))
    of = "" if source.name is None else f" of {source.name}"
    raise PlanError(where, f"no document{of} is kept of {ledger.documents_in:,} ({most or 'there is none'})", "some", next_step)
