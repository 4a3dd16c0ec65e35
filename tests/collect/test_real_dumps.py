"""Real excerpts of dumps: pages counted right, text without debris, the same sentences as others find in the same pages."""

from __future__ import annotations

import bz2
import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from whelp.collect.dump import DumpConfig, iter_dump
from whelp.collect.wikitext import Wikitext

SHARED = Path(__file__).parents[3] / "shared" / "data"
DUMPS = SHARED / "wikipedia" / "dump"
ENGLISH, LATGALIAN = DUMPS / "enwiki_206_pages.xml.bz2", DUMPS / "ltgwiki_small.xml.gz"

pytestmark = pytest.mark.skipif(not DUMPS.is_dir(), reason=f"no real dumps at {DUMPS}: these tests need them")

DEBRIS = {
    "braces": r"\{\{|\}\}|\{\||\|\}",
    "brackets": r"\[\[|\]\]|\[https?:",
    "a row of a table": r"^\s*[|!]|\|-|\|\|",
    "attributes": r"\b(?:style|class|rowspan|colspan|align|width|bgcolor|cellpadding)\s*=\s*[\"'\w#]",
    "a tag": r"</?(?:ref|br|div|span|small|sub|sup|table|tr|td|p|i|b|nowiki|math|gallery|center|blockquote)\b[^<>]*>",
    "an entity": r"&(?:[a-z]{2,8}|#\d+);",
    "a comment": r"<!--|-->",
    "quotes": r"''",
    "a file": r"\b(?:File|Image|Fails|Datei|Category|Kategoreja):\S|\b(?:thumb|\d+px)\|",
    "a switch": r"__[A-Z]+__",
    "empty brackets": r"\(\s*[,;]?\s*\)|\(\s*[,;]",
    "a held mark": "[\x00-\x08]",
    "a redirect": r"^#\w",
    "two blanks": r"  (?![-\d ])",
}


def read(path: Path, **options: Any) -> tuple[dict[str, str], Counter[str]]:
    """Texts by title, and pages by what became of them."""
    texts: dict[str, str] = {}
    pages = Counter[str]()
    for part in iter_dump(path, DumpConfig(**options)):
        texts.update((row["title"], row["text"]) for row in map(json.loads, part.lines.decode().splitlines()))
        pages.update(part.pages)
    return texts, pages


@pytest.fixture(scope="module")
def english() -> tuple[dict[str, str], Counter[str]]:
    return read(ENGLISH)


@pytest.fixture(scope="module")
def latgalian() -> tuple[dict[str, str], Counter[str]]:
    return read(LATGALIAN)


def test_every_page_is_counted(english: Any, latgalian: Any) -> None:
    """Against the tags of the files, counted with a pattern."""
    for (texts, pages), xml in (
        (english, bz2.decompress(ENGLISH.read_bytes()).decode()),
        (latgalian, gzip.decompress(LATGALIAN.read_bytes()).decode()),
    ):
        found = re.findall(r"<page>.*?<ns>(\d+)</ns>(.*?)</page>", xml, re.DOTALL)
        articles = [
            "<redirect " in rest or re.search(r">\s*#\w+\s*:?\s*\[\[", rest) is not None
            for number, rest in found
            if number == "0"
        ]
        assert sum(pages.values()) == len(found)
        assert pages["redirect"] == sum(articles)
        assert pages["kept"] + pages["no text left"] + pages["only tells names apart"] == len(articles) - sum(articles)
        assert pages["kept"] == len(texts)
        assert sum(count for reason, count in pages.items() if reason.startswith("namespace")) == len(found) - len(articles)
    assert (english[1]["kept"], english[1]["redirect"], english[1]["only tells names apart"]) == (98, 99, 8)


@pytest.mark.parametrize("wiki", ["english", "latgalian"])
def test_no_debris_in_sampled_paragraphs(wiki: str, request: pytest.FixtureRequest) -> None:
    """200 paragraphs of each, drawn with a seed; formulas are TeX, whose braces are right."""
    texts, _ = request.getfixturevalue(wiki)
    paragraphs = [(title, paragraph) for title, text in texts.items() for paragraph in text.split("\n\n")]
    found = {
        (title, name): paragraph
        for title, paragraph in random.Random(0).sample(paragraphs, 200)
        for name, pattern in DEBRIS.items()
        if re.search(pattern, re.sub(r"\$[^$]*\$", "$x$", paragraph), re.MULTILINE)
    }
    assert found == {}


def test_hardly_any_debris_anywhere(english: Any, latgalian: Any) -> None:
    """In all paragraphs: what is found are mistakes of the pages themselves."""
    paragraphs = [paragraph for texts, _ in (english, latgalian) for text in texts.values() for paragraph in text.split("\n\n")]
    assert len(paragraphs) > 12_000
    assert all(paragraph.strip() for paragraph in paragraphs)
    patterns = [
        DEBRIS[name] for name in ("braces", "brackets", "a row of a table", "attributes", "a tag", "an entity", "quotes")
    ]
    held = [re.sub(r"\$[^$]*\$", "$x$", paragraph) for paragraph in paragraphs]
    bad = [paragraph for paragraph in held if any(re.search(pattern, paragraph, re.MULTILINE) for pattern in patterns)]
    assert len(bad) <= 3, bad


def test_tables_as_rows_add_and_lose_nothing(english: Any) -> None:
    """All other paragraphs stay as they are; of the rows, one holds markup, by a mistake of its page."""
    texts, _ = read(ENGLISH, tables="rows")
    without = {paragraph for text in english[0].values() for paragraph in text.split("\n\n")}
    paragraphs = [paragraph for text in texts.values() for paragraph in text.split("\n\n")]
    assert without <= set(paragraphs)
    rows = [re.sub(r"\$[^$]*\$", "$x$", paragraph) for paragraph in paragraphs if paragraph not in without]
    assert sum(paragraph.count(" | ") for paragraph in rows) > 4_000
    kinds = [DEBRIS[name] for name in ("braces", "brackets", "attributes", "a tag", "an entity", "quotes", "a held mark")]
    bad = [paragraph for paragraph in rows if any(re.search(kind, paragraph, re.MULTILINE) for kind in kinds)]
    assert len(bad) <= 1, bad


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def test_same_paragraphs_as_another_reader(english: Any) -> None:
    """The same dump, read by another program: more than 85 in 100 of its paragraphs are ours word for word. It drops every
    template and joins list items; the others differ by that."""
    ours = {_words(paragraph) for text in english[0].values() for paragraph in text.split("\n\n")}
    lines = gzip.decompress((SHARED / "text" / "parts" / "enwiki_lines.txt.gz").read_bytes()).decode().split("\n")
    theirs = [_words(line) for line in lines if len(line) > 80]
    assert len(theirs) > 4_500
    assert sum(paragraph in ours for paragraph in theirs) / len(theirs) > 0.85


def test_same_sentences_as_in_a_newer_dump(english: Any) -> None:
    """Thirty articles, read years later by a third program: where the sentences were not edited, they are the same."""
    lines = (SHARED / "text" / "wikipedia_30_articles_one_per_line.txt").read_text(encoding="utf-8").split("\n")
    sentences = [
        _words(sentence)
        for title in ("Alabama", "Altruism", "Anthropology", "Alchemy")
        for line in lines
        if line.startswith((title, "Anthropology is")) and title in line[:40]
        for sentence in re.split(r"(?<=[.!?])\s+", line)
        if len(sentence) > 60
    ]
    ours = "\n".join(_words(english[0][title]) for title in ("Alabama", "Altruism", "Anthropology", "Alchemy"))
    assert len(sentences) > 700
    assert sum(sentence in ours for sentence in sentences) / len(sentences) > 0.45


def test_single_pages_of_other_wikis() -> None:
    """German, Afrikaans, Norwegian pages: their own words for files and categories."""
    for name in ("Bazooka", "Mozilla-Firefox", "africaans", "statoil", "HMS-Irresistible", "julia_kristeva", "toronto"):
        text = Wikitext().clean((SHARED / "wikipedia" / "wikitext" / f"{name}.wikitext").read_text(encoding="utf-8")).text
        for kind, pattern in DEBRIS.items():
            assert not re.search(pattern, text, re.MULTILINE), (name, kind, re.search(pattern, text, re.MULTILINE))
