"""Chats that WhatsApp and Telegram export: a line for each message, with the name of who wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4},?\s+\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s?[APap]\.?\s?[Mm]\.?)?"
_HEAD = re.compile(rf"[\u200e\u200f\ufeff]*(?:\[{_DATE}\]\s|{_DATE}\s[-–]\s)(.*)")
_MARKS = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NO_WORDS = re.compile(r"<[^<>]+>\Z")  # <Media omitted>, in the language of the telephone
_FEWEST = 2  # messages that make a text a chat


@dataclass(frozen=True)
class Chat:
    """A conversation: `Name: words`, a line each."""

    text: str
    title: str | None = None


def read_whatsapp(text: str) -> Chat | None:
    r"""Make a chat of an export; None for a text that is none. Times, notices and what stands for pictures are left out.

    >>> read_whatsapp("12.03.24, 18:00 - Ann: Hi\n12.03.24, 18:01 - Bob: Yes?\nWell.\n").text
    'Ann: Hi\nBob: Yes?\nWell.'
    """
    lines = text.splitlines()
    written = [line for line in lines if line.strip()]
    if len(written) < _FEWEST or not _HEAD.match(written[0]) or sum(map(bool, map(_HEAD.match, written))) < _FEWEST:
        return None
    said: list[str] = []
    is_said = False
    for line in lines:
        match = _HEAD.match(line)
        if match is None:  # goes on with the message before
            said += [_MARKS.sub("", line)] if is_said else []
            continue
        name, colon, words = match[1].partition(": ")
        is_said = bool(colon) and not words.startswith("\u200e") and _NO_WORDS.match(words.strip()) is None
        if is_said:
            said.append(f"{_MARKS.sub('', name)}: {_MARKS.sub('', words)}")
    return Chat("\n".join(line.rstrip() for line in said).strip())


def read_telegram(text: str) -> list[Chat] | None:
    """Make chats of an export in JSON, of one chat or of all; None for other JSON. Notices, and what has no words, are left out."""
    if '"messages"' not in text:
        return None
    try:
        export = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(export, dict):
        return None
    listed = export.get("chats")
    chats = listed.get("list") if isinstance(listed, dict) else [export]
    if not isinstance(chats, list) or not chats or not all(map(_is_telegram, chats)):
        return None
    return [Chat("\n".join(_iter_said(chat["messages"])), chat.get("name")) for chat in chats]


def _is_telegram(chat: Any) -> bool:
    if not isinstance(chat, dict) or "type" not in chat or not isinstance(chat.get("messages"), list):
        return False
    return all(isinstance(message, dict) and {"id", "type", "date"} <= message.keys() for message in chat["messages"])


def _iter_said(messages: list[dict[str, Any]]) -> Iterator[str]:
    for message in messages:
        pieces = message.get("text")
        pieces = pieces if isinstance(pieces, list) else [pieces]
        words = "".join(str(piece.get("text", "")) if isinstance(piece, dict) else str(piece or "") for piece in pieces).strip()
        if message["type"] == "message" and words:
            yield f"{message.get('from') or 'Deleted Account'}: {words}"
