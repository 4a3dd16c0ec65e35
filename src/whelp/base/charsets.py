"""The characters of a page of the web, or of XML: in which encoding it is, whatever it and its server say."""

from __future__ import annotations

import codecs
import re

from whelp.base.utf8 import is_mostly_utf8

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_IN_PAGE = re.compile(rb"""<(?:meta|\?xml)[^<>]*?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
_HEAD_BYTES = 4096
_TAG = re.compile(rb"<[^<>]*>")
_ASCII = bytes(range(0x80))
_SAMPLE_BYTES = 1 << 15
_LEAST_HIGH_SHARE = 0.30  # of the bytes of a text: Windows-1252 text of any language has fewer
_LAST = "windows-1252"
_NO_CHARSETS = frozenset(("punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined"))  # known to Python only
_OTHER_NAMES = {  # that pages use, and Python does not know
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "windows-874": "cp874",
    "x-gbk": "gb18030",
    "x-euc-jp": "euc_jp",
    "win-1251": "cp1251",
    "iso-8859-8-i": "iso8859-8",
}
_AS_BROWSERS_READ = {  # by Python's name: https://encoding.spec.whatwg.org/#names-and-labels
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}


def find_codec(label: str) -> str | None:
    """Python's name of the encoding that browsers take a label for; None for one that is none.

    >>> [find_codec(label) for label in ("ISO-8859-1", "gb2312", "x-sjis", "klingon", "punycode")]
    ['cp1252', 'gb18030', 'cp932', None, None]
    """
    label = label.strip().lower()
    try:
        codec = codecs.lookup(_OTHER_NAMES.get(label, label)).name
        "".encode(codec)  # some of Python's turn bytes into bytes
    except (LookupError, UnicodeError):
        return None
    return None if codec.replace("-", "_") in _NO_CHARSETS else _AS_BROWSERS_READ.get(codec, codec)


def find_named(body: bytes) -> str | None:
    """The encoding that a page names, as Python calls it; None where it has a byte order mark, or names none."""
    match = _IN_PAGE.search(body, 0, _HEAD_BYTES)
    if match is None or body.startswith(tuple(mark for mark, _ in _MARKS)):
        return None
    codec = find_codec(match[1].decode("ascii"))
    return "utf-8" if codec is not None and codec.startswith("utf-16") else codec  # in UTF-16 it would not have been found


def decode_page(body: bytes, named: str | None) -> str:
    """Find the characters of a page.

    Servers often name a wrong encoding, and hardly any other text is valid UTF-8; so the order is: a byte order mark, UTF-8
    where it fits (or nearly does), what the server names, what the page names, what the bytes look like, and last Windows-1252.

    Args:
        named: What the server names.
    """
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body.decode(name, errors="replace")
    try:
        return body.decode()
    except UnicodeDecodeError:
        if is_mostly_utf8([body]):
            return body.decode(errors="replace")
    codecs_named = [codec for codec in (find_codec(named) if named else None, find_named(body)) if codec is not None]
    for codec in codecs_named:
        try:
            return body.decode(codec)
        except UnicodeError:
            continue
    last = [codec for codec in codecs_named if codec != "utf-8"] or [_guess(body)]
    return body.decode(last[0], errors="replace")


def _guess(body: bytes) -> str:
    """What an encoding looks like that nobody names."""
    text = _TAG.sub(b"", body)[:_SAMPLE_BYTES]
    if len(text.translate(None, _ASCII)) < _LEAST_HIGH_SHARE * len(text):
        return _LAST
    try:
        from charset_normalizer import from_bytes  # comes with trafilatura
    except ImportError:
        return _LAST
    found = from_bytes(text).best()
    return _LAST if found is None else find_codec(found.encoding) or _LAST
