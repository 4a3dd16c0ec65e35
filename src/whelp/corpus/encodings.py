"""Decide whether bytes are text, in which encoding, and give them back as UTF-8, block by block.

Everything works on blocks, so that a file of any size is read in flat memory. No character and no CR LF is ever cut by
the border of two blocks.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from whelp.base.utf8 import count_utf8
from whelp.corpus import magic

Blocks = Callable[[], Iterator[bytes]]

_BYTE_ORDER_MARKS = (  # UTF-32 before UTF-16: its little-endian mark starts with the other's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
BEGINNINGS = (*(mark for mark, _ in _BYTE_ORDER_MARKS), *magic.BEGINNINGS)  # of files that are not simply UTF-8 text
_CONTROL = bytes(set(range(32)) - set(b"\b\t\n\v\f\r\x1b")) + b"\x7f"
_UNDEFINED_IN_CP1252 = [0x81, 0x8D, 0x8F, 0x90, 0x9D]
_SAMPLE_BYTES = 1 << 16  # looked at for control characters; a fixed size, so that blocks do not matter
_MOST_CONTROL_SHARE = 0.05
_MOST_HIGH_SHARE = 0.30  # Windows-1252 text of any language it can write has fewer bytes above 0x7F


class BadFile(Exception):
    """A file that is not text: `kind` to count by, `reason` for people, `next_step` for who named the file."""

    def __init__(self, kind: str, reason: str, next_step: str) -> None:
        super().__init__(kind, reason, next_step)
        self.kind, self.reason, self.next_step = kind, reason, next_step


@dataclass(frozen=True)
class Inspection:
    """What one look through a file said. `codec` is a Python codec name; the mark is not part of the text.

    `num_broken_bytes` are those of UTF-8 text that are no part of a character; they are read as U+FFFD. `ends_lines_in_returns`
    says that there are CR and no LF, as on old Macs.
    """

    codec: str
    num_mark_bytes: int
    has_carriage_returns: bool
    has_text: bool
    is_guessed: bool
    num_broken_bytes: int = 0
    ends_lines_in_returns: bool = False


class _BadByte(Exception):
    def __init__(self, position: int, value: str) -> None:
        super().__init__(position, value)
        self.position, self.value = position, value


def inspect(read_blocks: Blocks, encoding: str) -> Inspection:
    """Look through a file once (up to three times when it is not UTF-8).

    Raises:
        BadFile: When it is not text, or not in the encoding asked for.
    """
    head = _read_head(read_blocks)
    codec, num_mark_bytes = choose_codec(head, encoding)
    if encoding == "auto" and not num_mark_bytes:
        kind = magic.find_kind(head)
        if kind is not None:
            raise BadFile(kind.counted_as, f"{kind.name}, not text", kind.next_step)
    try:
        return _inspect_as(read_blocks, codec, num_mark_bytes, is_guessed=False, check_control=encoding == "auto")
    except _BadByte as error:
        bad_byte = error
    if encoding == "auto" and codec == "utf-8":
        num_characters, num_broken_bytes = count_utf8(_skip(read_blocks(), num_mark_bytes))
        if num_characters > num_broken_bytes:
            return _inspect_as(
                read_blocks, codec, num_mark_bytes, is_guessed=False, check_control=True, num_broken_bytes=num_broken_bytes
            )
    if encoding == "auto" and not num_mark_bytes:
        _check_windows_1252(read_blocks, bad_byte)
        return _inspect_as(read_blocks, "cp1252", 0, is_guessed=True, check_control=False)
    mark = "its byte order mark says" if num_mark_bytes and encoding == "auto" else "encoding is"
    raise _wrong_encoding(bad_byte, f"not {codec} text, though {mark} {codec}")


def inspect_bytes(data: bytes, encoding: str) -> Inspection:
    """As `inspect`, of a file that lies in memory; ASCII, which most files are, is looked through at once.

    Raises:
        BadFile: When it is not text, or not in the encoding asked for.
    """
    if encoding != "auto" or not data.isascii() or b"\0" in data or data.startswith(magic.BEGINNINGS):
        return inspect(lambda: iter([data]), encoding)
    sample = data[:_SAMPLE_BYTES]
    _check_control(len(sample) - len(sample.translate(None, _CONTROL)), len(sample))
    has_return = b"\r" in data
    return Inspection(
        "utf-8",
        0,
        has_carriage_returns=has_return and b"\r\n" in data,
        has_text=bool(data) and not data.isspace(),
        is_guessed=False,
        ends_lines_in_returns=has_return and b"\n" not in data,
    )


def iter_text(blocks: Iterable[bytes], inspection: Inspection, *, strip_carriage_returns: bool) -> Iterator[bytes]:
    """Decode blocks to UTF-8 bytes of whole characters; with all line ends as LF where asked for, and U+FFFD for what is broken.

    Raises:
        BadFile: When the bytes are not what the inspection saw (the file changed in between).
    """
    is_broken = inspection.num_broken_bytes > 0
    decoded = _iter_utf8(blocks, inspection.codec, inspection.num_mark_bytes, is_broken=is_broken)
    held = b""  # a CR whose LF may come with the next block
    try:
        for data in decoded:
            if not (strip_carriage_returns and inspection.has_carriage_returns):
                is_old = strip_carriage_returns and inspection.ends_lines_in_returns
                yield data.replace(b"\r", b"\n") if is_old else data
                continue
            if held:
                data = held + data
            held = b"\r" if data.endswith(b"\r") else b""
            if held:
                data = data[:-1]
            yield data.replace(b"\r\n", b"\n") if b"\r" in data else data  # looking for one byte is ten times faster
    except _BadByte as error:
        raise changed_while_reading() from error
    if held:
        yield held


def changed_while_reading() -> BadFile:
    """The error for a file that is not the one that was listed."""
    return BadFile("changed", "changed while it was being read", "Wait until nobody writes to it; then run again.")


def _read_head(read_blocks: Blocks) -> bytes:
    head = b""
    for block in read_blocks():
        head += block
        if len(head) >= magic.TAR_BYTES:
            break
    return head[: magic.TAR_BYTES]


def choose_codec(head: bytes, encoding: str) -> tuple[str, int]:
    r"""The codec of a file that begins like this, as its byte order mark or `encoding` says, and how long the mark is.

    >>> choose_codec(codecs.BOM_UTF16_LE + b"a\0", "auto"), choose_codec(b"abc", "latin-1")
    (('utf-16-le', 2), ('iso8859-1', 0))
    """
    asked = "utf-8" if encoding == "auto" else codecs.lookup(encoding).name.replace("utf-8-sig", "utf-8")
    for mark, codec in _BYTE_ORDER_MARKS:
        if head.startswith(mark) and (encoding == "auto" or codec == asked):
            return codec, len(mark)
    return asked, 0


def _inspect_as(
    read_blocks: Blocks,
    codec: str,
    num_mark_bytes: int,
    *,
    is_guessed: bool,
    check_control: bool,
    num_broken_bytes: int = 0,
) -> Inspection:
    is_counted_in_bytes = codec == "utf-8" and not num_broken_bytes
    has_carriage_returns = has_text = ends_in_return = has_newline = has_return = False
    num_seen, sample = 0, b""
    for data in _iter_utf8(read_blocks(), codec, num_mark_bytes, is_broken=num_broken_bytes > 0):
        first_nul = data.find(b"\0")
        if first_nul >= 0:
            before = num_mark_bytes + num_seen + first_nul if is_counted_in_bytes else num_seen + len(data[:first_nul].decode())
            raise _nul_error(f"{'byte' if is_counted_in_bytes else 'character'} {before}")
        has_carriage_returns = has_carriage_returns or (ends_in_return and data.startswith(b"\n")) or b"\r\n" in data
        ends_in_return = data.endswith(b"\r")
        has_newline = has_newline or b"\n" in data
        has_return = has_return or (not has_newline and b"\r" in data)
        has_text = has_text or not data.isspace()
        num_seen += len(data) if is_counted_in_bytes else len(data.decode())
        if len(sample) < _SAMPLE_BYTES:
            sample += data[: _SAMPLE_BYTES - len(sample)]
    if check_control:
        _check_control(len(sample) - len(sample.translate(None, _CONTROL)), len(sample))
    return Inspection(
        codec,
        num_mark_bytes,
        has_carriage_returns,
        has_text,
        is_guessed,
        num_broken_bytes,
        ends_lines_in_returns=has_return and not has_newline,
    )


def _nul_error(place: str) -> BadFile:
    return BadFile(
        "NUL bytes",
        f"contains NUL bytes (first at {place})",
        "If it is UTF-16 text, set encoding to utf-16-le or utf-16-be; if its text is good, remove the NUL bytes.",
    )


def _check_control(num_control: int, num_bytes: int) -> None:
    if num_control > _MOST_CONTROL_SHARE * num_bytes:
        share = num_control / num_bytes
        raise BadFile(
            "binary", f"binary data ({share:.0%} control characters)", "Name a text file, or convert this one to text."
        )


def _check_windows_1252(read_blocks: Blocks, bad_byte: _BadByte) -> None:
    counts = np.zeros(256, np.int64)
    num_seen = 0
    for block in read_blocks():
        first_nul = block.find(b"\0")
        if first_nul >= 0:
            raise _nul_error(f"byte {num_seen + first_nul}")
        counts += np.bincount(np.frombuffer(block, np.uint8), minlength=256)
        num_seen += len(block)
    _check_control(int(counts[list(_CONTROL)].sum()), num_seen)
    if counts[_UNDEFINED_IN_CP1252].any() or counts[128:].sum() > _MOST_HIGH_SHARE * num_seen:
        raise _wrong_encoding(bad_byte, "not UTF-8 text, nor Windows-1252")


def _wrong_encoding(bad_byte: _BadByte, what: str) -> BadFile:
    return BadFile(
        "wrong encoding",
        f"{what} (first bad byte {bad_byte.value} at byte {bad_byte.position})",
        "Set encoding to the one it was written in, such as latin-1, cp1251, shift_jis or gb18030.",
    )


def _iter_utf8(blocks: Iterable[bytes], codec: str, num_mark_bytes: int, *, is_broken: bool) -> Iterator[bytes]:
    """Skip the byte order mark; yield UTF-8 blocks of whole characters.

    Raises:
        _BadByte: At the first byte that is of none; with `is_broken` there is U+FFFD in its place.
    """
    content = _skip(blocks, num_mark_bytes)
    if codec == "utf-8" and not is_broken:
        return _iter_checked(content, num_mark_bytes)
    return _iter_decoded(content, codec, num_mark_bytes, "replace" if is_broken else "strict")


def _skip(blocks: Iterable[bytes], num_bytes: int) -> Iterator[bytes]:
    for block in blocks:
        if num_bytes:
            block, num_bytes = block[num_bytes:], max(0, num_bytes - len(block))
        if block:
            yield block


def _iter_checked(blocks: Iterable[bytes], position: int) -> Iterator[bytes]:
    carry = b""
    for block in blocks:
        data = carry + block if carry else block
        num_whole = _count_whole(data)
        data, carry = data[:num_whole], data[num_whole:]
        if data:
            _check_utf8(data, position)
            position += len(data)
            yield data
    if carry:
        raise _BadByte(position, f"0x{carry[0]:02x}")


def _count_whole(data: bytes) -> int:
    """Count the bytes up to an unfinished UTF-8 character at the end."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return len(data) - back if needed > back else len(data)
    return len(data)


def is_utf8(data: bytes) -> bool:
    """Whether bytes are whole characters of UTF-8."""
    if data.isascii():
        return True
    bounds = np.array([0, len(data)], np.int64)
    try:
        # Arrow's check makes no text object: several times faster than bytes.decode.
        pa.LargeStringArray.from_buffers(1, pa.py_buffer(bounds), pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _check_utf8(data: bytes, position: int) -> None:
    if is_utf8(data):
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise _BadByte(position + error.start, f"0x{data[error.start]:02x}") from None
    raise AssertionError("Arrow and Python do not agree on what UTF-8 is")


def _iter_decoded(blocks: Iterable[bytes], codec: str, position: int, errors: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)(errors)

    def decode(block: bytes, is_last: bool) -> bytes:
        num_held = len(decoder.getstate()[0])
        try:
            return decoder.decode(block, is_last).encode()
        except UnicodeDecodeError as error:
            raise _BadByte(position - num_held + error.start, f"0x{error.object[error.start]:02x}") from None
        except UnicodeError as error:  # half of a surrogate pair, or a codec that says no more
            raise _BadByte(position, error.__class__.__name__) from None

    for block in blocks:
        data = decode(block, False)
        position += len(block)
        if data:
            yield data
    data = decode(b"", True)
    if data:
        yield data
