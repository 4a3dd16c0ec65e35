"""The article of a page, by several signs that do not depend on each other: no single change of a site makes menus its text.

In this order: paragraphs with a mark that the site is known to use; the `articleBody` that a page gives programs
(https://schema.org/Article, as JSON-LD); paragraphs in the element that a page calls its `articleBody`, in `<article>` or in
`<main>`; what trafilatura finds. The first sign that gives
prose is taken, except that marks which cover less than half of the `articleBody` are not believed.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whelp.collect.answers import Answer, NotFetched
from whelp.collect.page_text import read_page

if TYPE_CHECKING:
    from lxml.html import HtmlElement

_ASIDES = frozenset({"nav", "aside", "footer", "header", "form", "figure", "dialog", "menu", "noscript", "template"})
_SENTENCE_END = re.compile(r"[.!?…。][\"'”’»)\]]*\s*\Z")
_TAG = re.compile(r"<[^<>]*>")
_MAX_LINK_SHARE = 0.5  # of the characters of a paragraph
_MIN_OTHER_CHARACTERS = 200  # of a text that nothing but trafilatura vouches for
_MIN_PROSE_SHARE = 0.8  # of its characters, in paragraphs that end as sentences do


@dataclass(frozen=True, kw_only=True)
class Article:
    """The text of a page.

    Attributes:
        sign: Which sign gave it: marks, articleBody, elements, trafilatura.
    """

    paragraphs: list[str]
    title: str | None
    sign: str


def find_article(page: HtmlElement, answer: Answer, *, marks: str, marks_in: str) -> Article:
    """Find the article of a page.

    Args:
        page: The parsed answer.
        marks: A path that finds the paragraphs of an article, as long as the site stays as it was.
        marks_in: The file that has the marks, for who has to mend them.

    Raises:
        NotFetched: When no sign gives prose (it says what each lacks), or the page shows a part only.
    """
    described = next(_iter_described(page), None)
    if described is not None and str(described.get("isAccessibleForFree", True)).lower() == "false":
        raise NotFetched("not free to read: the page shows a part only", is_final=True)
    body = _split_body(described)
    marked = _read_paragraphs(page, page.xpath(marks))
    if marked and _count_words(marked) * 2 >= _count_words(body):
        paragraphs, sign = marked, "marks"
    elif body:
        paragraphs, sign = body, "articleBody"
    else:
        paragraphs, sign = _read_elements(page), "elements"
    if not paragraphs:
        paragraphs, sign = _read_other(page, answer), "trafilatura"
    if not paragraphs:
        lacks = [
            "no marked paragraphs",
            "no JSON-LD article" if described is None else "no articleBody in its JSON-LD",
            "no prose in <article> or <main>" if page.xpath("//article | //main") else "no <article> or <main>",
            "no prose elsewhere",
        ]
        reason = f"no article on the page ({', '.join(lacks)}): has the site changed? Its marks are in {marks_in}"
        raise NotFetched(reason, is_final=False)
    return Article(paragraphs=paragraphs, title=_find_title(page, described), sign=sign)


def _iter_described(page: HtmlElement) -> Iterator[dict[str, Any]]:
    """What a page tells programs about its article."""
    for script in page.xpath("//script[@type='application/ld+json']/text()"):
        try:
            waiting = [json.loads(script)]
        except (ValueError, RecursionError):
            continue
        for value in waiting:  # grows meanwhile
            if isinstance(value, list):
                waiting += value
            elif isinstance(value, dict):
                kinds = value.get("@type")
                if any(str(kind).endswith("Article") for kind in (kinds if isinstance(kinds, list) else [kinds])):
                    yield value
                waiting += [value[key] for key in ("@graph", "mainEntity", "mainEntityOfPage") if key in value]


def _split_body(described: dict[str, Any] | None) -> list[str]:
    """The paragraphs of `articleBody`, which may hold tags and entities."""
    body = described.get("articleBody") if described else None
    if not isinstance(body, str):
        return []
    parts = re.split(r"\n\s*|<(?:/?p|br)\b[^<>]*>", html.unescape(body))
    paragraphs = [text for part in parts if (text := " ".join(_TAG.sub("", part).split()))]
    return paragraphs if any(map(_is_prose, paragraphs)) else []


def _read_paragraphs(page: HtmlElement, found: list[HtmlElement]) -> list[str]:
    """The text of these paragraphs, with the headings that stand between them."""
    wanted = {place for place in found if not is_aside(place)}
    texts: list[str] = []
    heading = ""
    for place in page.iter("h2", "h3", "h4", "p") if wanted else ():
        text = " ".join(place.text_content().split())
        if place in wanted:
            if heading and texts and text:
                texts.append(heading)
            texts += [text] if text else []
            heading = ""
        elif place.tag != "p" and not is_aside(place):
            heading = text
    return texts


def _read_elements(page: HtmlElement) -> list[str]:
    """Paragraphs of the first of these elements that holds prose; rows of links are no paragraphs."""
    for place in (*page.xpath("//*[@itemprop='articleBody']"), *page.xpath("//article"), *page.xpath("//main")):
        found = [paragraph for paragraph in place.iter("p") if not is_aside(paragraph) and not _is_links(paragraph)]
        if any(_is_prose(paragraph.text_content()) for paragraph in found):
            return _read_paragraphs(page, found)
    return []


def _read_other(page: HtmlElement, answer: Answer) -> list[str]:
    """What trafilatura finds, where the page has a title and nearly all of it are sentences."""
    if not page.xpath("//h1"):
        return []
    try:
        paragraphs = read_page(answer).text.split("\n\n")
    except NotFetched:
        return []
    prose = [text for text in paragraphs if _is_prose(text)]
    num_characters = sum(map(len, prose))
    is_enough = num_characters >= max(_MIN_OTHER_CHARACTERS, _MIN_PROSE_SHARE * sum(map(len, paragraphs)))
    return prose if is_enough else []


def is_aside(place: HtmlElement) -> bool:
    """Whether something stands where no article does."""
    return any(outer.tag in _ASIDES for outer in place.iterancestors())


def _is_links(paragraph: HtmlElement) -> bool:
    """Whether a paragraph is hardly more than links."""
    num_linked = sum(len(link.text_content().strip()) for link in paragraph.iter("a"))
    return bool(num_linked > _MAX_LINK_SHARE * len(paragraph.text_content().strip()))


def _is_prose(text: str) -> bool:
    return " " in text.strip() and _SENTENCE_END.search(text) is not None


def _count_words(paragraphs: list[str]) -> int:
    return sum(len(paragraph.split()) for paragraph in paragraphs)


def _find_title(page: HtmlElement, described: dict[str, Any] | None) -> str | None:
    """The heading; else what the page calls itself for programs."""
    headline = described.get("headline") if described else None
    named = page.xpath("//meta[@property='og:title']/@content")
    inside, anywhere = ([place.text_content() for place in page.xpath(path)] for path in ("(//article | //main)//h1", "//h1"))
    titles = (" ".join(title.split()) for title in (*inside, headline, *anywhere, *named) if isinstance(title, str))
    return next(filter(None, titles), None)
