"""How much of some bytes is UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

_ASCII = bytes(range(0x80))
_CONTINUATION = bytes(range(0x80, 0xC0))  # bytes of a UTF-8 character behind its first


def is_mostly_utf8(blocks: Iterable[bytes]) -> bool:
    r"""Whether more characters beyond ASCII are UTF-8 than bytes are none: UTF-8 with some broken places.

    >>> is_mostly_utf8([b"caf\xe9 ", "na\u00efve \u00e0".encode()]), is_mostly_utf8([b"caf\xe9"])
    (True, False)
    """
    num_characters, num_broken_bytes = count_utf8(blocks)
    return num_characters > num_broken_bytes


def count_utf8(blocks: Iterable[bytes]) -> tuple[int, int]:
    """How many characters beyond ASCII are UTF-8, and how many bytes are no part of one."""
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    num_characters = num_bytes = num_bytes_beyond = 0
    for block in blocks:
        if not block.isascii():
            num_bytes_beyond += len(block.translate(None, _ASCII))
        text = decoder.decode(block)
        if not text.isascii():
            data = text.encode().translate(None, _ASCII)
            num_bytes += len(data)
            num_characters += len(data.translate(None, _CONTINUATION))
    return num_characters, num_bytes_beyond - num_bytes
