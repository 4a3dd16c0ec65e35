"""Partitions of several sources, numbered on, and the parts that they become."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from whelp.artifacts.source_stream import SourceStream, StreamPartition, find_job, iter_partitions


@dataclass(frozen=True)
class FakePartition:
    """Rows of the given files of its source."""

    index: int
    files: list[int]
    split: str = "train"

    @property
    def batch(self) -> pa.RecordBatch:
        columns = {"file_index": pa.array(self.files, pa.int32()), "line": pa.array(range(len(self.files)), pa.int64())}
        return pa.RecordBatch.from_pydict(columns)

    @property
    def fingerprint(self) -> str:
        return str(self.files)


FIRST = SourceStream(partitions=[FakePartition(0, [0, 0, 1]), FakePartition(1, [1], "test")], name="first")
SECOND = SourceStream(
    partitions=[FakePartition(0, [0]), FakePartition(1, []), FakePartition(2, [1])], first_file=2, name="second"
)


def find(partition: StreamPartition, folder: Path, **decided_by: str) -> tuple[str, str | None]:
    """The name of a part, and what a run before left there."""
    job = find_job(partition, folder, decided_by, lambda place: place.read_text() if place.exists() else None, ())
    assert job.place.parent == folder
    return job.place.name, job.done


def test_numbers_go_on_from_one_source_to_the_next() -> None:
    """Those of partitions, held out or not, and those of files."""
    found = [
        (one.index, one.stream, one.batch.column("file_index").to_pylist(), one.split)
        for one in iter_partitions([FIRST, SECOND])
    ]
    assert found == [
        (0, 0, [0, 0, 1], "train"),
        (1, 0, [1], "test"),
        (2, 1, [2], "train"),
        (3, 1, [], "train"),
        (4, 1, [3], "train"),
    ]


def test_partitions_are_read_one_by_one() -> None:
    """Nothing is read ahead: memory holds what is worked on."""
    read: list[int] = []

    def iter_own() -> Iterator[FakePartition]:
        for index in range(3):
            read.append(index)
            yield FakePartition(index, [0])

    partitions = iter_partitions([SourceStream(partitions=iter_own())])
    next(partitions)
    assert read == [0]


def test_the_last_file_that_gave_a_document() -> None:
    """Among the files of all sources; none where a partition has no row."""
    jobs = [find_job(one, Path(), {}, lambda place: None, ()) for one in iter_partitions([FIRST, SECOND])]
    assert [job.last_file for job in jobs] == [1, 1, 2, None, 3]


def test_a_part_is_found_again(tmp_path: Path) -> None:
    """By all that decides it, and by nothing else; names stay as they are from one release to the next."""
    partition = list(iter_partitions([FIRST, SECOND]))[2]
    name, done = find(partition, tmp_path, rules="a")
    assert (name, done) == ("part-00002-2e70b8608bb1f3284d3cd4be7de3b4b6", None)
    (tmp_path / name).write_text("finished")
    assert find(partition, tmp_path, rules="a") == (name, "finished")
    others = [replace(partition, index=3), replace(partition, first_file=0), replace(partition, fingerprint="[9]")]
    names = {find(other, tmp_path, rules="a")[0] for other in others} | {find(partition, tmp_path, rules="b")[0]}
    assert len(names) == 4
    assert name not in names
