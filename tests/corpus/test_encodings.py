"""Bytes to text: byte order marks, encodings, and borders of blocks."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import pytest

from whelp.corpus.encodings import BadFile, inspect, iter_text

MIXED = "naïve café – “quoted” Привет 日本語 𝔘𝔫𝔦 🐕\r\nsecond\r\n\r\nlone\rreturn\r\n" * 3


def cut(data: bytes, block_bytes: int) -> Iterator[bytes]:
    """Cut bytes into blocks."""
    return (data[start : start + block_bytes] for start in range(0, len(data), block_bytes))


def decode(data: bytes, encoding: str = "auto", block_bytes: int = 1 << 20, strip: bool = False) -> str:
    """Inspect and decode, as the room does."""
    inspection = inspect(lambda: cut(data, block_bytes), encoding)
    parts = list(iter_text(cut(data, block_bytes), inspection, strip_carriage_returns=strip))
    for part in parts:
        part.decode()  # whole characters only
    return b"".join(parts).decode()


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 7, 64, 1000])
@pytest.mark.parametrize("strip", [False, True])
def test_blocks_cut_no_character_and_no_line_end(block_bytes: int, strip: bool) -> None:
    """Multi-byte characters and CR LF across borders come out as from one read; a lone CR stays."""
    expected = MIXED.replace("\r\n", "\n") if strip else MIXED
    assert decode(MIXED.encode(), block_bytes=block_bytes, strip=strip) == expected


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 1000])
@pytest.mark.parametrize("text", ["naïve\rcafé\r\rend", "plain\rlines\r"])
def test_lines_that_end_in_returns(text: str, block_bytes: int) -> None:
    """CR ends a line where LF ends none; they stay where that is asked for."""
    for codec in ("utf-8", "utf-16"):
        assert decode(text.encode(codec), block_bytes=block_bytes, strip=True) == text.replace("\r", "\n")
        assert decode(text.encode(codec), block_bytes=block_bytes) == text


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_byte_order_marks(mark: bytes, codec: str, block_bytes: int) -> None:
    """A byte order mark chooses the encoding and is not part of the text."""
    assert decode(mark + MIXED.encode(codec), block_bytes=block_bytes) == MIXED


def test_windows_1252_is_guessed_where_the_bytes_look_like_it() -> None:
    """Western text that is not UTF-8 is read as Windows-1252, and says so."""
    data = "It’s a naïve café — in Köln.\n".encode("cp1252") * 10
    assert decode(data) == data.decode("cp1252")
    assert inspect(lambda: iter([data]), "auto").is_guessed
    assert not inspect(lambda: iter([b"plain"]), "auto").is_guessed


@pytest.mark.parametrize("block_bytes", [1, 3, 1000])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_utf8_with_a_broken_place_stays_utf8(block_bytes: int, mark: bytes) -> None:
    """One bad byte does not turn every accented letter into two wrong ones; it is U+FFFD, and counted."""
    data = mark + "naïve café, à Köln\r\n".encode() + b"caf\xe9, \xe2\x82 and \xef\xbf\xbd\xc3"
    expected = "naïve café, à Köln\ncaf\ufffd, \ufffd and \ufffd\ufffd"
    assert decode(data, block_bytes=block_bytes, strip=True) == expected
    inspection = inspect(lambda: cut(data, block_bytes), "auto")
    assert (inspection.codec, inspection.is_guessed, inspection.num_broken_bytes) == ("utf-8", False, 4)
    with pytest.raises(BadFile, match="first bad byte 0xe9"):
        inspect(lambda: cut(data, block_bytes), "utf-8")


def test_nul_behind_a_broken_place_is_placed_by_characters() -> None:
    """Bytes cannot be counted in what was replaced."""
    with pytest.raises(BadFile, match=r"NUL bytes \(first at character 4\)"):
        inspect(lambda: iter(["éé".encode() + b"\xffa\0"]), "auto")


def test_trailing_carriage_return_stays() -> None:
    """A CR at the very end has no LF, so it is text."""
    assert decode(b"a\r\nb\r", block_bytes=1, strip=True) == "a\nb\r"


def test_named_encoding_is_strict() -> None:
    """A named encoding is used as it is, with no guess."""
    assert decode("é".encode("latin-1") * 9, "latin-1") == "é" * 9
    assert decode("Привет".encode("cp1251"), "cp1251") == "Привет"
    assert decode(MIXED.encode("shift_jis", "ignore"), "shift_jis", block_bytes=1) == MIXED.encode(
        "shift_jis", "ignore"
    ).decode("shift_jis")
    assert decode(codecs.BOM_UTF8 + b"x", "utf-8") == "x"


@pytest.mark.parametrize("block_bytes", [1, 4, 1000])
@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (b"good text\0more", "auto", r"contains NUL bytes \(first at byte 9\)"),
        (codecs.BOM_UTF8 + "é\0".encode(), "auto", r"NUL bytes \(first at byte 5\)"),
        (codecs.BOM_UTF16_LE + "né\0".encode("utf-16-le"), "auto", r"NUL bytes \(first at character 2\)"),
        (b"\x89PNG\r\n\x1a\n\0\0", "auto", r"contains NUL bytes \(first at byte 8\)"),
        ("plain".encode("utf-16-le"), "auto", r"contains NUL bytes \(first at byte 1\)"),
        (b"\x01\x02\x03\x04abc", "auto", "binary data .57% control"),
        (b"\x01\x02\x03\xe9abc", "auto", "binary data"),
        ("Привет, мир".encode("cp1251"), "auto", r"not UTF-8 text, nor Windows-1252 \(first bad byte 0xcf at byte 0\)"),
        (b"abcdefghij\x81", "auto", r"nor Windows-1252 \(first bad byte 0x81 at byte 10\)"),
        (b"abc\xe9def", "utf-8", r"not utf-8 text, though encoding is utf-8 \(first bad byte 0xe9 at byte 3\)"),
        (b"abc\xe2\x82", "utf-8", r"first bad byte 0xe2 at byte 3"),
        (b"abc\x81", "cp1252", r"not cp1252 text.*0x81 at byte 3"),
        (codecs.BOM_UTF8 + b"abc\xff", "auto", r"its byte order mark says utf-8 \(first bad byte 0xff at byte 6"),
        (codecs.BOM_UTF16_LE + b"a\0b", "auto", r"byte order mark says utf-16-le .*at byte 4"),
        (b"\x1f\x8b\x08\x00rest", "auto", "gzip data, not text"),
        (b"%PDF-1.7 and on", "auto", "PDF data, not text"),
    ],
)
def test_bad_bytes_say_what_and_where(data: bytes, encoding: str, message: str, block_bytes: int) -> None:
    """What is not text is refused with the reason and the place, however it is read."""
    with pytest.raises(BadFile, match=message):
        inspect(lambda: cut(data, block_bytes), encoding)


def test_a_change_between_two_reads_is_an_error() -> None:
    """Bytes that are not those inspected are never decoded to something else."""
    inspection = inspect(lambda: iter([b"abc"]), "auto")
    with pytest.raises(BadFile, match="changed while it was being read"):
        list(iter_text([b"ab\xff"], inspection, strip_carriage_returns=True))
