"""Chats: who said what; and those that WhatsApp exports, a line for each message. Exports in JSON are in `chat_exports.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4},?\s+\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s?[APap]\.?\s?[Mm]\.?)?"
_HEAD = re.compile(rf"[\u200e\u200f\ufeff]*(?:\[{_DATE}\]\s|{_DATE}\s[-–]\s)(.*)")
_MARKS = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NO_WORDS = re.compile(r"<[^<>]+>\Z")  # <Media omitted>, in the language of the telephone
_FEWEST = 2  # messages that make a text a chat


@dataclass(frozen=True)
class Turn:
    """What somebody said at once."""

    sender: str
    text: str


@dataclass(frozen=True)
class Chat:
    """A conversation, in the order in which it was held."""

    turns: list[Turn]
    title: str | None = None

    @property
    def text(self) -> str:
        """`Name: words`, a line each."""
        return "\n".join(f"{turn.sender}: {turn.text}" for turn in self.turns)


def read_whatsapp(text: str) -> Chat | None:
    r"""Make a chat of an export; None for a text that is none. Times, notices and what stands for pictures are left out.

    >>> read_whatsapp("12.03.24, 18:00 - Ann: Hi\n12.03.24, 18:01 - Bob: Yes?\nWell.\n").text
    'Ann: Hi\nBob: Yes?\nWell.'
    """
    lines = text.splitlines()
    written = [line for line in lines if line.strip()]
    if len(written) < _FEWEST or not _HEAD.match(written[0]) or sum(map(bool, map(_HEAD.match, written))) < _FEWEST:
        return None
    said: list[tuple[str, list[str]]] = []
    is_said = False
    for line in lines:
        match = _HEAD.match(line)
        if match is None:  # goes on with the message before
            if is_said:
                said[-1][1].append(_MARKS.sub("", line))
            continue
        name, colon, words = match[1].partition(": ")
        is_said = bool(colon) and not words.startswith("\u200e") and _NO_WORDS.match(words.strip()) is None
        if is_said:
            said.append((_MARKS.sub("", name).strip(), [_MARKS.sub("", words)]))
    turns = (Turn(name, "\n".join(line.rstrip() for line in words).strip()) for name, words in said)
    return Chat([turn for turn in turns if turn.text])
