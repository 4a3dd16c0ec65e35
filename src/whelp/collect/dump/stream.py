"""Open a dump and unpack it, block by block, in flat memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from whelp.base.errors import SourceError, say_first_line

BLOCK_BYTES = 1 << 20
Codec = Literal["none", "bzip2", "gzip", "xz"]
_MAGICS: tuple[tuple[bytes, Codec], ...] = ((b"BZh", "bzip2"), (b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\x00", "xz"))
_OTHERS = {b"7z\xbc\xaf": "7-zip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Block:
    """Unpacked bytes; `position` is how far the file itself was read for them."""

    data: bytes
    position: int


def find_codec(path: Path) -> Codec:
    """How a file is packed, by its first bytes.

    Raises:
        SourceError: When it is packed in a way that cannot be read here.
    """
    with open(path, "rb") as file:
        head = file.read(6)
    for magic, codec in _MAGICS:
        if head.startswith(magic):
            return codec
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise SourceError(path, f"is a {name} file", "XML, or XML packed as .bz2, .gz or .xz", "Unpack it first.")
    return "none"


def iter_blocks(path: Path, codec: Codec, *, is_head: bool = False) -> Iterator[Block]:
    """The unpacked bytes of a whole file.

    Args:
        is_head: Give what there is at once, in blocks of any size: for who needs the beginning only.

    Raises:
        SourceError: When the packed data are cut off or broken.
    """
    with open(path, "rb") as raw:
        stream: Any = raw
        if codec == "gzip":
            stream = gzip.GzipFile(fileobj=raw)
        elif codec != "none":
            stream = {"bzip2": bz2.BZ2File, "xz": lzma.LZMAFile}[codec](raw)
        read = stream.read1 if is_head else stream.read
        while True:
            try:
                data = read(BLOCK_BYTES)
            except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                if isinstance(error, OSError) and error.errno:
                    raise
                raise broken(path, codec, error) from None
            if not data:
                return
            yield Block(data, raw.tell())


def iter_bzip2_streams(path: Path, start: int, end: int) -> Iterator[Block]:
    """The unpacked bytes from a place on where a bzip2 stream begins; `position` is where the stream of a block begins.

    An empty block stands before the first stream that begins at `end` or later: who needs no more stops there, and that
    stream is not unpacked.
    """
    with open(path, "rb") as raw:
        raw.seek(start)
        position = stream_start = start
        packed = b""
        while packed or (packed := raw.read(BLOCK_BYTES)):
            unpacker = bz2.BZ2Decompressor()
            if stream_start < end <= position:
                yield Block(b"", position)
            stream_start = position
            try:
                while not unpacker.eof:
                    if unpacker.needs_input and not packed and not (packed := raw.read(BLOCK_BYTES)):
                        raise EOFError("the last stream has no end")
                    data = unpacker.decompress(packed, BLOCK_BYTES)
                    position, packed = position + len(packed), b""
                    if data:
                        yield Block(data, stream_start)
            except (EOFError, OSError) as error:
                raise broken(path, "bzip2", error) from None
            packed = unpacker.unused_data
            position -= len(packed)


def iter_plain(path: Path, start: int, end: int) -> Iterator[Block]:
    """The bytes of a file that is not packed, from a place on; `position` is where a block begins.

    An empty block stands at `end`: who needs no more stops there.
    """
    with open(path, "rb") as raw:
        raw.seek(start)
        while data := raw.read(BLOCK_BYTES):
            if start == end:
                yield Block(b"", start)
            yield Block(data, start)
            start += len(data)


def broken(path: Path, codec: str, error: Exception) -> SourceError:
    """The error for data that end too early, or are not what they should be."""
    reason = say_first_line(error).lower()
    return SourceError(
        path, f"cut off or broken {codec} data ({reason})", "a whole file", "Get it again, and compare its checksum."
    )
