"""Bytes that are not UTF-8, carried through readers that take UTF-8 alone, and put back behind them.

Arrow hands rows with too few or too many fields to whoever asks for them as text: at one that is not UTF-8 it stops, and does
not say where. So each broken byte becomes a private character on the way in, of the last of Unicode, which no text has.
"""

from __future__ import annotations

import codecs

import pyarrow as pa
import pyarrow.compute as pc

from whelp.corpus.encodings import is_utf8

_SURROGATES = range(0xDC80, 0xDD00)  # what Python's surrogateescape makes of bytes from 0x80
_PRIVATE = range(0x10FF80, 0x110000)
_TO_PRIVATE = dict(zip(_SURROGATES, _PRIVATE, strict=True))
_FROM_PRIVATE = dict(zip(_PRIVATE, _SURROGATES, strict=True))
_BEGINNINGS = (b"\xf4\x8f\xbe", b"\xf4\x8f\xbf")  # of the private characters as UTF-8


class Escaper:
    """Makes UTF-8 of blocks of bytes. `has_broken`: any of them was not, so far."""

    def __init__(self) -> None:
        self.has_broken = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def escape(self, data: bytes, *, is_last: bool) -> bytes:
        """The block as UTF-8; the beginning of a character at its end comes with the next.

        >>> Escaper().escape(b"caf\\xe9", is_last=True)
        b'caf\\xf4\\x8f\\xbf\\xa9'
        """
        is_between = not self._decoder.getstate()[0]
        if is_between and is_utf8(data):
            return data
        text = self._decoder.decode(data, is_last)
        private = text.translate(_TO_PRIVATE)
        self.has_broken = self.has_broken or private != text
        return private.encode()


def unescape(data: bytes) -> bytes:
    """The bytes that were there.

    >>> unescape(Escaper().escape(b"caf\\xe9", is_last=True))
    b'caf\\xe9'
    """
    return data.decode().translate(_FROM_PRIVATE).encode("utf-8", "surrogateescape")


def is_escaped(text: str) -> bool:
    """Whether it was not UTF-8."""
    return any(ord(character) in _PRIVATE for character in text)


def unescape_array(values: pa.Array) -> pa.Array:
    """Of binary values, the bytes that were there."""
    if not any(pc.any(pc.match_substring(values, beginning)).as_py() for beginning in _BEGINNINGS):
        return values
    return pa.array([None if value is None else unescape(value) for value in values.to_pylist()], values.type)
