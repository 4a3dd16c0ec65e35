"""Rows of WET archives: the text of a page each, as a crawler took it out, with its address, language and date."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from whelp.base.language_codes import shorten_language
from whelp.base.warc import Broken, Record, iter_records
from whelp.base.warc.records import CUT_OFF
from whelp.corpus.columns import Selection, select_typed
from whelp.corpus.compressed import DAMAGED
from whelp.corpus.encodings import BadFile
from whelp.corpus.row_shape import BadValue, too_long
from whelp.corpus.rows import Reading, Rows, make_rows

_ROWS = 1024  # at a time
_BATCH_BYTES = 4 << 20
_COLUMNS = pa.schema([(name, pa.large_string()) for name in ("text", "url", "language", "fetched", "id")])
_LEAVES_PARTS_OUT = "`whelp collect web-archive FILE --out FILE.jsonl` leaves out, and counts, what is broken."


def iter_wet_rows(reading: Reading) -> Iterator[Rows]:
    """The texts of a WET archive; a row's number is that of its record in the file, from 1. Memory: some records.

    Raises:
        BadFile: When it holds other records than texts, or is cut off.
    """
    selection = select_typed(reading.shape, reading.asked, _COLUMNS)
    gathered: list[tuple[int, Record]] = []
    num_bytes = 0
    with reading.open_file() as stream:
        blocks = iter(lambda: stream.read(reading.block_bytes), b"")
        for number, found in enumerate(iter_records(blocks, reading.max_row_bytes), 1):
            problem = _find_problem(found, number, reading.max_row_bytes)
            if isinstance(found, Record) and found.kind == "warcinfo":
                continue
            first, end = reading.window.take(1)
            if first < end:
                if problem is not None:
                    reading.bad.add(number, problem)
                elif isinstance(found, Record):
                    gathered.append((number, found))
                    num_bytes += len(found.content or b"")
            if reading.window.is_done:
                break
            if len(gathered) >= _ROWS or num_bytes >= _BATCH_BYTES:
                yield _make(gathered, selection, reading)
                gathered, num_bytes = [], 0
    yield _make(gathered, selection, reading)


def _find_problem(found: Record | Broken, number: int, max_row_bytes: int) -> BadValue | None:
    """Why a record is no text, if it is none.

    Raises:
        BadFile: When that tells that its file is another than its name says, or not whole.
    """
    if isinstance(found, Broken):
        if found.kind == CUT_OFF:
            raise BadFile(
                DAMAGED, f"cut off in record {number:,}", f"Get a whole copy of the file, or take it out. {_LEAVES_PARTS_OUT}"
            )
        return BadValue("broken record", f"a broken record ({found.found})", "a whole one", "Get the file again, ")
    if found.kind == "metadata" and found.media_type == "application/json":
        reason = "a WAT archive, which tells of pages and holds no text of theirs"
        raise BadFile("another format", reason, "Name the WET archive of the same number: .../wet/NAME.warc.wet.gz.")
    if found.kind not in ("warcinfo", "conversion"):
        reason = f"a WARC archive (record {number:,} is a {found.kind or 'record without a type'}), though its name says .wet"
        raise BadFile("another format", reason, "Take the text of its pages with `whelp collect web-archive`.")
    if found.content is None:
        return too_long("a record", max_row_bytes)
    return None


def _make(gathered: list[tuple[int, Record]], selection: Selection, reading: Reading) -> Rows:
    records = [record for _, record in gathered]
    values = {
        "text": pa.array([(record.content or b"").strip(b"\r\n") for record in records], pa.large_binary()),
        "url": pa.array([record.url or None for record in records], pa.large_string()),
        "language": pa.array([_find_language(record) for record in records], pa.large_string()),
        "fetched": pa.array([record.headers.get("warc-date") for record in records], pa.large_string()),
        "id": pa.array([record.id or None for record in records], pa.large_string()),
    }
    numbers = np.array([number for number, _ in gathered], np.int64)
    return make_rows(selection, [values[name] for name in selection.schema.names], numbers, reading)


def _find_language(record: Record) -> str | None:
    """The commonest language of a text, where the crawler says any."""
    return shorten_language(record.headers.get("warc-identified-content-language", "").partition(",")[0]) or None
