"""`whelp docs`: the pages of the documentation, which are installed along: read, and searched for words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whelp.base.errors import ConfigError
from whelp.base.result_repr import ResultRepr

_HEADING = re.compile(r"^(#{1,4}) +(.+)$")
_BEGIN = ("index", "getting-started", "choosing", "coming-from", "troubleshooting")
_LESS_LIKELY = ("log", "roadmap", "architecture")  # of the project itself
_MOST_FOUND = 8


@dataclass(frozen=True, kw_only=True)
class DocsSection(ResultRepr):
    """A page, or a section of one. `name` is what `whelp docs` takes: `packing`, `packing#the-ledger`."""

    name: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class DocsResult(ResultRepr):
    """What was asked for: `is_text`, one page or section, whole; else sections that hold the words, or all pages with how they begin."""

    asked: str
    is_text: bool
    sections: list[DocsSection]


def docs(words: str = "") -> DocsResult:
    """Read a page of the documentation, or find sections by words.

    Args:
        words: The name of a page (`packing`) or of a section (`packing#the-ledger`); any other words are looked for; nothing: the
            list of all pages.

    Raises:
        ConfigError: When there is nothing of that name, and nothing holds the words.
    """
    pages = _read_pages()
    asked = words.strip()
    if not asked:
        sections = [DocsSection(name=name, title=parts[0].title, text=_begin(parts)) for name, parts in pages.items()]
        return DocsResult(asked=asked, is_text=False, sections=sections)
    page, _, anchor = asked.removeprefix("docs/").replace(".md", "").partition("#")
    if page in pages:
        return DocsResult(asked=asked, is_text=True, sections=[_choose(page, pages[page], anchor)])
    found = _search(pages, asked)
    if not found:
        raise ConfigError(
            f"whelp docs {asked}", ["no page is called so, and none holds these words"], "`whelp docs` lists the pages."
        )
    return DocsResult(asked=asked, is_text=False, sections=found)


def _find_folder() -> Path:
    package = Path(__file__).parents[1]
    installed = package / "_docs"
    return installed if installed.is_dir() else package.parents[1] / "docs"


def _read_pages() -> dict[str, list[DocsSection]]:
    """The sections of each page, by its name; the first is what stands before the second heading."""
    paths = {path.stem: path for path in sorted(_find_folder().glob("*.md"))}
    order = [name for name in _BEGIN if name in paths] + [name for name in paths if name not in _BEGIN]
    return {name: list(_cut(name, paths[name].read_text(encoding="utf-8"))) for name in order}


def _cut(page: str, text: str) -> Iterator[DocsSection]:
    """A page at its headings; what looks like one within a block of code is none."""
    name, title, lines, is_code = page, page, list[str](), False
    for line in text.splitlines():
        if line.startswith("<!--") and not is_code:
            continue
        is_code ^= line.startswith("```")
        heading = None if is_code else _HEADING.match(line)
        if heading is not None and any(lines):
            yield DocsSection(name=name, title=title, text="\n".join(lines).strip())
            name, lines = f"{page}#{make_anchor(heading[2])}", []
        if heading is not None:
            title = heading[2]
        lines.append(line)
    yield DocsSection(name=name, title=title, text="\n".join(lines).strip())


def make_anchor(heading: str) -> str:
    """What a link calls a heading.

    >>> make_anchor("The tokenizer's own `chat` template")
    'the-tokenizers-own-chat-template'
    """
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def _begin(parts: list[DocsSection]) -> str:
    """How a page begins: its first sentence, without marks; else what its sections are called."""
    prose = re.sub(r"^```.*?^```|^(?:[|#!]|- ).*?$", "", parts[0].text, flags=re.MULTILINE | re.DOTALL)
    plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(prose.split()))
    sentence = re.split(r"(?<=[.:]) ", plain, maxsplit=1)[0].rstrip(":")
    return sentence or ", ".join(part.title for part in parts[1:6])


def _choose(page: str, parts: list[DocsSection], anchor: str) -> DocsSection:
    """A whole page, or its section with all that stands below it."""
    if not anchor:
        return DocsSection(name=page, title=parts[0].title, text="\n\n".join(part.text for part in parts))
    names = [part.name for part in parts]
    if f"{page}#{anchor}" not in names:
        there = ", ".join(name.partition("#")[2] for name in names[1:])
        raise ConfigError(f"whelp docs {page}#{anchor}", ["the page has no such section"], f"It has {there}.")
    first = names.index(f"{page}#{anchor}")
    level = _level(parts[first])
    last = next((place for place in range(first + 1, len(parts)) if _level(parts[place]) <= level), len(parts))
    return DocsSection(name=names[first], title=parts[first].title, text="\n\n".join(part.text for part in parts[first:last]))


def _level(section: DocsSection) -> int:
    return len(section.text) - len(section.text.lstrip("#"))


def _search(pages: dict[str, list[DocsSection]], asked: str) -> list[DocsSection]:
    """The sections that hold all words, or else most of them; with the line that holds the most."""
    words = [
        re.compile(rf"\b{re.escape(word.rstrip('s') if len(word) > 3 else word)}", re.IGNORECASE) for word in asked.split()
    ]
    phrase = re.compile(r"\W+".join(re.escape(word) for word in asked.split()), re.IGNORECASE)
    scored = []
    for page, parts in pages.items():
        for part in parts:
            held = sum(bool(word.search(part.text) or word.search(parts[0].title)) for word in words)
            named = sum(bool(word.search(part.title)) for word in words)
            counted = sum(min(len(word.findall(part.text)), 3) for word in words)
            said = bool(phrase.search(part.text))
            if held:
                scored.append(((held, page not in _LESS_LIKELY, said, named, counted), part))
    most = max((score[0] for score, _ in scored), default=0)
    if most * 2 < len(words):
        return []
    best = sorted((one for one in scored if one[0][0] == most), key=lambda one: one[0], reverse=True)[:_MOST_FOUND]
    return [DocsSection(name=part.name, title=part.title, text=_excerpt(part.text, words, phrase)) for _, part in best]


def _excerpt(text: str, words: list[re.Pattern[str]], phrase: re.Pattern[str]) -> str:
    """The line that says most about the words."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _HEADING.match(line)]
    return max(lines, key=lambda line: (bool(phrase.search(line)), sum(bool(word.search(line)) for word in words)), default="")
