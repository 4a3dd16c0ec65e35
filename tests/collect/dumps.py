"""Small MediaWiki dumps for the tests: built page by page, packed as the real ones are."""

from __future__ import annotations

import bz2
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

HEADER = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="{language}">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>testwiki</dbname>
    <base>{base}</base>
    <namespaces>
      <namespace key="-2" case="first-letter">Media</namespace>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Talk</namespace>
      <namespace key="6" case="first-letter">Fails</namespace>
      <namespace key="14" case="first-letter">Kategoreja</namespace>
    </namespaces>
  </siteinfo>
"""
FOOTER = "</mediawiki>\n"


@dataclass(frozen=True)
class TestPage:
    """A page to write into a dump."""

    __test__ = False

    title: str
    text: str
    namespace: int = 0
    redirect: str | None = None
    model: str = "wikitext"

    def to_xml(self, number: int) -> str:
        """The page as MediaWiki writes it; ids go up with `number`."""
        redirect = f"    <redirect title={quoteattr(self.redirect)} />\n" if self.redirect else ""
        return (
            f"  <page>\n    <title>{escape(self.title)}</title>\n    <ns>{self.namespace}</ns>\n    <id>{number}</id>\n{redirect}"
            f"    <revision>\n      <id>{1000 + number}</id>\n      <timestamp>2024-05-06T07:08:09Z</timestamp>\n"
            f"      <contributor>\n        <username>A &amp; B</username>\n        <id>77</id>\n      </contributor>\n"
            f"      <model>{self.model}</model>\n      <format>text/x-wiki</format>\n"
            f'      <text bytes="{len(self.text.encode())}" xml:space="preserve">{escape(self.text)}</text>\n'
            f"      <sha1>x</sha1>\n    </revision>\n  </page>\n"
        )


def make_articles(count: int) -> list[TestPage]:
    """Articles with a bit of every kind of markup; no two alike."""
    return [
        TestPage(
            f"Dog {number}",
            f"{{{{Infobox dog|name=Dog {number}}}}}\n'''Dog {number}''' is a [[dog|young dog]] of {number * number} days & "
            f"more.<ref>A book, page {number}.</ref>\n\n== Life ==\nIt ate {number} bones.\n\n{{| class=x\n| a || b\n|}}\n"
            f"== Empty ==\n{{{{reflist}}}}\n[[Kategoreja:Dogs]]",
        )
        for number in range(count)
    ]


def make_dump(
    pages: Sequence[TestPage], base: str = "https://ltg.wikipedia.org/wiki/Suoku_puslopa", language: str = "ltg"
) -> bytes:
    """A dump that is not packed."""
    body = "".join(page.to_xml(number) for number, page in enumerate(pages, 1))
    return (HEADER.format(base=base, language=language) + body + FOOTER).encode()


def pack_multistream(dump: bytes, num_pages: int) -> bytes:
    """Packed as Wikimedia's multistream dumps: the header, every so many pages, and the end have a bzip2 stream of their own."""
    end = b"</page>\n"
    header, mark, rest = dump.partition(b"  <page>")
    pages = [page + end for page in (mark + rest).split(end)]
    pages[-1] = pages[-1].removesuffix(end)
    groups = [b"".join(pages[start : start + num_pages]) for start in range(0, len(pages) - 1, num_pages)]
    return b"".join(bz2.compress(part) for part in (header, *groups, pages[-1]))


def pack_in_pieces(dump: bytes, num_bytes: int) -> bytes:
    """Packed as parallel packers do: streams that begin anywhere, inside pages and tags too."""
    return b"".join(bz2.compress(dump[start : start + num_bytes]) for start in range(0, len(dump), num_bytes))
