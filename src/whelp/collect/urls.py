"""Pages of the web, from a list of addresses or from sitemaps (https://www.sitemaps.org/protocol.html)."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from whelp.base.errors import ConfigError
from whelp.collect.addresses import host_of, normalise_url
from whelp.collect.answers import Answer, HostRefusesError, Look, NotFetched, refuse
from whelp.collect.document import Document
from whelp.collect.gather import Asking, Found, Item, NotFound, list_problem, read_validators
from whelp.collect.gunzip import TooLargeError, unpack_gzip
from whelp.collect.page_text import read_page_within
from whelp.collect.robots import Robots

_MAX_SITEMAPS = 1000
_MAX_SITEMAP_BYTES = 50_000_000  # after unpacking
_MAX_DEPTH = 4


@dataclass(frozen=True, kw_only=True)
class Urls:
    """Finds and reads pages.

    Args:
        urls: Addresses.
        sitemaps: Addresses of sitemaps, or of sitemaps of sitemaps.
        sites: Addresses of sites, whose robots.txt names their sitemaps; where it names none, /sitemap.xml is tried.
        match: Of sitemaps, only addresses in which this regular expression is found.

    Raises:
        ConfigError: When nothing is asked for, or no address is one.
    """

    source: ClassVar[str] = "urls"
    is_of_many_hosts: ClassVar[bool] = True
    notes: ClassVar[Sequence[str]] = (
        "robots.txt of each host is obeyed: what it closes is skipped, and counted. Whether you may use a text, its site says.",
    )

    urls: Sequence[str] = ()
    sitemaps: Sequence[str] = ()
    sites: Sequence[str] = ()
    match: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if not (self.urls or self.sitemaps or self.sites):
            problems.append("nothing is asked for: give urls, sitemaps or sites")
        if self.match is not None:
            try:
                re.compile(self.match)
            except re.error as error:
                problems.append(f"match {self.match!r} is no regular expression: {error}")
        problems += [f"{url!r} is no address of the web" for url in [*self.sitemaps, *self.sites] if _read_address(url) is None]
        if self.urls and not self.hosts and not problems:
            problems.append("none of what is given is an address of the web (https://...)")
        if problems:
            raise ConfigError("whelp collect urls", problems, "`whelp collect urls --help` shows examples.")

    @property
    def hosts(self) -> list[str]:
        """Those of the addresses, the sitemaps and the sites."""
        addresses = [_read_address(url) for url in [*self.urls, *self.sitemaps, *self.sites]]
        return list(dict.fromkeys(host_of(address) for address in addresses if address is not None))

    @property
    def asked(self) -> dict[str, Any]:
        """What decides which pages are found."""
        asked = asdict(self) | {"sitemaps": [normalise_url(url) for url in self.sitemaps]}
        del asked["sites"]
        return asked | ({"sites": [normalise_url(url) for url in self.sites]} if self.sites else {})

    def iter_items(self, asking: Asking) -> Iterator[Item | NotFound]:
        """The list first, then the sitemaps, then those of the sites, each in its order."""
        for url in self.urls:
            yield _item(url)
        pattern = re.compile(self.match) if self.match is not None else None
        for url, problem in self._walk(asking):
            if problem is not None:
                yield problem
            elif pattern is None or pattern.search(url):
                item = _item(url)
                if isinstance(item, Item) and not asking.client.may_ask(item.key):
                    item = NotFound(item.key, url, "on a host that was not asked for", is_final=False, is_refused=True)
                yield item

    def read(self, item: Item, asking: Asking) -> Found:
        """Read the article of one page."""
        answer = asking.page(item, item.key)
        page = read_page_within(answer, asking.client.config.max_page_seconds)
        document = Document(
            text=page.text,
            source="urls",
            title=page.title,
            url=answer.url,
            language=page.language,
            licence=page.licence,
            author=page.author or host_of(answer.url),
            time=page.date,
        )
        digest = hashlib.sha256(page.text.encode("utf-8", "surrogatepass")).hexdigest()
        return Found(document=document, key=digest, validators=read_validators(answer))

    def _walk(self, asking: Asking) -> Iterator[tuple[str, NotFound | None]]:
        """Addresses in sitemaps; maps of maps are entered, each once."""
        waiting = [(normalise_url(url), 0) for url in self.sitemaps]
        for site in map(normalise_url, self.sites):
            found, problem = self._find_sitemaps(site, asking)
            waiting += [(url, 0) for url in found]
            if problem is not None:
                yield site, problem
        waiting = list(dict.fromkeys(waiting))
        seen = {url for url, _ in waiting}
        for url, depth in waiting:  # grows meanwhile
            answer, problem = _ask_list(url, asking, look=_read_sitemap)
            if answer is None:
                yield url, problem
                continue
            names, is_index = _read_sitemap(answer)
            if not is_index:
                yield from ((name, None) for name in names)
                continue
            for name in names:
                if name in seen:
                    continue
                seen.add(name)
                if depth + 1 > _MAX_DEPTH or len(seen) > _MAX_SITEMAPS:
                    yield name, NotFound(f"list {name}", name, "list: sitemaps too deep or too many")
                else:
                    waiting.append((name, depth + 1))

    def _find_sitemaps(self, site: str, asking: Asking) -> tuple[list[str], NotFound | None]:
        """The sitemaps of a site, as its robots.txt names them."""
        parts = urlsplit(site)
        root = f"{parts.scheme}://{parts.netloc}"
        answer, problem = _ask_list(f"{root}/robots.txt", asking, obey_robots=False)
        if problem is not None and not problem.reason.startswith("list: status 4"):
            return [], problem
        text = answer.body.decode("utf-8", errors="replace") if answer is not None else ""
        named = [urljoin(f"{root}/", url) for url in Robots(text, "whelp").sitemaps]
        return named or [f"{root}/sitemap.xml"], None


def _ask_list(
    url: str, asking: Asking, *, look: Look | None = None, obey_robots: bool = True
) -> tuple[Answer | None, NotFound | None]:
    """Ask for a list, or say why it cannot be had: other hosts are asked all the same."""
    try:
        return asking.list(url, look=look, obey_robots=obey_robots), None
    except NotFetched as problem:
        return None, list_problem(url, url, problem)
    except HostRefusesError as error:
        if asking.client.is_given_up():
            raise
        return None, list_problem(url, url, NotFetched(error.found, is_final=False))


def _read_sitemap(answer: Answer) -> tuple[list[str], bool]:
    """Its addresses, and whether they are those of further sitemaps."""
    body = answer.body
    if body.startswith(b"\x1f\x8b"):
        try:
            body = unpack_gzip(body, _MAX_SITEMAP_BYTES)
        except TooLargeError:
            raise refuse(f"larger than {_MAX_SITEMAP_BYTES:,} bytes") from None
        except (EOFError, zlib.error):
            raise NotFetched("a damaged gzip file", is_final=False) from None
    if not body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        words = body.decode("utf-8-sig", errors="replace").split()
        if not words or not words[0].startswith(("http://", "https://")):
            raise NotFetched("no sitemap: neither XML nor addresses", is_final=False)
        return words, False
    return _parse_sitemap(body)


def _parse_sitemap(body: bytes) -> tuple[list[str], bool]:
    from lxml import etree

    if b"<!ENTITY" in body:
        raise refuse("a sitemap with entities of its own")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=False)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError:
        raise NotFetched("no sitemap: not XML", is_final=False) from None
    kind = etree.QName(root).localname
    if kind not in ("urlset", "sitemapindex"):
        raise NotFetched(f"no sitemap: its root is {kind[:40]}", is_final=False)
    names = [
        (place.text or "").strip() for place in root.iter("{*}loc") if etree.QName(place.getparent()).localname in _PARENTS
    ]
    return [name for name in names if name], kind == "sitemapindex"


_PARENTS = ("url", "sitemap")  # not image:image, video:video


def _read_address(url: str) -> str | None:
    """Its one spelling; None where it is no address of the web."""
    try:
        return normalise_url(url)
    except ValueError:
        return None


def _item(url: str) -> Item | NotFound:
    address = _read_address(url)
    if address is None:
        return NotFound(f"url {url}", url, "no address of the web")
    return Item(key=address, name=address, host=host_of(address))
