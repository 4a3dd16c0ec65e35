"""Finding sections of the documentation by words: those of a question, and those of other programs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from whelp.cli.docs_pages import DocsSection, make_anchor

_WORD = re.compile(r"[^\W_]+(?:'[^\W\d_]+)?")
_ROW = re.compile(r"^(?:\| (?P<names>.*?) \| (?P<says>.*) \||- \*\*(?P<term>.+?)\*\*: .*)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([a-z-]+)\.md(?:#([a-z0-9_-]+))?\)")
_HEADING = re.compile(r"^#{1,4} ")
_POINTS_ELSEWHERE = "coming-from#words-of-the-field"
_EXPLAIN = ("glossary", "troubleshooting")
_OF_QUESTIONS = """
a about am an and are as at be been by can could did do does for from get give go got had has have how i if in into
is it its let make me my need not of on or our read shall should so some than that the their them then there these
they this to too use used using want was we what when where which who why will with without would you your
"""
_ENDINGS = ("ings", "ing", "ed", "ies", "es", "s", "ers", "er", "ly", "ation", "ion")
_SHORTEST_STEM = 3
_HALF_COUNTS_AT = 1.2  # BM25's k1
_LENGTH_COUNTS = 0.6  # BM25's b
_IN_TITLE, _IN_PAGE_TITLE, _AS_NAME, _IN_LINE, _AS_PHRASE = 2.5, 1.0, 3.0, 1.5, 2.0
_LESS_LIKELY = {
    "log": 0.3,
    "roadmap": 0.3,
    "architecture": 0.3,
    "commands": 0.6,
    "options": 0.6,
    "coming-from": 0.7,
    "infctx": 0.7,
}


def find_sections(pages: dict[str, list[DocsSection]], asked: str, *, most: int) -> list[DocsSection]:
    """The sections that answer best, each with the line that says most about the words instead of its text; the best one first.

    Words count (BM25) in the text of a section, in one line of it, in its heading and that of its page, and in its names: what
    the first column of a table of names says. Words that only make a question count where there are no others. What a section
    holds has to weigh more than what it lacks.
    """
    found = _WORD.findall(asked)
    words = list(dict.fromkeys(_choose_telling(found)))
    phrase = re.compile(r"\W+".join(map(re.escape, found)), re.IGNORECASE)
    index = _Index(pages)
    held = [one for one in index.sections if 2 * index.weigh(words, one.held) > index.weigh(words)]
    best = sorted(held, key=lambda one: index.score(one, words, phrase), reverse=True)[:most]
    return [replace(one.section, text=index.choose_line(one, words, phrase)) for one in best]


def find_stem(word: str) -> str:
    """What the forms of a word have in common.

    >>> [find_stem(word) for word in ("training", "trained", "train", "stopping", "files", "file", "resuming")]
    ['train', 'train', 'train', 'stop', 'fil', 'fil', 'resum']
    """
    word = word.lower().removesuffix("'s")
    ending = next((one for one in _ENDINGS if word.endswith(one) and len(word) - len(one) >= _SHORTEST_STEM), "")
    stem = word.removesuffix(ending)
    if ending and len(stem) > _SHORTEST_STEM and stem[-1] == stem[-2] and stem[-1] not in "els":
        return stem[:-1]
    return stem.removesuffix("e") if len(stem) > _SHORTEST_STEM else stem


def _split_words(text: str) -> list[str]:
    return [find_stem(word) for word in _WORD.findall(text)]


def _choose_telling(found: list[str]) -> list[str]:
    """The stems of the words that do more than make a question; of all words where none does."""
    telling = [word for word in found if word.lower() not in _OF_QUESTIONS.split()]
    return [find_stem(word) for word in telling or found]


@dataclass(kw_only=True)
class _Searched:
    """A section with its words, as stems; each name is a set of words."""

    section: DocsSection
    counts: Counter[str]
    lines: list[tuple[str, frozenset[str]]]
    title: frozenset[str]
    page_title: frozenset[str]
    likely: float
    names: list[frozenset[str]] = field(default_factory=list)

    @property
    def held(self) -> frozenset[str]:
        return self.page_title.union(self.counts, *self.names)


class _Index:
    """All sections, and how telling each word is."""

    def __init__(self, pages: dict[str, list[DocsSection]]) -> None:
        self.sections = [
            _Searched(
                section=part,
                counts=Counter(_split_words(part.text)),
                lines=[(line, frozenset(_split_words(line))) for line in _list_lines(part.text)],
                title=frozenset(_choose_telling(_WORD.findall(part.title))),
                page_title=frozenset(_choose_telling(_WORD.findall(parts[0].title))),
                likely=_LESS_LIKELY.get(page, 1.0),
            )
            for page, parts in pages.items()
            for part in parts
        ]
        self._mean_length = sum(one.counts.total() for one in self.sections) / len(self.sections)
        self._num_holding = Counter(word for one in self.sections for word in one.counts)
        places = {place: one for one in self.sections for place in _list_places(one.section)}
        for one in self.sections:
            for place, name in _list_names(one.section):
                if place in places:
                    places[place].names.append(frozenset(_choose_telling(_WORD.findall(name))))

    def score(self, one: _Searched, words: list[str], phrase: re.Pattern[str]) -> float:
        """How well a section answers."""
        length = 1 - _LENGTH_COUNTS + _LENGTH_COUNTS * one.counts.total() / self._mean_length
        in_text = sum(
            self._weigh(word) * one.counts[word] * (1 + _HALF_COUNTS_AT) / (one.counts[word] + _HALF_COUNTS_AT * length)
            for word in words
        )
        in_line = max((self.weigh(words, line) for _, line in one.lines), default=0.0)
        as_name = max((self._match(name, words) for name in one.names), default=0.0)
        titles = _IN_TITLE * self._match(one.title, words) + _IN_PAGE_TITLE * self._match(one.page_title, words)
        is_said = len(words) > 1 and bool(phrase.search(one.section.text))
        return one.likely * (in_text + titles + _AS_NAME * as_name + _IN_LINE * in_line + _AS_PHRASE * is_said)

    def choose_line(self, one: _Searched, words: list[str], phrase: re.Pattern[str]) -> str:
        """The line that says most about the words."""

        def judge(line: tuple[str, frozenset[str]]) -> tuple[bool, float]:
            return bool(phrase.search(line[0])), self.weigh(words, line[1])

        return max(one.lines, key=judge, default=("", None))[0]

    def _match(self, name: frozenset[str], words: list[str]) -> float:
        """What the words that are in a name weigh, less where it is made of others, too."""
        held = [word for word in words if word in name]
        return sum(map(self._weigh, held)) * math.sqrt(len(held) / len(name)) if held else 0.0

    def weigh(self, words: list[str], held: Collection[str] | None = None) -> float:
        """How telling words are together, those of them that are held."""
        return sum(self._weigh(word) for word in words if held is None or word in held)

    def _weigh(self, word: str) -> float:
        num_holding = self._num_holding[word]
        return math.log(1 + (len(self.sections) - num_holding + 0.5) / (num_holding + 0.5))


def _list_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not _HEADING.match(line)]


def _list_places(section: DocsSection) -> Iterator[str]:
    """What links call a section; the first one of a page has a heading, too."""
    yield section.name
    if "#" not in section.name:
        yield f"{section.name}#{make_anchor(section.title)}"


def _list_names(section: DocsSection) -> Iterator[tuple[str, str]]:
    """Places, and what the first column of a table calls what is told there: in this section, or where it leads."""
    explains = section.name.partition("#")[0] in _EXPLAIN
    if not explains and section.name != _POINTS_ELSEWHERE:
        return
    for row in _ROW.finditer(section.text):
        linked = [f"{page}#{anchor}" if anchor else page for page, anchor in _LINK.findall(row["says"] or "")]
        for name in (row["names"] or row["term"]).split(", "):
            for place in [section.name] if explains else linked:
                yield place, name
