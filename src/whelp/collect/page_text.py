"""The text of a page of the web: its characters, then its article without menus and adverts."""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import dataclass

from whelp.base.charsets import decode_page
from whelp.base.limited_process import Limits, OverLimitError, call_within
from whelp.collect.answers import Answer, NotFetched, refuse

_PAGES = {"text/html", "application/xhtml+xml", ""}
_LIST_LINE = re.compile(r"(- |\|)")
_MAX_TAGS = 100_000  # beyond, trafilatura's time grows with the square: 50,000 paragraphs take about ten seconds

_TALKERS = ("trafilatura", "htmldate", "courlan", "justext", "readability")

_PARSING = threading.Lock()  # threads wait for hosts, not for parsers: one process of them is enough


@dataclass(frozen=True, kw_only=True)
class PageText:
    """What a page says, and what it says about itself."""

    text: str
    title: str | None = None
    author: str | None = None
    date: str | None = None
    language: str | None = None
    licence: str | None = None


def decode(answer: Answer) -> str:
    """Find the characters of a page."""
    named = re.search(r"charset=[\"']?([\w.:-]+)", answer.headers.get("content-type", ""), re.IGNORECASE)
    return decode_page(answer.body, named[1] if named else None)


def read_page(answer: Answer) -> PageText:
    """Find the article of a page.

    Raises:
        NotFetched: When it is no page, or holds no text.
    """
    if answer.kind == "text/plain":
        text = decode(answer).replace("\r\n", "\n").strip()
        if not text:
            raise NotFetched("no text", is_final=True)
        return PageText(text=text)
    if answer.kind not in _PAGES:
        raise NotFetched(f"no page but {answer.kind}", is_final=True)
    html = decode(answer)
    if "\x00" in html[:1024]:
        raise NotFetched("no page but binary data", is_final=True)
    return _extract(html, answer.url)


def read_page_within(answer: Answer, seconds: float) -> PageText:
    """As `read_page`, in another process, and not for longer. One page at a time, whatever the threads.

    Raises:
        NotFetched: When it is no page, holds no text, or takes longer.
    """
    with _PARSING:
        try:
            return call_within(Limits(seconds), read_page, answer)
        except OverLimitError as error:
            raise refuse(say_over_limit(error, seconds)) from None


def say_over_limit(error: OverLimitError, seconds: float) -> str:
    """Why a page that was given up on is left out."""
    return f"the page takes more than {seconds:g} seconds" if error.limit == "time" else "the page breaks its reader"


def _extract(html: str, url: str) -> PageText:
    if html.count("<") > _MAX_TAGS:
        raise refuse(f"more than {_MAX_TAGS:,} tags")
    return _parse(html, url)


def _parse(html: str, url: str) -> PageText:
    import trafilatura

    for name in _TALKERS:  # what they say of pages that are odd is for those who mend parsers
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        tree = trafilatura.load_html(html)
        if tree is None:
            raise NotFetched("no text", is_final=True)
        languages, licences = tree.xpath("/html/@lang"), tree.xpath("//*[self::a or self::link][@rel='license']/@href")
        found = trafilatura.bare_extraction(tree, url=url, with_metadata=True, include_comments=False)
    except NotFetched:
        raise
    except (
        Exception
    ) as error:  # pages are written by anybody: one that breaks the parser must not end a collection of thousands
        raise NotFetched(f"the page cannot be parsed ({type(error).__name__})", is_final=True) from error
    if found is None or isinstance(found, dict) or not (found.text or "").strip():
        raise NotFetched("no text", is_final=True)
    return PageText(
        text=_space_paragraphs(found.text or ""),
        title=found.title,
        author=found.author or found.sitename,
        date=found.date,
        language=str(languages[0])[:40] if languages else None,
        licence=found.license or (str(licences[0]) if licences else None),
    )


def _space_paragraphs(text: str) -> str:
    r"""A blank line between paragraphs, none within a list or a table.

    >>> _space_paragraphs("One.\nTwo:\n- a\n- b\nThree.")
    'One.\n\nTwo:\n\n- a\n- b\n\nThree.'
    """
    parts: list[str] = []
    before = ""
    for line in filter(None, map(str.strip, text.split("\n"))):
        is_same_list = _LIST_LINE.match(line) and _LIST_LINE.match(before) and line[0] == before[0]
        parts += [("\n" if is_same_list else "\n\n") if parts else "", line]
        before = line
    return "".join(parts)
