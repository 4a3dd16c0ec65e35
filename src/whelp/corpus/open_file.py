"""Open the files of a source: unpacked, and only while they are what was listed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from whelp.base.errors import say_os_reason
from whelp.base.hashing import hash_bytes, hash_file
from whelp.corpus.compressed import split_name, unpack
from whelp.corpus.encodings import BadFile, changed_while_reading
from whelp.corpus.recode import TEXT_FORMATS, Tell, recode

if TYPE_CHECKING:
    from whelp.corpus.arrow_rows import Table

BLOCK_BYTES = 1 << 20
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # which Windows asks for


@dataclass(frozen=True)
class SourceFile:
    """A file to read. `label` is its path below the root of the source, with `/`; `is_named` when the user named it.

    `format` is that of rows; None for text. `split` is what the source itself says of it: `train` or `test`; `split_name` is what
    it is called there. Rows that are no file have a `table`; then, and where the file is a copy of something else, `is_labelled`
    says that `path` tells people nothing. `written` is how the user wrote the path, where that is known. `keep` is what must live
    as long as the file.
    """

    path: Path
    label: str
    num_bytes: int
    mtime_ns: int
    is_named: bool
    format: str | None = None
    split: str = "train"
    split_name: str | None = None
    table: Table | None = None
    is_labelled: bool = False
    written: str | None = None
    keep: object = field(default=None, repr=False, compare=False)

    @cached_property
    def is_packed(self) -> bool:
        """Whether it is unpacked on the way, as its name says."""
        return split_name(self.path)[1] is not None

    @cached_property
    def _handles(self) -> list[IO[bytes]]:
        """Where it is packed, what it is read by."""
        return []

    def find_position(self) -> int | None:
        """How many of its bytes are read while it is unpacked, for which nothing else tells; None where it is not packed."""
        if not self.is_packed:
            return None
        handle = self._handles[-1] if self._handles else None
        try:
            return 0 if handle is None else handle.tell()
        except ValueError:  # it is closed: all of it was read
            return self.num_bytes

    @property
    def where(self) -> object:
        """How an error names it: by its path, as the user wrote it, when the user named that."""
        return (self.written or self.path) if self.is_named and not self.is_labelled else self.label


@contextmanager
def open_checked(file: SourceFile, encoding: str = "auto", tell: Tell = lambda inspection: None) -> Iterator[Any]:
    """Open a file, unpacked where its name says so, rows of text as UTF-8; it must be the one that was listed, and stay it.

    `encoding` is that of CSV; `tell` is told where it was guessed.
    """
    listed = (file.num_bytes, file.mtime_ns)
    try:
        with open(file.path, "rb", buffering=0) as handle:
            if _size_and_time(handle.fileno()) != listed:
                raise changed_while_reading()
            if file.is_packed:
                file._handles[:] = [handle]
            stream = unpack(handle, file.path)
            if file.format in TEXT_FORMATS:
                stream = recode(
                    stream, file.format, encoding, lambda: iter_blocks(replace(file, format=None), BLOCK_BYTES), tell
                )
            yield stream
            if _size_and_time(handle.fileno()) != listed:
                raise changed_while_reading()
    except OSError as error:
        raise _unreadable(error) from error


def read_whole(file: SourceFile, target: memoryview) -> None:
    """Read a file that is not packed, all at once; it must be the one that was listed.

    Raises:
        BadFile: When it cannot be read, or is another one by now.
    """
    try:
        handle = os.open(file.path, _READ_FLAGS)  # a folder may hold very many files: a file object takes a third more
        try:
            num_read = 0
            while num_read < len(target) and (count := _read_into(handle, target[num_read:])):
                num_read += count
            # Looked at once it is read: a time of before says that nothing was changed until then.
            if _size_and_time(handle) != (file.num_bytes, file.mtime_ns) or num_read < len(target):
                raise changed_while_reading()
        finally:
            os.close(handle)
    except OSError as error:
        raise _unreadable(error) from error


def _read_into(handle: int, target: memoryview) -> int:
    """Read as much as comes at once."""
    if sys.platform == "win32":  # which has no other way
        data = os.read(handle, min(len(target), BLOCK_BYTES))
        target[: len(data)] = data
        return len(data)
    return os.readv(handle, [target])


def iter_blocks(file: SourceFile, block_bytes: int) -> Iterator[bytes]:
    """The bytes of a file, unpacked."""
    with open_checked(file) as handle:
        while block := handle.read(block_bytes):
            yield block


def fingerprint_file(file: SourceFile) -> str:
    """Fingerprint the bytes of a file."""
    try:
        return hash_file(file.path)
    except OSError as error:
        return f"unreadable: {error.strerror}"


def fingerprint_table(table: Table, columns: list[str]) -> str:
    """Fingerprint some columns of a table."""
    names = repr([(name, str(table.schema.field(name).type)) for name in columns]).encode()
    return hash_bytes(names, *(hash_bytes(memoryview(batch.serialize())).encode() for batch in table.iter_batches(columns)))


def _unreadable(error: OSError) -> BadFile:
    return BadFile("unreadable", f"cannot be read ({say_os_reason(error)})", "Change its permissions, or name another file.")


def _size_and_time(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_size, status.st_mtime_ns
