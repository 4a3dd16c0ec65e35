"""Files of rows that are UTF-16 or UTF-32 text, read as UTF-8: a byte order mark says so."""

from __future__ import annotations

import codecs
from typing import Any

from whelp.corpus.text import BadFile

TEXT_FORMATS = frozenset({"jsonl", "json", "csv", "tsv"})
_MARKS = (  # UTF-32 before UTF-16: its little-endian mark starts with the other's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HEAD_BYTES = 4


class _Stream:
    """What pyarrow's readers take for a Python file: bytes from the head, then from a stream. Reads are full ones."""

    def __init__(self, head: bytes, stream: Any) -> None:
        self._held, self._stream = head, stream
        self.closed = False

    def read(self, num_bytes: int = -1) -> bytes:
        """Read so many bytes; fewer only at the end."""
        if not self._held:  # the usual case, once the head is read: no copy
            self._held = self._read_more(num_bytes)
        while num_bytes < 0 or len(self._held) < num_bytes:
            more = self._read_more(num_bytes if num_bytes < 0 else num_bytes - len(self._held))
            if not more:
                break
            self._held += more
        end = len(self._held) if num_bytes < 0 else num_bytes
        data, self._held = self._held[:end], self._held[end:]
        return data

    def _read_more(self, num_bytes: int) -> bytes:
        return bytes(self._stream.read(num_bytes))

    def readable(self) -> bool:
        """True: what pyarrow asks of a Python file."""
        return True

    def close(self) -> None:
        """Nothing to close: whoever opened the file closes it."""
        self.closed = True


class _Recoded(_Stream):
    """As UTF-8, what comes in another encoding."""

    def __init__(self, head: bytes, num_mark_bytes: int, stream: Any, codec: str) -> None:
        super().__init__(b"", _Stream(head, stream))
        self._codec, self._position = codec, num_mark_bytes
        self._decoder = codecs.getincrementaldecoder(codec)("strict")

    def _read_more(self, num_bytes: int) -> bytes:
        while True:
            raw = self._stream.read(num_bytes)
            try:
                text = self._decoder.decode(raw, not raw)
                data = text.encode()
            except UnicodeError as error:
                where = f"at or after byte {self._position:,}"
                reason = f"not {self._codec} text, though its byte order mark says so ({where})"
                raise BadFile("wrong encoding", reason, "Write it as UTF-8.") from error
            self._position += len(raw)
            if data or not raw:
                return data


def recode(stream: Any) -> Any:
    """A stream that gives UTF-8: of a file with a mark of UTF-16 or UTF-32, decoded; of any other, its bytes.

    Raises:
        BadFile: When it looks like UTF-16 without a mark.
    """
    head = b""
    while len(head) < _HEAD_BYTES and (more := stream.read(_HEAD_BYTES - len(head))):
        head += more
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return _Recoded(head[len(mark) :], len(mark), stream, codec)
    if len(head) == _HEAD_BYTES and (head[0::2] == b"\0\0" or head[1::2] == b"\0\0"):
        raise BadFile(
            "wrong encoding",
            "looks like UTF-16 text without a byte order mark",
            "Write it as UTF-8, or with a byte order mark.",
        )
    return _Stream(head, stream)
