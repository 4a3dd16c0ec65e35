"""Chats: who said what; and those that WhatsApp exports, a line for each message. Exports in JSON are in `chat_exports.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

_MARK = r"[\u200e\u200f\u061c\ufeff\u202a-\u202e\u2066-\u2069]"  # of direction
_BORDER = rf"{_MARK}*[./-]{_MARK}*\s?"
_DATE = rf"\d{{1,4}}{_BORDER}\d{{1,2}}{_BORDER}\d{{1,4}}\.?"
_TIME = r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?"
_HALF = rf"(?:\s?{_MARK}*[^\W\d_]{{1,2}}\.?(?:\s?[^\W\d_]\.?)?{_MARK}*)?"  # of the day: PM, p. m., μ.μ.
_BETWEEN = r"[,،]?\s+(?:[^\W\d_]{1,3}\.?,?\s*)?"  # à, kl., г., 下午
_WHEN = rf"(?:{_DATE}{_BETWEEN}{_TIME}{_HALF}|{_TIME}{_HALF},?\s+{_DATE})"  # in the order of the telephone's language
_HEAD = re.compile(rf"{_MARK}*(?:\[{_WHEN}\]\s|{_WHEN}\s[-–]\s)(.*)")
_MARKS = re.compile(_MARK)
_NO_WORDS = re.compile(r"<[^<>]+>\Z")  # <Media omitted>, in the language of the telephone
_ADDED = re.compile(r"\u200e<[^<>]+>\Z")  # <This message was edited>, <attached: a.jpg>
_BY_NOBODY = "\u200e"  # what words begin with that nobody wrote
_CLOSING = dict(zip("“”„«»‹‘’‚「『\"'", ("”", "”", "“”", "»", "«", "›", "’", "’", "‘’", "」", "』", '"', "'"), strict=True))
_APOSTROPHES = "'’"  # where a word goes on behind them
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
        if match is not None:
            name, words = _part_sender(match[1])
            is_said = bool(name)
            if is_said:
                said.append((name, [words]))
        elif is_said:  # goes on with the message before, or stands below a picture
            said[-1][1].append(_tidy(line))
    turns = (Turn(name, "\n".join(words).strip()) for name, words in said)
    return Chat([turn for turn in turns if turn.text])


def _part_sender(rest: str) -> tuple[str, str]:
    """Who wrote a message, and its words, "" for what stands for a picture; nobody ("") where it is a notice.

    >>> _part_sender("Ann: a: b"), _part_sender("Ann added Bob"), _part_sender('Ann changed the subject to "Dogs: a chat"')
    (('Ann', 'a: b'), ('', ''), ('', ''))
    """
    name, colon, words = rest.partition(": ")
    if not colon and rest.rstrip().endswith(":"):  # and its words stand in the lines below
        name, colon = rest.rstrip()[:-1], ":"
    name = _MARKS.sub("", name).removeprefix("~").strip()  # ~: of a number that is not among the contacts
    if not colon or _is_in_quotes(name):
        return "", ""
    return name, "" if words.startswith(_BY_NOBODY) or _NO_WORDS.match(words.strip()) else _tidy(words)


def _tidy(words: str) -> str:
    return _MARKS.sub("", _ADDED.sub("", words.rstrip())).rstrip()


def _is_in_quotes(text: str) -> bool:
    """Whether a quotation is open where a text ends, as where a colon stands in the subject that a notice quotes.

    >>> [_is_in_quotes(text) for text in ("O'Neil", 'Ann "the boss"', "Ann changed the subject to “Dogs", "Ann hat „Hunde“ zu „A")]
    [False, False, True, True]
    """
    closing = ""
    for before, letter in pairwise(f" {text}"):
        if closing:
            closing = "" if letter in closing else closing
        elif not (letter in _APOSTROPHES and before.isalnum()):
            closing = _CLOSING.get(letter, "")
    return bool(closing)
