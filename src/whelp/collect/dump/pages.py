"""Read the XML of pages, and what a dump says of its wiki."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from xml.parsers import expat

from whelp.base.errors import SourceError, say_first_line

_MAX_HEADER_BYTES = 4 << 20
_BUFFER_BYTES = 1 << 18
_REDIRECT = re.compile(r"\s*#\s*[^\W\d_]{3,}\s*:?\s*\[\[")  # old dumps say it in the text only
_DISAMBIGUATION = re.compile(  # its templates in some languages, and what they switch on
    r"\{\{\s*(?i:disambig\w*|dab|hndis|geodis|numberdis|letter-?number combination disambiguation|begriffsklärung|homonymie|"
    r"desambiguaci[oó]n|desambiguação|disambigua|dp|doorverwijspagina|ujednoznacznienie|неоднозначность|багатозначність|"
    r"förgrening|flertydig|täsmennyssivu|rozcestník|egyért|anlam ayrımı|aimai|曖昧さ回避|消歧[义義]|동음이의|nūzeimu skaidrošana)"
    r"\s*(?:[-|][^{}]*)?\}\}"
)
_DISAMBIGUATION_SWITCH = re.compile("__DISAMBIG__", re.IGNORECASE)
_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)")


@dataclass(frozen=True)
class Site:
    """What a dump says of its wiki.

    Attributes:
        base: The address of its main page.
        namespaces: Names by number; the articles' is empty.
    """

    name: str
    base: str
    language: str | None
    namespaces: dict[int, str]

    def address(self, title: str) -> str | None:
        """The address of a page.

        >>> Site("Wikipedia", "https://en.wikipedia.org/wiki/Main_Page", "en", {}).address("C. S. Lewis/Ö")
        'https://en.wikipedia.org/wiki/C._S._Lewis/%C3%96'
        """
        if not self.base:
            return None
        before, middle, _ = self.base.partition("/wiki/")
        root = before + middle if middle else self.base.rpartition("/")[0] + "/"
        return root + quote(title.replace(" ", "_"), safe="~:/!*(),;@$-._'")


@dataclass
class Page:
    """A page, in its newest revision of those in the dump."""

    title: str = ""
    namespace: int = 0
    id: str = ""
    revision: str = ""
    time: str = ""
    model: str = ""
    text: str = ""
    is_redirect: bool = False
    num_revisions: int = 0


@dataclass
class _Reader:
    """What the XML parser calls; `path` holds the names of the elements that are open."""

    pages: list[Page] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.path.append(name)
        self.data.clear()
        if name == "page":
            self.pages.append(Page())
        elif name == "redirect":
            self.pages[-1].is_redirect = True
        elif name == "revision":
            self.pages[-1].num_revisions += 1

    def end(self, name: str) -> None:
        self.path.pop()
        page, parent = self.pages[-1] if self.pages else Page(), self.path[-1] if self.path else ""
        if name == "text" and parent == "revision":
            page.text = "".join(self.data)
        elif name == "title":
            page.title = "".join(self.data)
        elif name == "ns":
            page.namespace = int("".join(self.data) or 0)
        elif name == "id" and parent == "page":
            page.id = "".join(self.data)
        elif name == "id" and parent == "revision":
            page.revision = "".join(self.data)
        elif name == "timestamp":
            page.time = "".join(self.data)
        elif name == "model":
            page.model = "".join(self.data)
        self.data.clear()


def tells_names_apart(page: Page) -> bool:
    """Whether a page is nothing but a list of what its name may mean."""
    if "isambiguation)" in page.title or _DISAMBIGUATION.search(page.text) is not None:
        return True
    return "__" in page.text and _DISAMBIGUATION_SWITCH.search(page.text) is not None


def iter_pages(piece: bytes) -> Iterator[Page | None]:
    """The pages of a piece; None for each that is not good XML."""
    try:
        yield from _read(piece)
        return
    except (expat.ExpatError, ValueError):
        pass
    for page in piece.split(b"</page>")[:-1]:  # one by one, to lose no more than the bad ones
        try:
            yield from _read(page + b"</page>")
        except (expat.ExpatError, ValueError):
            yield None


def _read(xml: bytes) -> list[Page]:
    reader = _Reader()
    _make_parser(reader).Parse(b"<mediawiki>" + xml + b"</mediawiki>", True)
    for page in reader.pages:
        page.is_redirect = page.is_redirect or _REDIRECT.match(page.text, 0, 200) is not None
    return reader.pages


def _make_parser(reader: _Reader) -> expat.XMLParserType:
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text, parser.buffer_size = True, _BUFFER_BYTES
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.data.append
    return parser


def read_site(blocks: Iterator[bytes], path: Path) -> Site:
    """Read what stands before the first page.

    Raises:
        SourceError: When it is no MediaWiki export, or declares entities of its own.
    """
    head = b""
    for block in blocks:
        head += block
        if b"</siteinfo>" in head or b"<page>" in head or len(head) > _MAX_HEADER_BYTES:
            break
    head = head.partition(b"<page>")[0]
    if _DECLARATION.search(head):
        raise SourceError(
            path,
            "declares a document type or entities of its own, which a MediaWiki export never does",
            "an export without them: entities in entities can fill any memory",
            "Do not trust where it is from.",
        )
    start = head.find(b"<mediawiki")
    if start < 0 or len(head) > _MAX_HEADER_BYTES:
        raise SourceError(
            path,
            "is no MediaWiki XML export (no <mediawiki> at its beginning)",
            "a file such as simplewiki-latest-pages-articles-multistream.xml.bz2",
            "SQL and abstract dumps hold no articles.",
        )
    return _read_header(head[start:], path)


def _read_header(head: bytes, path: Path) -> Site:
    values: dict[str, str] = {}
    namespaces: dict[int, str] = {}
    data: list[str] = []
    key = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal key
        data.clear()
        if name == "mediawiki":
            values["language"] = attributes.get("xml:lang", "")
        elif name == "namespace":
            key = int(attributes.get("key", "0"))

    def end(name: str) -> None:
        if name == "namespace":
            namespaces[key] = "".join(data)
        elif name in ("sitename", "base"):
            values[name] = "".join(data)

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, data.append
    try:
        parser.Parse(head, False)
    except (expat.ExpatError, ValueError) as error:
        raise SourceError(
            path, f"its beginning is not good XML ({say_first_line(error)})", "a MediaWiki XML export", "Get it again."
        ) from None
    return Site(values.get("sitename", ""), values.get("base", ""), values.get("language") or None, namespaces)
