"""The languages that a crawler found in a text or a page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from whelp.base.language_codes import shorten_language
from whelp.base.warc import Broken, Record, parse_headers

_MOST_BYTES = 1 << 16


def read_languages(record: Record, following: Record | None = None) -> list[str]:
    """The languages that a crawler found, the commonest first, as short codes.

    Args:
        following: The record behind it, which tells of a page what Common Crawl found in it.

    >>> read_languages(Record(0, {"warc-identified-content-language": "eng,deu"}, b""))
    ['en', 'de']
    """
    said = record.headers.get("warc-identified-content-language", "").split(",")
    if not any(said) and following is not None:
        said = _read_metadata(following)
    return [code for tag in said if (code := shorten_language(tag))]


def is_about(following: Record | Broken | None, record: Record) -> bool:
    """Whether a record tells of the page in the one before it."""
    return isinstance(following, Record) and following.kind == "metadata" and following.url == record.url


def pair(found: Iterable[Record | Broken]) -> Iterator[tuple[Record | Broken, Record | Broken | None]]:
    """Each with the one behind it, None for the last.

    >>> [(first.offset, behind and behind.offset) for first, behind in pair([Record(0, {}, b""), Record(9, {}, b"")])]
    [(0, 9), (9, None)]
    """
    waiting: Record | Broken | None = None
    for one in found:
        if waiting is not None:
            yield waiting, one
        waiting = one
    if waiting is not None:
        yield waiting, None


def _read_metadata(record: Record) -> list[str]:
    """`languages-cld2: {"languages": [{"code-iso-639-3": "eng", ...}, ...], ...}`."""
    try:
        found = json.loads(parse_headers((record.content or b"")[:_MOST_BYTES])["languages-cld2"])["languages"]
        return [str(language["code-iso-639-3"]) for language in found]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
