"""Read compressed files (`.gz`, `.bz2`, `.xz`, `.zst`) as if they were not.

`story.txt.gz` is unpacked, `a.gz` is not: the name must say what is inside.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from whelp.base.errors import say_first_line
from whelp.corpus.encodings import BadFile

DAMAGED = "damaged"
_CODECS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
_COPY_BYTES = 1 << 20
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_HEAD_BYTES = 6  # of a frame (RFC 8878), to the size of its window
_IS_SINGLE_SEGMENT = 0x20  # then there is none
_MOST_ARROW_WINDOW = 1 << 27
_MOST_WINDOW = 1 << 31
_PACKED_BYTES = 1 << 12  # at a time: even these may hold a hundred megabytes


def split_name(path: Path) -> tuple[str, str | None]:
    """Return the suffix that says what is inside, in lower case, and the codec around it.

    >>> split_name(Path("a.JSONL.gz")), split_name(Path("a.txt")), split_name(Path("a.gz"))
    (('.jsonl', 'gzip'), ('.txt', None), ('.gz', None))
    """
    stem, last = _split_suffix(path.name.lower())
    codec = _CODECS.get(last)
    inside = _split_suffix(stem)[1] if codec is not None else ""
    return (inside, codec) if inside and inside != ".tar" else (last, None)


def _split_suffix(name: str) -> tuple[str, str]:
    """As `os.path.splitext` of a name without folders; a folder may hold very many files."""
    stem, _, last = name.rpartition(".")
    return (stem, f".{last}") if stem.strip(".") else (name, "")


class Unpacked:
    """A file open for reading, with its errors in our words. Pyarrow's readers take it for a Python file."""

    def __init__(self, handle: IO[bytes], codec: str) -> None:
        self._codec = codec
        self.closed = self._has_read = False
        self._inner: Any
        if codec == "gzip":
            self._inner = gzip.GzipFile(fileobj=handle, mode="rb")
        elif codec == "bzip2":
            self._inner = bz2.BZ2File(handle)
        elif codec == "xz":
            self._inner = lzma.LZMAFile(handle)  # noqa: SIM115 (closed by whoever opened the handle)
        elif _needs_large_window(handle):
            self._inner = _open_large_window(handle)
        else:
            self._inner = pa.CompressedInputStream(pa.PythonFile(handle, mode="r"), codec)

    def read(self, num_bytes: int = -1) -> bytes:
        """Read up to so many bytes; none at the end.

        Raises:
            BadFile: When the data are cut off or broken.
        """
        try:
            data = bytes(self._inner.read(None if num_bytes < 0 else num_bytes))
        except (EOFError, OSError, zlib.error, lzma.LZMAError, pa.ArrowInvalid) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            if isinstance(error, gzip.BadGzipFile) and not self._has_read:
                next_step = "If it is not packed, take .gz from its name; else get a whole copy of the file."
                raise BadFile(DAMAGED, "no gzip data, though its name says so", next_step) from None
            raise damaged(f"{self._codec} data", error) from None
        self._has_read = True
        return data

    def readable(self) -> bool:
        """True: what pyarrow asks of a Python file."""
        return True

    def close(self) -> None:
        """Nothing to close: whoever opened the file closes it."""
        self.closed = True


def _needs_large_window(handle: IO[bytes]) -> bool:
    """Whether zstd data look further back than Arrow allows, as those of `zstd --long` do."""
    start = handle.tell()
    head = handle.read(_ZSTD_HEAD_BYTES)
    handle.seek(start)
    if len(head) < _ZSTD_HEAD_BYTES or head[:4] != _ZSTD_MAGIC or head[4] & _IS_SINGLE_SEGMENT:
        return False
    exponent, mantissa = divmod(head[5], 8)
    return (1 << (10 + exponent)) * (8 + mantissa) // 8 > _MOST_ARROW_WINDOW


def _open_large_window(handle: IO[bytes]) -> Any:
    try:
        import zstandard
    except ImportError:
        reason = "zstd data that was packed with --long, for which the package zstandard is needed, and it is not installed"
        raise BadFile("packed", reason, "Run `pip install zstandard`, or unpack it first (zstd -d --long=31 FILE).") from None
    return _LargeWindow(handle, zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW), zstandard.ZstdError)


class _LargeWindow:
    """Zstd data unpacked by the package zstandard, frame after frame; unlike its own reader, this one tells where they are cut off."""

    def __init__(self, handle: IO[bytes], unpacker: Any, error: type[Exception]) -> None:
        self._handle, self._unpacker, self._error = handle, unpacker, error
        self._frame: Any = None  # that is not at its end
        self._data = b""

    def read(self, num_bytes: int | None) -> bytes:
        """Up to so many bytes, or all; raises EOFError where the data are cut off or broken."""
        parts = [self._data]
        while (num_bytes is None or not parts[-1]) and (packed := self._handle.read(_PACKED_BYTES)):
            parts += self._unpack(packed)
        if self._frame is not None and (num_bytes is None or not any(parts)):
            raise EOFError("it ends within a frame")
        data = b"".join(parts)
        end = len(data) if num_bytes is None else num_bytes
        self._data = data[end:]
        return data[:end]

    def _unpack(self, packed: bytes) -> Iterator[bytes]:
        try:
            while packed:
                self._frame = self._frame or self._unpacker.decompressobj()
                yield self._frame.decompress(packed)
                packed = self._frame.unused_data
                self._frame = None if self._frame.eof else self._frame
        except self._error as error:
            raise EOFError(str(error)) from None


def unpack(handle: IO[bytes], path: Path) -> Any:
    """The handle itself, or what unpacks it, as the name of the file says."""
    codec = split_name(path)[1]
    return handle if codec is None else Unpacked(handle, codec)


@contextmanager
def open_seekable(stream: Any) -> Iterator[Any]:
    """A stream to jump about in: itself, or a temporary copy of what is unpacked."""
    if not isinstance(stream, Unpacked):
        yield stream
        return
    with tempfile.TemporaryFile() as copy:
        while block := stream.read(_COPY_BYTES):
            copy.write(block)
        copy.seek(0)
        yield copy


def damaged(what: str, error: Exception) -> BadFile:
    """The error for a file that is cut off or broken."""
    return BadFile(
        DAMAGED, f"cut off or broken {what} ({say_first_line(error)})", "Get a whole copy of the file, or take it out."
    )
