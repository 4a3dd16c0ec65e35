"""Web archives (WARC, ISO 28500) as records: of a stream of bytes, or of a span of a file, in flat memory.

    from whelp.base.warc import Record, Span, SpanRecords

    span = SpanRecords(Path("pages.warc.gz"), "gzip", Span(0, 4 << 20), max_content_bytes=64 << 20)
    for found in span:          # a Record, or Broken: a place that is passed over
        found.headers           # by name in lower case: warc-type, warc-target-uri, ...
    span.end                    # where the first record behind the span begins

`records.py` finds records in bytes; `packings.py` unpacks them; `spans.py` opens files and finds out where in them records begin.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.base.warc.packings import Codec as Codec
    from whelp.base.warc.packings import find_codec as find_codec
    from whelp.base.warc.records import Broken as Broken
    from whelp.base.warc.records import BrokenDataError as BrokenDataError
    from whelp.base.warc.records import Record as Record
    from whelp.base.warc.records import iter_records as iter_records
    from whelp.base.warc.records import parse_headers as parse_headers
    from whelp.base.warc.spans import Span as Span
    from whelp.base.warc.spans import SpanRecords as SpanRecords
    from whelp.base.warc.spans import count_unpacked as count_unpacked
    from whelp.base.warc.spans import is_packed_by_record as is_packed_by_record
    from whelp.base.warc.spans import iter_unpacked as iter_unpacked

_HOMES = {
    "Broken": "records",
    "BrokenDataError": "records",
    "Codec": "packings",
    "Record": "records",
    "Span": "spans",
    "SpanRecords": "spans",
    "count_unpacked": "spans",
    "find_codec": "packings",
    "is_packed_by_record": "spans",
    "iter_records": "records",
    "iter_unpacked": "spans",
    "parse_headers": "records",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
