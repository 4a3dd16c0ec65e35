"""Unpack gzip up to a limit: a few bytes of a bomb would otherwise fill the memory."""

from __future__ import annotations

import zlib

_GZIP_OR_ZLIB = 47  # of zlib
_STEP_BYTES = 1 << 14  # what is left of a step is copied at each end of joined files, which may be a few bytes each


class TooLargeError(Exception):
    """More bytes than the limit."""


class BoundedBody:
    """Gathers the chunks of an answer, unpacked, and refuses what exceeds the limit before it is unpacked.

    Args:
        max_bytes: The limit.
        is_gzip: Whether the chunks are to be unpacked: gzip or zlib, whichever it is.
        is_raw: They are deflate data without either's frame.
    """

    def __init__(self, max_bytes: int, *, is_gzip: bool, is_raw: bool = False) -> None:
        self._max_bytes = max_bytes
        self._body = bytearray()
        self._decoder = zlib.decompressobj(wbits=-15 if is_raw else _GZIP_OR_ZLIB) if is_gzip or is_raw else None
        self._is_begun = False

    def add(self, chunk: bytes) -> None:
        """Take the next chunk.

        Raises:
            TooLargeError: When that is more than the limit.
            zlib.error: When it is not gzip.
        """
        if self._decoder is None:
            self._append(chunk)
            return
        for start in range(0, len(chunk), _STEP_BYTES):
            packed = chunk[start : start + _STEP_BYTES]
            while packed:
                self._is_begun = True
                if self._decoder.eof:  # files may be joined
                    self._decoder = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
                self._append(self._decoder.decompress(packed, self._max_bytes - len(self._body) + 1))
                packed = self._decoder.unused_data

    def _append(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._max_bytes:
            raise TooLargeError

    @property
    def so_far(self) -> bytes:
        """What has come, whether or not that is all of it."""
        return bytes(self._body)

    def finish(self) -> bytes:
        """Give all of it.

        Raises:
            EOFError: When the end is missing.
        """
        if self._decoder is not None and self._is_begun and not self._decoder.eof:
            raise EOFError("the end of the packed answer is missing")
        return bytes(self._body)


def unpack_gzip(data: bytes, max_bytes: int) -> bytes:
    """Unpack a gzip file that lies in memory.

    Raises:
        TooLargeError: When it is larger than `max_bytes`.
        EOFError: When its end is missing.
        zlib.error: When it is damaged.
    """
    body = BoundedBody(max_bytes, is_gzip=True)
    body.add(data)
    return body.finish()
