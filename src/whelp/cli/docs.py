"""`whelp docs`: the pages of the documentation, which are installed along: read, and searched for words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from whelp.base.errors import ConfigError
from whelp.base.result_repr import ResultRepr
from whelp.cli.docs_pages import DocsSection, read_pages
from whelp.cli.docs_search import find_sections

_MOST_FOUND = 8


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
    pages = read_pages()
    asked = words.strip()
    if not asked:
        sections = [DocsSection(name=name, title=parts[0].title, text=_begin(parts)) for name, parts in pages.items()]
        return DocsResult(asked=asked, is_text=False, sections=sections)
    page, _, anchor = asked.removeprefix("docs/").replace(".md", "").partition("#")
    if page in pages:
        return DocsResult(asked=asked, is_text=True, sections=[_choose(page, pages[page], anchor)])
    found = find_sections(pages, asked, most=_MOST_FOUND)
    if not found:
        raise ConfigError(
            f"whelp docs {asked}", ["no page is called so, and none holds these words"], "`whelp docs` lists the pages."
        )
    return DocsResult(asked=asked, is_text=False, sections=found)


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
