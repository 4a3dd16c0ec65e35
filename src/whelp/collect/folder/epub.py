"""EPUB: the chapters of a book, in the order they are read."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from whelp.base.html_text import read_html
from whelp.collect.folder.archive import Archive, parse_xml
from whelp.collect.left_out import LeftOut

_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_SAID = ("title", "creator", "language", "rights")


@dataclass
class Book:
    """The text of a book, and what it says of itself: `title`, `creator`, `language`, `rights`."""

    text: str = ""
    said: dict[str, str] = field(default_factory=dict)


@dataclass
class _Package:
    """What the package file lists."""

    pages: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.data.clear()
        if name == "item" and attributes.get("media-type") in _PAGES and "nav" not in attributes.get("properties", ""):
            self.pages[attributes.get("id", "")] = attributes.get("href", "")
        elif name == "itemref" and attributes.get("linear") != "no":
            self.order.append(attributes.get("idref", ""))

    def end(self, name: str) -> None:
        text = " ".join("".join(self.data).split())
        if name in _SAID and text:
            self.said.setdefault(name, text)


def read_epub(data: bytes, max_unpacked_bytes: int, decode: Callable[[bytes], str]) -> Book:
    """Make text of a book. Its table of contents is left out.

    Raises:
        LeftOut: When it is damaged, encrypted, names what lies outside of it, or unpacks to too much.
    """
    with Archive(data, max_unpacked_bytes) as archive:
        root = _find_package(archive)
        package = _Package()
        parse_xml(archive.read(root), package.start, package.end, package.data.append)
        folder = posixpath.dirname(root)
        hrefs = [package.pages[idref] for idref in package.order if idref in package.pages]
        if not hrefs:
            raise LeftOut("no text", "it lists no chapters")
        chapters = []
        for href in hrefs:
            name = posixpath.join(folder, unquote(href.partition("#")[0]))
            chapters.append(read_html(decode(archive.read(name))).text)
    return Book("\n\n".join(chapter for chapter in chapters if chapter), package.said)


def _find_package(archive: Archive) -> str:
    found: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "rootfile":
            found.append(attributes.get("full-path", ""))

    parse_xml(archive.read("META-INF/container.xml"), start, lambda name: None, lambda data: None)
    if not found:
        raise LeftOut("damaged", "its META-INF/container.xml names no package")
    return found[0]
