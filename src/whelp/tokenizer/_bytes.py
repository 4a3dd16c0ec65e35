"""The 256 printable characters by which byte-level vocabularies spell bytes (GPT-2's `bytes_to_unicode`)."""

from __future__ import annotations

from collections.abc import Container

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]

CHARACTER_OF_BYTE: dict[int, str] = {
    **{byte: chr(byte) for byte in _PRINTABLE},
    **{byte: chr(256 + index) for index, byte in enumerate(_OTHERS)},
}
_TO_CHARACTERS = {byte: ord(character) for byte, character in CHARACTER_OF_BYTE.items()}
_NO_BYTE = 0xFFFF  # for the characters below 256 that spell no byte, the space among them
_FROM_CHARACTERS = {**dict.fromkeys(range(256), _NO_BYTE), **{point: byte for byte, point in _TO_CHARACTERS.items()}}


def spell_bytes(raw: bytes) -> str:
    """b" the" -> 'Ġthe'"""
    return raw.decode("latin-1").translate(_TO_CHARACTERS)


def read_spelling(token: str) -> bytes:
    """'Ġthe' -> b" the"; a token with any other character stands for its own UTF-8 bytes, as in `tokenizers`."""
    try:
        return token.translate(_FROM_CHARACTERS).encode("latin-1")
    except UnicodeEncodeError:
        return token.encode()


def describe_missing(tokens: Container[bytes]) -> str | None:
    """Which single bytes are no tokens, in words; None: all are, so that every text can be written."""
    missing = [byte for byte in range(256) if bytes([byte]) not in tokens]
    return f"{len(missing)} of the 256 single bytes are missing, the first is {bytes(missing[:1])!r}" if missing else None
