"""Articles of the Encyclopaedia Britannica, by search words or by address.

All that is known of the site's pages is in this file: when they change, it is the only one to mend. Its marks are one sign of an
article among several (`article_signs.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode, urljoin, urlsplit

from whelp.base.errors import ConfigError
from whelp.base.log import log
from whelp.collect.addresses import host_of, normalise_url
from whelp.collect.answers import Answer, NotFetched, refuse
from whelp.collect.article_signs import find_article, is_aside
from whelp.collect.document import Document
from whelp.collect.gather import Asking, Found, Item, NotFound, list_problem, read_validators
from whelp.collect.page_text import decode

if TYPE_CHECKING:
    from lxml.html import HtmlElement

SITE = "https://www.britannica.com"
TERMS = "https://corporate.britannica.com/termsofuse.html"
_ARTICLE = re.compile(
    r"/(?:animal|art|biography|dictionary|event|money|place|plant|procon|science|sports|story|summary|technology|topic)/[^/]"
)
_RESULTS = "//a[contains(concat(' ', @class, ' '), ' md-crosslink ') or contains(@class, 'font-weight-bold font-18')]/@href"
_MARK = "contains(concat(' ', @class, ' '), ' topic-paragraph ')"
_PARAGRAPHS = f"//p[{_MARK}] | //div[contains(@class, 'topic-content')][not(//p[{_MARK}])]//p"
_HERE = "whelp/collect/britannica.py"  # what to mend, for messages
_EDITORIAL = re.compile(r"Our editors will review what you.ve submitted|^The Editors of Encyclop", re.IGNORECASE)
_MAX_PARTS = 60  # pages of one article


@dataclass(frozen=True, kw_only=True)
class Britannica:
    """Finds and reads articles.

    Args:
        search: Search words, each a search of its own.
        articles: Addresses of articles.
        max_pages: Most pages of results of each search.
        permission: What permits the collection; becomes the licence of each document.
        base_url: Another server that answers in the same way.

    Raises:
        ConfigError: When nothing is asked for, or nothing permits it.
    """

    source: ClassVar[str] = "britannica"
    is_of_many_hosts: ClassVar[bool] = False

    permission: str
    search: Sequence[str] = ()
    articles: Sequence[str] = ()
    max_pages: int = 10
    base_url: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if not self.permission.strip():
            problems.append(
                f"permission is missing: the site's texts are under copyright, and its terms ({TERMS}) bind who collects them"
            )
        if not (self.search or self.articles):
            problems.append("nothing is asked for: give search words or articles")
        if self.max_pages < 1:
            problems.append(f"max_pages is {self.max_pages}, but at least 1 is expected")
        if problems:
            raise ConfigError("whelp collect britannica", problems, "`whelp collect britannica --help` shows an example.")

    @property
    def site(self) -> str:
        """Where the site is, without a slash at its end."""
        return (self.base_url or SITE).rstrip("/")

    @property
    def hosts(self) -> list[str]:
        """The site's."""
        return [host_of(self.site)]

    @property
    def asked(self) -> dict[str, Any]:
        """What decides which articles are found, and what permits it."""
        return asdict(self) | {"base_url": self.site}

    @property
    def notes(self) -> list[str]:
        """Whose texts they are."""
        return [
            f"robots.txt of {host_of(self.site)} is obeyed: what it closes is skipped, and counted.",
            f"The texts are under copyright, and the site's terms bind you: {TERMS}",
            f"You say that this permits the collection: {self.permission}",
        ]

    def iter_items(self, asking: Asking) -> Iterator[Item | NotFound]:
        """Articles that are named, then those that searches find, in the order of their results."""
        for text in self.articles:
            url = urljoin(f"{self.site}/", text)
            if host_of(url) == host_of(self.site):
                yield self._item(url)
            else:
                yield NotFound(url, text, "no address of this site")
        for words in self.search:
            yield from self._search(words, asking)

    def read(self, item: Item, asking: Asking) -> Found:
        """Read an article, all of its pages."""
        answer = asking.page(item, item.key, look=_check_page)
        page = _parse(answer)
        article = find_article(page, answer, marks=_PARAGRAPHS, marks_in=_HERE)
        paragraphs = _without_notes(article.paragraphs)
        following = _next_part(page, answer.url)
        seen = {answer.url}
        while following is not None and following not in seen:
            if len(seen) >= _MAX_PARTS:
                raise refuse(f"an article of more than {_MAX_PARTS} pages")
            seen.add(following)
            part_answer = asking.client.fetch(following, look=_check_page)
            part = _parse(part_answer)
            paragraphs += _without_notes(find_article(part, part_answer, marks=_PARAGRAPHS, marks_in=_HERE).paragraphs)
            following = _next_part(part, following)
        if not paragraphs:
            raise NotFetched("nothing but notes of the editors on the page", is_final=True)
        document = Document(
            text="\n\n".join(paragraphs),
            source="britannica",
            title=article.title,
            url=answer.url,
            id=urlsplit(answer.url).path.strip("/"),
            language="en",
            licence=f"by permission: {self.permission}",
            author="Encyclopaedia Britannica",
            time=_first(page, "//meta[@property='article:modified_time' or @name='last-modified']/@content") or None,
        )
        return Found(document=document, key=document.id or item.key, validators=read_validators(answer))

    def _search(self, words: str, asking: Asking) -> Iterator[Item | NotFound]:
        """Read pages of results until one brings nothing new."""
        seen: set[str] = set()
        for number in range(1, self.max_pages + 1):
            url = f"{self.site}/search?{urlencode({'query': words, 'page': number}, errors='replace')}"
            try:
                page = _parse(asking.list(url, look=_check_page))
            except NotFetched as problem:
                yield list_problem(url, words, problem)
                return
            new = [link for link in _find_results(page, words, url) if link not in seen]
            if not new:
                break
            for link in dict.fromkeys(new):
                seen.add(link)
                target = urljoin(url, link)
                if host_of(target) == host_of(self.site):
                    yield self._item(target)
        if not seen:
            reason = f"list: no link to an article on the page of results (none fits, or the site has changed: see {_HERE})"
            yield NotFound(f"list search {words}", words, reason)

    def _item(self, url: str) -> Item:
        address = normalise_url(url)
        return Item(key=address, name=urlsplit(address).path.strip("/"))


def _find_results(page: HtmlElement, words: str, url: str) -> list[str]:
    """Links with the site's marks; where there are none, links to articles outside of menus that have one of the words."""
    marked = [link for link in page.xpath(_RESULTS) if _ARTICLE.match(urlsplit(link).path)]
    if marked:
        return marked
    wanted = words.lower().split()
    found = [
        link.get("href")
        for link in page.xpath("//a[@href]")
        if _ARTICLE.match(urlsplit(link.get("href")).path)
        and not is_aside(link)
        and any(word in f"{link.text_content()} {link.get('href')}".lower() for word in wanted)
    ]
    if found:
        log.warning("%s: no marks of results, so links that have one of the words are taken; the marks are in %s", url, _HERE)
    return found


def _check_page(answer: Answer) -> None:
    if answer.status == 200 and answer.kind not in ("text/html", "application/xhtml+xml"):
        raise NotFetched(f"no page but {answer.kind or 'something unnamed'}", is_final=True)


def _parse(answer: Answer) -> HtmlElement:
    from lxml import etree, html

    try:
        parser = html.HTMLParser(huge_tree=False, no_network=True, encoding="utf-8")
        return html.document_fromstring(decode(answer).encode("utf-8", "replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        raise NotFetched("the page cannot be parsed", is_final=False) from None


def _without_notes(paragraphs: list[str]) -> list[str]:
    """Without what the editors say of themselves."""
    return [text for text in paragraphs if not _EDITORIAL.search(text)]


def _next_part(page: HtmlElement, url: str) -> str | None:
    """The address of the article's next page."""
    links: list[Any] = page.xpath("//link[@rel='next']/@href | //a[@rel='next']/@href")
    target = urljoin(url, links[0]) if links else ""
    return target if host_of(target) == host_of(url) and target != url else None


def _first(page: HtmlElement, path: str) -> str:
    found: list[Any] = page.xpath(path)
    return " ".join(str(found[0]).split()) if found else ""
