"""A text out of the metadata of a GGUF file, read without its tensors, and without the package that writes such files.

Layout, all little-endian: `GGUF`, version (32 bits), number of tensors, number of entries (64 bits each); then for each entry its
key, its type and its value. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a number, by its type
_TEXT, _ARRAY = 8, 9


def read_gguf_text(path: Path, key: str) -> str | None:
    """The text under a key; None where there is no such text, or the file is no GGUF file, or is damaged before it."""
    wanted = key.encode()
    try:
        with open(path, "rb") as file:
            reader = _Reader(file, path.stat().st_size)
            if reader.read(4) != _MAGIC or reader.number("I") not in _VERSIONS:
                return None
            reader.number("Q")
            for _ in range(reader.number("Q")):
                name, kind = reader.text(), reader.number("I")
                if name == wanted:
                    return reader.text().decode("utf-8") if kind == _TEXT else None
                reader.skip(kind)
    except (OSError, ValueError, KeyError):
        return None
    return None


class _Reader:
    """Reads forward.

    Raises:
        ValueError: When there is less than was promised.
        KeyError: When a type is unknown.
    """

    def __init__(self, file: BinaryIO, num_bytes: int) -> None:
        self._file, self._num_bytes = file, num_bytes

    def read(self, count: int) -> bytes:
        found = self._file.read(count) if count <= self._num_bytes else b""
        if len(found) < count:
            raise ValueError("the file is cut short")
        return found

    def number(self, format: str) -> int:
        (value,) = struct.unpack(f"<{format}", self.read(struct.calcsize(f"<{format}")))
        return int(value)

    def text(self) -> bytes:
        return self.read(self.number("Q"))

    def skip(self, kind: int) -> None:
        if kind == _TEXT:
            self.text()
        elif kind != _ARRAY:
            self.read(_WIDTHS[kind])
        else:
            inner, count = self.number("I"), self.number("Q")
            if inner in _WIDTHS:
                self.read(_WIDTHS[inner] * count)
            else:
                for _ in range(count):
                    self.skip(inner)
