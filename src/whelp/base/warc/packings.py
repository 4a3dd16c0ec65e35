"""What archives are packed in: gzip members or zstd frames, as a rule one for each record.

Archives in zstd may begin with a dictionary, in a frame of its own that other readers skip:
https://iipc.github.io/warc-specifications/specifications/warc-zstd/
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal, Protocol

from whelp.base.errors import say_first_line
from whelp.base.warc.records import BROKEN_RECORD, BrokenDataError

if TYPE_CHECKING:
    import zstandard

Codec = Literal["gzip", "zstd", "none"]
_GZIP = 31  # of zlib: gzip and nothing else
_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"
_MAX_DICTIONARY_BYTES = 1 << 24
_STEP_BYTES = 1 << 9  # of a frame, which unpack to 16 MiB at most: four bytes stand for a block of 128 KiB


class Unpacker(Protocol):
    """Unpacks one member, as the objects of zlib do."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    def decompress(self, packed: bytes, num_bytes: int, /) -> bytes: ...


@dataclass(frozen=True)
class Packing:
    """How members are found and unpacked.

    Attributes:
        magic: What each begins with.
        shown_bytes: So many of a member show how its record begins.
        begin: Begins to unpack one.
        error: What an unpacker raises of data that are broken.
    """

    name: str
    magic: bytes
    shown_bytes: int
    begin: Callable[[], Unpacker]
    error: type[Exception]


def find_codec(head: bytes) -> Codec:
    """How a file is packed that begins like this.

    >>> find_codec(b"WARC/1.0"), find_codec(bytes.fromhex("28b52ffd"))
    ('none', 'zstd')
    """
    if head.startswith((_ZSTD_MAGIC, _DICTIONARY_MAGIC)):
        return "zstd"
    return "gzip" if head.startswith(_GZIP_MAGIC[:2]) else "none"


def find_packing(file: IO[bytes], codec: Codec) -> Packing:
    """How to unpack the members of a file, with the dictionary that it begins with.

    Raises:
        BrokenDataError: When the dictionary is broken.
        ImportError: When the file is packed with zstd, and the package zstandard is not there.
    """
    if codec != "zstd":
        return Packing("gzip", _GZIP_MAGIC, 1 << 12, lambda: zlib.decompressobj(_GZIP), zlib.error)
    import zstandard

    try:
        dictionary = _read_dictionary(file)
        unpacker = zstandard.ZstdDecompressor(dict_data=dictionary)
    except zstandard.ZstdError as error:
        raise BrokenDataError(BROKEN_RECORD, f"its zstd dictionary is broken ({say_first_line(error)})") from None
    return Packing("zstd", _ZSTD_MAGIC, 1 << 18, lambda: _Frame(unpacker.decompressobj()), zstandard.ZstdError)


def _read_dictionary(file: IO[bytes]) -> zstandard.ZstdCompressionDict | None:
    import zstandard

    file.seek(0)
    head = file.read(8)
    if not head.startswith(_DICTIONARY_MAGIC):
        return None
    num_bytes = int.from_bytes(head[4:], "little")
    data = file.read(min(num_bytes, _MAX_DICTIONARY_BYTES + 1))
    if data.startswith(_ZSTD_MAGIC):
        data = zstandard.ZstdDecompressor().stream_reader(data).read(_MAX_DICTIONARY_BYTES + 1)
    elif len(data) < num_bytes <= _MAX_DICTIONARY_BYTES:
        raise zstandard.ZstdError("it is cut off")
    if len(data) > _MAX_DICTIONARY_BYTES:
        raise zstandard.ZstdError(f"larger than {_MAX_DICTIONARY_BYTES:,} bytes")
    return zstandard.ZstdCompressionDict(data)


class _Frame:
    """One zstd frame, in steps: its own unpacker gives all that its bytes unpack to at once."""

    def __init__(self, unpacker: zstandard.ZstdDecompressionObj) -> None:
        self._unpacker = unpacker
        self.eof = False
        self.unused_data = self.unconsumed_tail = b""

    def decompress(self, packed: bytes, num_bytes: int, /) -> bytes:
        """Unpack until there are so many bytes, or a step more."""
        parts: list[bytes] = []
        num_unpacked = place = 0
        while place < len(packed) and num_unpacked < num_bytes and not self.eof:
            parts.append(self._unpacker.decompress(packed[place : place + _STEP_BYTES]))
            num_unpacked += len(parts[-1])
            place += _STEP_BYTES
            self.eof = self._unpacker.eof
        rest = packed[place:]
        if self.eof:
            self.unused_data, self.unconsumed_tail = self._unpacker.unused_data + rest, b""
        else:
            self.unconsumed_tail = rest
        return b"".join(parts)
