"""From the records of web archives to documents, on several processes."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from whelp.base.errors import SourceError
from whelp.base.processes import InOrder, open_in_order, work_in_line
from whelp.base.warc import Broken, Codec, Record, Span, SpanRecords
from whelp.collect.document import make_line
from whelp.collect.left_out import LeftOut
from whelp.collect.web_archive.archive import Archive, check_packages, look_at
from whelp.collect.web_archive.config import WebArchiveConfig
from whelp.collect.web_archive.languages import is_about, pair
from whelp.collect.web_archive.page import Reader
from whelp.collect.web_archive.shares import Records, Share, iter_shares

KEPT = "kept"
TRUNCATED = "pages that the crawler cut off"


@dataclass(frozen=True)
class Done:
    """How far a run came: so many archives, then so many parts of the next, which end at a place of its file."""

    num_archives: int = 0
    num_parts: int = 0
    end: int = 0


@dataclass(frozen=True)
class ArchivePart:
    """The documents of a run of records.

    Attributes:
        lines: JSON lines.
        records: Records by what became of them: kept, or why not.
        notes: What is unusual about kept ones.
        done: How far the work is with this part.
        position: How many bytes of its archive have been read, of `total`.
        problem: Why an archive gives nothing, where it was found out only once it was fetched.
    """

    lines: bytes
    records: Counter[str]
    notes: Counter[str]
    done: Done = field(default_factory=Done)
    archive: int = 0
    position: int = 0
    total: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class _Task:
    path: Path
    codec: Codec
    config: WebArchiveConfig
    work: Span | Records
    archive: int = 0
    number: int = 0
    is_last: bool = False
    position: int = 0
    total: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class _Answer:
    """What became of a task. `begin` and `end`: of the records that begin in its span."""

    lines: bytes = b""
    records: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    begin: int | None = None
    end: int = 0


def iter_web_archives(
    archives: Sequence[Archive], config: WebArchiveConfig, *, workers: int = 1, done: Done | None = None
) -> Generator[ArchivePart, None, None]:
    """Yield the documents of archives in their order, which does not depend on `workers`.

    An archive whose size is known before it is fetched is looked at before any work; one that turns out to be of another kind once it
    is fetched is passed over with its `problem`, unless it is the only one.

    Args:
        workers: Processes; with 1 all is done in this one.
        done: How far a run before came, which is not done again.

    Raises:
        SourceError: When an archive cannot be had, or is none.
        MissingExtraError: When a package is not there that finds articles of pages, or unpacks zstd.
    """
    done = done or Done()
    check_packages((archive.name for archive in archives[done.num_archives :]), config)
    for archive in archives[done.num_archives :]:
        if archive.num_bytes is not None:
            look_at(archive.fetch(), archive.name)

    def iter_parts(in_order: InOrder) -> Iterator[ArchivePart]:
        return _put_in_order(in_order(_work, _iter_tasks(archives, config, done)), done)

    if workers == 1:
        yield from iter_parts(work_in_line)
        return
    try:
        with open_in_order(workers) as in_order:
            yield from iter_parts(in_order)
    except BrokenProcessPool:
        next_step = "Give fewer --workers, or a smaller --max-record-bytes; run it again."
        raise SourceError("web archives", "a process was killed, for want of memory perhaps", "", next_step) from None


def _iter_tasks(archives: Sequence[Archive], config: WebArchiveConfig, done: Done) -> Iterator[_Task]:
    first = done.num_archives
    for index, path in enumerate(_fetch_ahead(archives[first:]), first):
        try:
            layout = look_at(path, archives[index].name)
        except SourceError as error:
            if len(archives) == 1 or archives[index].num_bytes is not None:
                raise
            yield _Task(path, "none", config, (), index, 0, is_last=True, problem=error.found)
            continue
        num_done = done.num_parts if index == first else 0
        shares = islice(iter_shares(path, layout, config.max_record_bytes), num_done, None)
        common = _Task(path, layout.codec, config, (), index, total=layout.num_bytes)
        waiting: Share | None = next(shares, None)
        number = num_done
        while waiting is not None:
            share, waiting = waiting, next(shares, None)
            yield replace(common, work=share.work, number=number, is_last=waiting is None, position=share.position)
            number += 1


def _fetch_ahead(archives: Sequence[Archive]) -> Iterator[Path]:
    """The files of archives, each fetched while the one before is read. The thread ends with the program, whatever it waits for."""
    asked: queue.SimpleQueue[Archive | None] = queue.SimpleQueue()
    ready: queue.SimpleQueue[Path | BaseException] = queue.SimpleQueue()

    def fetch() -> None:
        while (archive := asked.get()) is not None:
            try:
                ready.put(archive.fetch())
            except BaseException as error:  # raised again where the file is taken
                ready.put(error)

    if any(archive.num_bytes is None for archive in archives):
        threading.Thread(target=fetch, name="fetch archives", daemon=True).start()
    else:
        yield from (archive.fetch() for archive in archives)
        return
    try:
        for archive in archives[:1]:
            asked.put(archive)
        for number in range(len(archives)):
            found = ready.get()
            if isinstance(found, BaseException):
                raise found
            for archive in archives[number + 1 : number + 2]:
                asked.put(archive)
            yield found
    finally:
        asked.put(None)


def _put_in_order(answers: Iterator[tuple[Any, Any]], done: Done) -> Iterator[ArchivePart]:
    """Give the answers out as parts. A span that does not begin where the one before ends is read again from there."""
    expected = done.end
    for task, answer in answers:
        expected = 0 if task.number == 0 else expected
        if isinstance(task.work, Span):
            if expected >= task.work.end:
                answer = _Answer(end=expected)
            elif answer.begin != expected:
                answer = _work(replace(task, work=Span(expected, task.work.end, is_exact=True)))
            expected = answer.end
        is_done = Done(task.archive + 1) if task.is_last else Done(task.archive, task.number + 1, expected)
        yield ArchivePart(
            answer.lines, answer.records, answer.notes, is_done, task.archive, task.position, task.total, task.problem
        )


def _work(task: _Task) -> _Answer:
    """In any process: read the records of a task."""
    reader = Reader(task.config)
    lines: list[bytes] = []
    records: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    span: SpanRecords | None = None
    all_found: Iterable[Record | Broken]
    if isinstance(task.work, Span):
        span = all_found = SpanRecords(task.path, task.codec, task.work, task.config.max_record_bytes)
    else:
        all_found = task.work
    for found, behind in pair(all_found):
        if isinstance(found, Broken):
            records[found.kind] += 1
            continue
        if behind is None and span is not None and found.kind == "response":
            behind = _read_behind(task, span.end)
        following = behind if isinstance(behind, Record) and is_about(behind, found) else None
        try:
            lines.append(make_line(reader.read(found, following)))
        except LeftOut as problem:
            records[problem.kind] += 1
            continue
        records[KEPT] += 1
        if "warc-truncated" in found.headers:
            notes[TRUNCATED] += 1
    begin, end = (span.begin, span.end) if span is not None else (None, 0)
    return _Answer(b"".join(lines), records, notes, begin, end)


def _read_behind(task: _Task, place: int) -> Record | Broken | None:
    """The record that begins there, where the file goes on."""
    records = SpanRecords(task.path, task.codec, Span(place, place + 1, is_exact=True), task.config.max_record_bytes)
    return next(iter(records), None)
