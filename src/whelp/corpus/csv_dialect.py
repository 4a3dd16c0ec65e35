"""What stands between the fields of a CSV file, and where its rows begin: found from the header, unless it is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from whelp.corpus.csv_preamble import read_preamble
from whelp.corpus.whole_lines import LongLine, iter_blocks, iter_whole_lines

DEFAULTS = {"csv": ",", "tsv": "\t"}
_CANDIDATES = (",", ";", "\t", "|")
_HEAD_BYTES = 1 << 16
_MOST_RECORDS = 100  # looked at, where the header alone does not tell
_LEAST_EVEN_SHARE = 0.5  # of these with as many fields as the header; the others are ragged
_MARK = b"\xef\xbb\xbf"
_QUOTE = b'"'


@dataclass(frozen=True)
class Dialect:
    """How a file is cut into fields.

    `num_skipped_bytes` is the length of what stands before the header, such as a line `sep=;`, which spreadsheets read.
    `column_names` are given for a file without a header.
    """

    delimiter: str
    num_skipped_bytes: int = 0
    num_skipped_lines: int = 0
    column_names: tuple[str, ...] = ()
    has_quotes: bool = True

    @property
    def num_header_rows(self) -> int:
        """How many rows come before the first of the data."""
        return 0 if self.column_names else 1


def find_dialect(
    open_file: Callable[[], Any],
    delimiter: str | None,
    default: str,
    column_names: tuple[str, ...] = (),
    *,
    has_quotes: bool = True,
) -> Dialect:
    """Look at the first lines of a file.

    Args:
        open_file: Opens it, as UTF-8.
        delimiter: What was asked for; None to find it.
        default: What the name of the file says.
        has_quotes: Fields may stand in quotes; else a quote is text.
    """
    with open_file() as stream:
        head: bytes = stream.read(_HEAD_BYTES)
    said = read_preamble(head)
    rows = head[said.num_bytes :].removeprefix(_MARK)
    if delimiter is None:
        delimiter = said.delimiter or _find_delimiter(rows if has_quotes else rows.replace(_QUOTE, b""), default)
    if not column_names and not said.has_header:
        column_names = said.name_columns(_count_fields(rows, delimiter, has_quotes=has_quotes))
    return Dialect(delimiter, said.num_bytes, said.num_lines, column_names, has_quotes)


def _count_fields(rows: bytes, delimiter: str, *, has_quotes: bool) -> int:
    """How many fields the first row has."""
    records = _cut(rows if has_quotes else rows.replace(_QUOTE, b""))
    return next((record.count(delimiter.encode()) + 1 for record in records if record.strip()), 0)


def _find_delimiter(head: bytes, default: str) -> str:
    """The candidate in the header that cuts the rows below it into as many fields; where it has none, the default.

    >>> _find_delimiter(b"id;text\\n1;a, b\\n", ","), _find_delimiter(b"a;b,c\\n1;2,5\\n3;4\\n", ","), _find_delimiter(b"text\\na;b\\n", ",")
    (';', ';', ',')
    """
    records = (record for record in _cut(head) if record.strip())
    header = Counter(next(records, b""))
    found = [sign for sign in _CANDIDATES if header[ord(sign)]]
    if not found or found == [default]:
        return default
    counts = list(map(Counter, islice(records, _MOST_RECORDS)))

    def judge(sign: str) -> tuple[float, int, bool]:
        num_even = sum(count[ord(sign)] == header[ord(sign)] for count in counts)
        return num_even / len(counts) if counts else 1.0, header[ord(sign)], sign == default

    best = max(found, key=judge)
    return best if judge(best)[0] >= _LEAST_EVEN_SHARE else default


def _cut(head: bytes) -> list[bytes]:
    """Whole records, without what stands in quotes; all of it where there is not one."""
    outside = b"".join(head.split(_QUOTE)[0::2])
    records = outside.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return records[:-1] if len(records) > 1 and len(head) == _HEAD_BYTES else records


def find_line(open_file: Callable[[], Any], dialect: Dialect, row: int, max_line_bytes: int) -> int | None:
    """The line of a file on which a row begins, both from 1; one pass. None where a line is too long to be read."""
    wanted = row + dialect.num_header_rows
    line, num_rows, is_quoted = dialect.num_skipped_lines, 0, False
    with open_file() as stream:
        stream.read(dialect.num_skipped_bytes)
        for block in iter_whole_lines(iter_blocks(stream, _HEAD_BYTES), max_line_bytes):
            if isinstance(block, LongLine):
                return None
            for data in block.splitlines():
                line += 1
                num_rows += bool(data) and not is_quoted
                if num_rows == wanted:
                    return line
                is_quoted ^= dialect.has_quotes and data.count(_QUOTE) % 2 == 1
    return None
