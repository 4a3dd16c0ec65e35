"""The article of a page by whichever sign is there; menus never, and a failure says what each sign lacks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lxml import html

from whelp.collect.answers import Answer, NotFetched
from whelp.collect.article_signs import Article, find_article

MARKS = "//p[@class='topic']"
FIRST = "The whale is a large animal that lives in the sea and breathes air."
SECOND = "It sleeps & eats, and it sings songs that other whales hear from afar."
PROSE = [FIRST, SECOND]
MENU = (
    '<header><h2>Menu</h2><p>Log in.</p></header><nav><p><a href="/a">All about animals.</a></p><p>Quizzes and games.</p></nav>'
    '<div class="menu"><p><a href="/s">Science of today.</a> <a href="/h">History of today.</a></p></div>'
)
FOOTER = "<footer><p>We keep cookies, as everybody does.</p></footer>"
MARKED = "".join(f'<p class="topic">{text.replace("&", "&amp;")}</p>' for text in PROSE)
PLAIN = MARKED.replace(' class="topic"', "")


def described(**values: Any) -> str:
    """What a page tells programs."""
    article = {"@context": "https://schema.org", "@type": "Article", "headline": "Whales", **values}
    return f'<script type="application/ld+json">{json.dumps(article)}</script>'


def find(body: str, head: str = "") -> Article:
    """The article of a page that has menus above and a footer below."""
    text = f"<html><head><title>x</title>{head}</head><body>{MENU}{body}{FOOTER}</body></html>"
    answer = Answer(
        url="https://example.org/animal/whale", status=200, headers={"content-type": "text/html"}, body=text.encode()
    )
    return find_article(html.document_fromstring(text), answer, marks=MARKS, marks_in="a/site.py")


FORMS: dict[str, tuple[str, str, str]] = {  # head, body, the sign
    "marks": ("", f"<div><h1>Whale</h1>{MARKED}</div>", "marks"),
    "marks and a body for programs": (
        described(articleBody=" ".join(PROSE), headline="Whale"),
        f"<h1>Whale</h1>{MARKED}",
        "marks",
    ),
    "marks on something else": (
        described(articleBody="\n".join(PROSE), headline="Whale"),
        '<p class="topic">Read more about whales.</p>',
        "articleBody",
    ),
    "a body for programs": (described(articleBody="\n\n".join(PROSE), headline="Whale"), "<div id=app></div>", "articleBody"),
    "a body with tags": (
        described(articleBody="".join(f"<p>{text.replace('&', '&amp;')}</p>" for text in PROSE), headline="Whale"),
        "",
        "articleBody",
    ),
    "a body in a graph": (
        described(
            **{"@type": "WebPage", "@graph": [{"@type": ["NewsArticle"], "articleBody": "\n".join(PROSE), "headline": "Whale"}]}
        ),
        "",
        "articleBody",
    ),
    "an element that is called so": (
        "",
        f'<main><p>Read this first, it is short.</p></main><div itemprop="articleBody"><h1>Whale</h1>{PLAIN}</div>',
        "elements",
    ),
    "an article": ("", f"<article><h1>Whale</h1><nav><p>Skip all of this.</p></nav>{PLAIN}</article>", "elements"),
    "a main": ('<script type="application/ld+json">{broken</script>', f"<main><h1>Whale</h1>{PLAIN}</main>", "elements"),
    "teasers are articles, too": (
        "",
        f'<main><h1>Whale</h1><article><p><a href="/x">Ten facts about whales.</a></p></article>{PLAIN}</main>',
        "elements",
    ),
    "only text": ("", f"<div class=content><h1>Whale</h1>{PLAIN}{PLAIN.replace('whale', 'seal')}</div>", "trafilatura"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form: str) -> None:
    """The prose, its title, and nothing of the menus."""
    head, body, sign = FORMS[form]
    article = find(body, head)
    assert (article.sign, article.title) == (sign, "Whale")
    assert article.paragraphs[:2] == PROSE
    assert not [
        text for text in article.paragraphs if "of today" in text or "cookies" in text or "Log in" in text or "Skip" in text
    ]


def test_headings_stand_between_paragraphs() -> None:
    """Those of the article alone; one that nothing follows goes."""
    body = f"<article><h1>Whale</h1><h2>Top</h2><p>{FIRST}</p><aside><h2>Quiz</h2></aside><h2>Songs</h2><p>It sings.</p><h2>More</h2></article>"
    assert find(body).paragraphs == [FIRST, "Songs", "It sings."]


FAILURES = {
    "only menus": ("", "", "no marked paragraphs, no JSON-LD article, no <article> or <main>, no prose elsewhere"),
    "described, without a body": (
        described(),
        "<div></div>",
        "no marked paragraphs, no articleBody in its JSON-LD, no <article> or <main>, no prose elsewhere",
    ),
    "an article of links": (
        "",
        '<article><h1>Whales</h1><p><a href="/1">All about blue whales.</a></p><p><a href="/2">All about seals.</a></p></article>',
        "no marked paragraphs, no JSON-LD article, no prose in <article> or <main>, no prose elsewhere",
    ),
    "a main of single words": (
        described(articleBody="Menu Search Quizzes"),
        "<main><h1>Whales</h1><p>Search</p><p>Quizzes</p></main>",
        "no marked paragraphs, no articleBody in its JSON-LD, no prose in <article> or <main>, no prose elsewhere",
    ),
    "a list of results": (
        "",
        "<div><h1>Results</h1><ul>"
        + "".join(f'<li><a href="/{n}">The whale number {n}</a></li>' for n in range(40))
        + "</ul></div>",
        "no marked paragraphs, no JSON-LD article, no <article> or <main>, no prose elsewhere",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_page_without_an_article(case: str) -> None:
    """What each sign lacks is said."""
    head, body, lacks = FAILURES[case]
    with pytest.raises(NotFetched) as caught:
        find(body, head)
    assert caught.value.reason == f"no article on the page ({lacks}): has the site changed? Its marks are in a/site.py"
    assert caught.value.fate == "failed"


def test_a_page_that_shows_a_part_only() -> None:
    """What its site sells is not taken for the article."""
    with pytest.raises(NotFetched, match="not free to read"):
        find(f"<article><h1>Whale</h1>{PLAIN}</article>", described(isAccessibleForFree="False"))
