"""How an archive is shared out among processes.

Of an archive that is packed record by record, or not packed, each process reads spans of the file. One that is packed as a whole is
unpacked here, and its records are handed out. Spans and runs of records depend on the file alone, so the documents are the same on any
number of processes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whelp.base.warc import Broken, Codec, Record, Span, count_unpacked, iter_records, iter_unpacked
from whelp.collect.web_archive.archive import Layout

_SPAN_BYTES = {"gzip": 1 << 20, "zstd": 1 << 20, "none": 4 << 20}
_RUN_BYTES = 4 << 20

Records = tuple[Record | Broken, ...]


@dataclass(frozen=True)
class Share:
    """The work of one process at a time: a span, or records. `position`: how far it goes in the file."""

    work: Span | Records
    position: int


def iter_shares(path: Path, layout: Layout, max_record_bytes: int) -> Iterator[Share]:
    """The work, in the order of the file."""
    if not layout.is_by_record:
        yield from _iter_runs(path, layout.codec, max_record_bytes)
        return
    step = _SPAN_BYTES[layout.codec]
    for start in range(0, layout.num_bytes, step):
        end = min(start + step, layout.num_bytes)
        yield Share(Span(start, end, is_exact=start == 0), end)


def _iter_runs(path: Path, codec: Codec, max_record_bytes: int) -> Iterator[Share]:
    position = 0

    def follow() -> Iterator[bytes]:
        nonlocal position
        for block, position in iter_unpacked(path, codec):  # noqa: B007 (read below)
            yield block

    run: list[Record | Broken] = []
    num_bytes = 0
    count_bytes = functools.cache(lambda: count_unpacked(path, codec))
    for found in iter_records(follow(), max_record_bytes, count_bytes=count_bytes):
        is_about_last = isinstance(found, Record) and found.kind == "metadata"
        if num_bytes >= _RUN_BYTES and not is_about_last:
            yield Share(tuple(run), position)
            run, num_bytes = [], 0
        run.append(found)
        num_bytes += len(found.content or b"") if isinstance(found, Record) else 0
    if run:
        yield Share(tuple(run), position)
