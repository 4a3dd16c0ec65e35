"""A document, and where it is from: what every collector gives, whatever its source."""

from __future__ import annotations

import json
from dataclasses import dataclass

_ENCODER = json.JSONEncoder(ensure_ascii=False)
_ESCAPES = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"))
_RARE = bytes(number for number in range(0x20) if number != 0x0A)  # control characters but the line feed


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text with its provenance. What a source does not say is None, so all lines of a file have the same keys.

    Attributes:
        text: Plain text; paragraphs are separated by one blank line.
        source: The collector: wikipedia, britannica, youtube, urls, ...
        title: The heading or name.
        url: The address a reader would open; of a local file its path.
        id: The source's own name for it: a page id, a video id.
        language: As BCP 47 writes it: `en`, `de`, `pt-BR`.
        revision: The source's name for this version of the text.
        licence: What the text may be used for, as the source says it: `CC BY-SA 4.0`.
        author: Who made it: a channel, a site.
        time: When this version was made, in UTC: `2026-01-31T12:00:00Z`.
        fetched: When it was collected, in UTC.
    """

    text: str
    source: str
    title: str | None = None
    url: str | None = None
    id: str | None = None
    language: str | None = None
    revision: str | None = None
    licence: str | None = None
    author: str | None = None
    time: str | None = None
    fetched: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConversationDocument(Document):
    """A conversation, whose text is `Name: words`, a line each.

    Attributes:
        turns: What was said, in order: objects with `sender` and `text`.
    """

    turns: list[dict[str, str]]


def make_line(document: Document) -> bytes:
    r"""Make the JSON line of a document, with its line feed, in UTF-8: the form that `data.source: x.jsonl` reads.

    >>> make_line(Document(text="one\ntwo", source="urls"))[:40]
    b'{"text": "one\\ntwo", "source": "urls", "'
    """
    values = vars(document)
    others = _ENCODER.encode({name: value for name, value in values.items() if name != "text"})
    return b'{"text": %b, %b\n' % (_quote(document.text), others[1:].encode("utf-8", "replace"))


def _quote(text: str) -> bytes:
    """The text as JSON writes it, in a fifth of the time that `json` takes.

    Halves of characters, which JSON of others may hold and no file can, become question marks.
    """
    data = text.encode("utf-8", "replace")
    if len(data.translate(None, _RARE)) < len(data):
        return _ENCODER.encode(data.decode()).encode()
    for found, written in _ESCAPES:
        data = data.replace(found, written)
    return b'"%b"' % data
