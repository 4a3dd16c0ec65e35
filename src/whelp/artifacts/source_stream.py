"""Sources as streams of partitions, each of which becomes a part of a folder; what is made of a partition is a room's own.

    for partition in iter_partitions(streams):                     # of all sources, one after the other, numbered on
        yield find_job(partition, parts_folder, decided_by, read_part, arguments)      # for an engine (base/engines.py)

A part is named by the number of its partition and a fingerprint of all that decides it. So a killed run finds the finished ones
again, and an edited file changes only its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import to_arrow
from whelp.base.hashing import hash_json

Part = TypeVar("Part")


class PartitionLike(Protocol):
    """A piece of a source: some of its documents, all of `split` train or test."""

    @property
    def index(self) -> int: ...
    @property
    def batch(self) -> pa.RecordBatch: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def split(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class SourceStream:
    """One source, alone or of a mixture. A room adds what it is to make of it.

    Attributes:
        partitions: Pieces of the source, in order, numbered from 0; each a record batch of columns that the room reads,
            `file_index` and `line`.
        first_file: Where the files of this source begin among those of all.
        name: In a mixture, what it is called; None where it is the only source.
    """

    partitions: Iterable[PartitionLike]
    first_file: int = 0
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class StreamPartition:
    """A partition as it lies among those of all sources.

    Attributes:
        index: Its number among all.
        stream: The number of its source, of which `first_file` is.
        batch: Its `file_index` points into the files of all sources.
    """

    index: int
    stream: int
    first_file: int
    batch: pa.RecordBatch
    fingerprint: str
    split: str


def iter_partitions(streams: Sequence[SourceStream]) -> Iterator[StreamPartition]:
    """Yield the partitions of all sources; the numbers of partitions and of files go on from one source to the next."""
    first = last = 0
    for number, stream in enumerate(streams):
        for partition in stream.partitions:
            last = first + partition.index + 1
            yield StreamPartition(
                index=last - 1,
                stream=number,
                first_file=stream.first_file,
                batch=_move_files(partition.batch, stream.first_file),
                fingerprint=partition.fingerprint,
                split=partition.split,
            )
        first = last


def _move_files(batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
    if not first:
        return batch
    place = batch.schema.get_field_index("file_index")
    moved = pc.add(batch.column(place), to_arrow(np.array([first], np.int32))[0])
    return batch.set_column(place, batch.schema.field(place), moved)


@dataclass(frozen=True, kw_only=True)
class PartJob(Generic[Part]):
    """A partition to work on: what it is worked on with, where its part goes, and the part that a run before has left there."""

    partition: StreamPartition
    arguments: tuple[Any, ...]
    place: Path
    done: Part | None

    @property
    def last_file(self) -> int | None:
        """The number, among the files of all sources, of the last that gave a document."""
        batch = self.partition.batch
        return batch.column("file_index")[-1].as_py() if batch.num_rows else None


def find_job(
    partition: StreamPartition,
    parts_folder: Path,
    decided_by: Mapping[str, Any],
    read_part: Callable[[Path], Part | None],
    arguments: tuple[Any, ...],
) -> PartJob[Part]:
    """What there is to do for a partition; a part that a run before has finished is found by its name.

    Args:
        decided_by: What decides the part besides the partition, as JSON.
        read_part: Gives the finished part at a place, or None.
    """
    decided_by = {**decided_by, "text": partition.fingerprint}
    if partition.first_file:
        decided_by["first_file"] = partition.first_file
    place = parts_folder / f"part-{partition.index:05d}-{hash_json(decided_by)}"
    return PartJob(partition=partition, arguments=arguments, place=place, done=read_part(place))
