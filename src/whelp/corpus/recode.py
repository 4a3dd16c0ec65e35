"""Files of rows that are text in another encoding than UTF-8, read as UTF-8.

A byte order mark of UTF-16 or UTF-32 says so. The encoding of CSV is found as that of a text file, or is the one asked for.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any

from whelp.base.utf8 import is_mostly_utf8
from whelp.corpus.encodings import (
    BadFile,
    Blocks,
    Inspection,
    changed_while_reading,
    choose_codec,
    inspect,
)
from whelp.corpus.magic import find_kind_of_rows

CSV_FORMATS = frozenset({"csv", "tsv"})
TEXT_FORMATS = frozenset({"jsonl", "json", *CSV_FORMATS})
_HEAD_BYTES = 64
_SAMPLE_BYTES = 4  # that look like UTF-16, or not
_MOST_CHARACTER_BYTES = 4
_ASCII = bytes(range(0x80))
_UTF8 = "utf-8"

Tell = Callable[[Inspection], None]


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

    def __init__(self, head: bytes, num_mark_bytes: int, stream: Any, codec: str, *, is_asked_for: bool) -> None:
        super().__init__(b"", _Stream(head, stream))
        self._codec, self._position, self._is_asked_for = codec, num_mark_bytes, is_asked_for
        self._decoder = codecs.getincrementaldecoder(codec)("strict")

    def _read_more(self, num_bytes: int) -> bytes:
        while True:
            raw = self._stream.read(num_bytes)
            try:
                text = self._decoder.decode(raw, not raw)
                data = text.encode()
            except UnicodeError as error:
                who_says = "data.encoding says so" if self._is_asked_for else "its byte order mark says so"
                reason = f"not {self._codec} text, though {who_says} (at or after byte {self._position:,})"
                next_step = "Set data.encoding to the one it was written in." if self._is_asked_for else "Write it as UTF-8."
                raise BadFile("wrong encoding", reason, next_step) from error
            self._position += len(raw)
            if data or not raw:
                return data


class _Found(_Stream):
    """As UTF-8, what is that or Windows-1252: the first character beyond ASCII tells whether the whole file must be looked at.

    Up to there both are the same, so a file of UTF-8 is read once, and nothing of it is decoded.
    """

    def __init__(self, head: bytes, stream: Any, read_blocks: Blocks, tell: Tell) -> None:
        super().__init__(b"", _Stream(head, stream))
        self._read_blocks, self._tell = read_blocks, tell
        self._codec: str | None = None

    def _read_more(self, num_bytes: int) -> bytes:
        data: bytes = self._stream.read(num_bytes)
        if self._codec is None and not data.isascii():
            data = self._decide(data)
        if self._codec in (None, _UTF8):
            return data
        try:
            return data.decode(self._codec).encode()
        except UnicodeDecodeError as error:
            raise changed_while_reading() from error

    def _decide(self, data: bytes) -> bytes:
        """Find the codec; return the data, with the rest of the character that they may have ended in."""
        start = len(data) - len(data.lstrip(_ASCII))
        num_missing = start + _MOST_CHARACTER_BYTES - len(data)
        data += self._stream.read(num_missing) if num_missing > 0 else b""
        if _begins_as_utf8(data[start : start + _MOST_CHARACTER_BYTES]) or is_mostly_utf8(self._read_blocks()):
            self._codec = _UTF8  # rows with broken characters are bad rows
            return data
        inspection = inspect(self._read_blocks, "auto")
        self._codec = inspection.codec
        self._tell(inspection)
        return data


def recode(stream: Any, format: str, encoding: str, read_blocks: Blocks, tell: Tell) -> Any:
    """A stream that gives UTF-8.

    Args:
        encoding: Of CSV, as `SourceConfig.encoding`.
        read_blocks: Gives the bytes of the same file anew.
        tell: Is told what was found where the encoding of CSV is guessed.

    Raises:
        BadFile: When it looks like UTF-16 without a mark; when read, at bytes that are not of its encoding.
    """
    head = stream.read(_SAMPLE_BYTES)  # by itself: what unpacks a file tells one that is not packed from one with junk behind
    while len(head) < _HEAD_BYTES and (more := stream.read(_HEAD_BYTES - len(head))):
        head += more
    is_asked_for = encoding != "auto" and format in CSV_FORMATS
    codec, num_mark_bytes = choose_codec(head, encoding if is_asked_for else "auto")
    if codec != _UTF8:
        return _Recoded(head[num_mark_bytes:], num_mark_bytes, stream, codec, is_asked_for=is_asked_for)
    sample = head[:_SAMPLE_BYTES]
    if len(sample) == _SAMPLE_BYTES and (sample[0::2] == b"\0\0" or sample[1::2] == b"\0\0"):
        next_step = "Write it as UTF-8, or with a byte order mark"
        next_step += ", or set data.encoding to utf-16-le or utf-16-be." if format in CSV_FORMATS else "."
        raise BadFile("wrong encoding", "looks like UTF-16 text without a byte order mark", next_step)
    kind = find_kind_of_rows(head)
    if kind is not None:
        raise BadFile(kind.counted_as, f"{kind.name}, though its name says .{format}", kind.next_step)
    if is_asked_for or format not in CSV_FORMATS:
        return _Stream(head, stream)
    return _Found(head, stream, read_blocks, tell)


def _begins_as_utf8(data: bytes) -> bool:
    for num_bytes in range(2, _MOST_CHARACTER_BYTES + 1):
        try:
            data[:num_bytes].decode()
        except UnicodeDecodeError:
            continue
        return True
    return False
