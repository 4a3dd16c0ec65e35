"""Many files of text, or of JSON lines, as the bytes of one: in a stated order, with the borders of documents kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from whelp.base.errors import SourceError
from whelp.base.log import log
from whelp.corpus.compressed import split_name
from whelp.corpus.encodings import BadFile, inspect, iter_text
from whelp.corpus.open_file import BLOCK_BYTES, SourceFile, iter_blocks, open_checked

Kind = Literal["text", "lines"]
LINES = (".jsonl", ".ndjson")
_ARCHIVES = (".wet", ".warc")
OTHER_ROWS = (".csv", ".tsv", ".parquet", ".arrow", ".feather", ".json", *_ARCHIVES)
_ARRAY_TO_LINES = "`jq -c '.[]' FILE > FILE.jsonl` makes JSON lines of an array."


@dataclass(frozen=True)
class Piece:
    """Bytes to append. `is_end` after the last of a file, which gives none; then it says how many lines the file has."""

    data: bytes
    is_end: bool = False
    num_lines: int = 0


def find_kind(files: list[SourceFile]) -> Kind:
    """What the files are: all of text, or all of JSON lines.

    Raises:
        SourceError: When both are among them, or rows of another format.
    """
    kinds: dict[Kind, SourceFile] = {}
    for file in files:
        suffix = split_name(file.path)[0]
        if suffix in OTHER_ROWS:
            raise SourceError(
                file.path, "holds rows that cannot be laid end to end", "text or JSON lines", say_how_to_lines(suffix)
            )
        kinds.setdefault("lines" if suffix in LINES else "text", file)
    if len(kinds) > 1:
        found = f"is text, but {kinds['lines'].path} holds JSON lines"
        raise SourceError(kinds["text"].path, found, "files of one kind", "Append them apart.")
    return next(iter(kinds))


def say_how_to_lines(suffix: str) -> str:
    """What makes JSON lines of rows of another format."""
    if suffix in _ARCHIVES:
        return "`whelp collect web-archive` makes JSON lines of it."
    return _ARRAY_TO_LINES if suffix == ".json" else "`whelp convert` makes JSON lines of it."


def check_lines(path: Path, head: bytes) -> None:
    """What begins a file called JSON lines must not be an array, as some programs write under that name.

    Raises:
        SourceError: When it is.
    """
    if head.lstrip().startswith(b"["):
        from whelp.corpus.json_rows import is_array

        if is_array(head):
            raise SourceError(path, "holds one JSON array, but its name says JSON lines", "", _ARRAY_TO_LINES)


def iter_appended(file: SourceFile, kind: Kind) -> Iterator[Piece]:
    """The bytes of a file as UTF-8, ending with a line feed.

    Raises:
        SourceError: When it is not what its name says, or changes meanwhile.
    """
    last, num_lines = b"\n", 0
    try:
        for data in _iter_data(file, kind):
            last = data[-1:]
            num_lines += data.count(b"\n")
            yield Piece(data)
    except BadFile as error:
        raise SourceError(file.path, error.reason, "", error.next_step) from None
    if last != b"\n":
        num_lines += 1
        yield Piece(b"\n")
    yield Piece(b"", True, num_lines)


def _iter_data(file: SourceFile, kind: Kind) -> Iterator[bytes]:
    if kind == "lines":
        with open_checked(file) as stream:  # UTF-16 and UTF-32 come as UTF-8
            is_first = True
            while block := stream.read(BLOCK_BYTES):
                if is_first:
                    check_lines(file.path, block)
                is_first = False
                yield block
        return
    inspection = inspect(lambda: iter_blocks(file, BLOCK_BYTES), "auto")
    if inspection.num_broken_bytes:
        log.warning("%s: bytes that are not UTF-8, read as U+FFFD: %s", file.path, f"{inspection.num_broken_bytes:,}")
    yield from iter_text(iter_blocks(file, BLOCK_BYTES), inspection, strip_carriage_returns=True)


def describe(path: Path, label: str, suffix: str) -> SourceFile:
    """A file to append, as it is now."""
    status = path.stat()
    return SourceFile(
        path=path,
        label=label,
        num_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        is_named=True,
        format="jsonl" if suffix in LINES else None,
    )
