"""Pages from lists and sitemaps: the article, once, and a reason for each that gives none."""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import whelp
from waiting import wait_until
from whelp.base.errors import ConfigError, SourceError
from whelp.collect import page_text
from whelp.collect.addresses import host_of
from whelp.collect.answers import Answer, NotFetched
from whelp.collect.page_text import PageText, read_page_within

from .sites import MANNERS, Answers, Reply, Request, Site, html_reply, note_turns, serve_pages, serving

SENTENCE = "It is a long sentence about dogs, number {}, written so that it looks like the prose of an article and not a menu."


def article(name: str, more: str = "") -> str:
    """A page as pages are: head, menu, article, footer."""
    paragraphs = "".join(f"<p>{name}. {SENTENCE.format(number)}</p>" for number in range(4))
    return (
        f'<!doctype html><html lang="en-GB"><head><title>{name} | Site</title><meta name="author" content="Ann Author">'
        '<meta property="article:published_time" content="2025-03-04T05:06:07Z">'
        '<link rel="license" href="https://creativecommons.org/licenses/by/4.0/"></head><body>'
        '<nav><ul><li><a href="/">Home page</a></li><li><a href="/news">News of today</a></li></ul></nav>'
        f"<article><h1>{name}</h1>{paragraphs}{more}</article>"
        "<footer><p>Cookie settings. All rights of the footer.</p></footer></body></html>"
    )


def sitemap(*urls: str) -> Reply:
    """A map of pages."""
    body = "".join(f"<url><loc>{url}</loc><lastmod>2025-01-01</lastmod></url>" for url in urls)
    text = f'<?xml version="1.0" encoding="UTF-8"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{body}</urlset>'
    return Reply(body=text.encode(), headers={"Content-Type": "application/xml"})


def sitemap_index(*urls: str) -> Reply:
    """A map of maps."""
    body = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    text = f'<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{body}</sitemapindex>'
    return Reply(body=text.encode(), headers={"Content-Type": "application/xml"})


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], Site]]:
    """Start sites that end with the test."""
    with ExitStack() as stack:
        yield lambda answers: stack.enter_context(serving(answers))


@pytest.fixture
def pages() -> dict[str, Reply | str]:
    """The pages of the site."""
    return {f"/{name}": article(name) for name in ("wolf", "fox", "dog")}


@pytest.fixture
def site(serve: Callable[[Answers], Site], pages: dict[str, Reply | str]) -> Site:
    """A site of these pages."""
    return serve(serve_pages(pages))


def collect(out: Path, **asked: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Collect; give the result and the documents of the file."""
    result = whelp.collect_urls(out=out, **{**MANNERS, **asked})
    return result, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_the_article_without_the_rest(site: Site, tmp_path: Path) -> None:
    """Text of the article alone, and what the page says about itself."""
    _, [document] = collect(tmp_path / "x.jsonl", urls=[f"{site.url}/wolf"])
    assert document["text"].split("\n\n")[-4:] == [f"wolf. {SENTENCE.format(number)}" for number in range(4)]
    assert "footer" not in document["text"]
    assert "News" not in document["text"]
    assert document["url"] == f"{site.url}/wolf"
    assert (document["title"], document["author"], document["time"]) == ("wolf", "Ann Author", "2025-03-04")
    assert (document["language"], document["licence"]) == ("en-GB", "https://creativecommons.org/licenses/by/4.0/")


def test_each_page_once(site: Site, tmp_path: Path) -> None:
    """Spelled in several ways, redirected to, or copied: one document."""
    site.always(Reply(status=301, headers={"Location": "/wolf"}), "/old-wolf")
    site.always(html_reply(article("fox")), "/copy-of-fox")
    addresses = ["/wolf", "/wolf#names", "/wolf?utm_source=mail", "/fox", "/old-wolf", "/copy-of-fox"]
    result, documents = collect(tmp_path / "x.jsonl", urls=[site.url + address for address in addresses])
    assert [document["title"] for document in documents] == ["wolf", "fox"]
    assert result.skipped == {"the same document as under another address": 2}
    assert len(site.asked("/wolf")) == 2, "once for itself, once for the redirect"


def test_pages_that_give_no_document(site: Site, pages: dict[str, Reply | str], tmp_path: Path) -> None:
    """Each is counted under its reason; none ends the collection."""
    pages |= {
        "/robots.txt": Reply(body=b"User-agent: *\nDisallow: /closed\n"),
        "/closed": article("closed"),
        "/pdf": Reply(body=b"%PDF-1.7", headers={"Content-Type": "application/pdf"}),
        "/empty": html_reply(""),
        "/menu": html_reply("<html><body><script>var x = 1</script></body></html>"),
        "/binary": html_reply("\x00\x01\x02" * 100),
        "/huge": html_reply(article("huge", "<p>x</p>" * 50_000)),
        "/away": Reply(status=302, headers={"Location": "http://localhost:9/"}),
        "/round": Reply(status=302, headers={"Location": "/round"}),
        "/broken": Reply(status=500),
    }
    names = ["closed", "pdf", "empty", "menu", "binary", "huge", "away", "round", "broken", "missing", "wolf"]
    urls = [*(f"{site.url}/{name}" for name in names), "ftp://example.org/x", "no address"]
    result, documents = collect(tmp_path / "x.jsonl", urls=urls, max_page_bytes=100_000, max_retries=1)
    assert [document["title"] for document in documents] == ["wolf"]
    assert result.failed == {"status 500": 1}
    assert result.skipped == {
        "no address of the web": 2,
        "no text": 2,
        "robots.txt does not allow it": 1,
        "no page but application/pdf": 1,
        "no page but binary data": 1,
        "larger than 100,000 bytes": 1,
        "leads to a host that was not asked for": 1,
        "too many redirects": 1,
        "status 404": 1,
    }
    assert site.asked("/closed") == []


def test_a_page_of_nothing_but_tags(site: Site, pages: dict[str, Reply | str], tmp_path: Path) -> None:
    """Small enough to fetch, but hours to read: refused before it is parsed."""
    pages["/tags"] = html_reply("<html><body><article>" + "<p>a b</p>" * 200_000)
    started = time.process_time()
    result, _ = collect(tmp_path / "x.jsonl", urls=[f"{site.url}/tags", f"{site.url}/wolf"])
    assert result.skipped == {"more than 100,000 tags": 1}
    assert time.process_time() - started < 50


def test_other_manners_decide_anew(site: Site, pages: dict[str, Reply | str], tmp_path: Path) -> None:
    """What was refused for its size is had by the same command with a higher limit; the rest is not asked for again."""
    pages["/huge"] = article("huge", "<p>More to say, in a sentence that is long enough to be one.</p>" * 2000)
    urls = [f"{site.url}/{name}" for name in ("wolf", "huge")]
    result, _ = collect(tmp_path / "x.jsonl", urls=urls, max_page_bytes=10_000)
    assert result.skipped == {"larger than 10,000 bytes": 1}
    result, documents = collect(tmp_path / "x.jsonl", urls=urls)
    assert [document["title"] for document in documents] == ["wolf", "huge"]
    assert (result.skipped, len(site.asked("/wolf"))) == ({}, 1)


CHARSETS = {
    "UTF-8, called Latin-1": ("utf-8", "text/html; charset=iso-8859-1", ""),
    "Latin-2, named by the server": ("iso-8859-2", "text/html; charset=ISO-8859-2", ""),
    "Latin-2, named by the page": ("iso-8859-2", "text/html", '<meta charset="iso-8859-2">'),
    "Latin-2, called UTF-8 by the server": ("iso-8859-2", "text/html; charset=utf-8", '<meta charset="iso-8859-2">'),
    "UTF-16 with a mark": ("utf-16", "text/html; charset=utf-8", ""),
    "an encoding that nobody knows": ("utf-8", "text/html; charset=klingon", ""),
}


@pytest.mark.parametrize("name", CHARSETS)
def test_wrong_charsets(site: Site, pages: dict[str, Reply | str], tmp_path: Path, name: str) -> None:
    """The characters are found, whatever the server says of them."""
    encoding, kind, meta = CHARSETS[name]
    words = "Žluťoučký kůň a čeština"
    html = article(words).replace("<head>", f"<head>{meta}")
    pages["/czech"] = Reply(body=html.encode(encoding), headers={"Content-Type": kind})
    _, [document] = collect(tmp_path / "x.jsonl", urls=[f"{site.url}/czech"])
    assert document["title"] == words
    assert document["text"].count(words) >= 4


def test_sitemaps_of_sitemaps(site: Site, pages: dict[str, Reply | str], tmp_path: Path) -> None:
    """Entered once each, packed or plain; pages of other hosts stay where they are; images are no pages."""
    base = site.url
    packed = gzip.compress(sitemap(f"{base}/fox", f"{base}/wolf", "https://example.org/elsewhere").body)
    image = '<image:image xmlns:image="x"><image:loc>/i.png</image:loc></image:image>'
    pages |= {
        "/sitemap.xml": sitemap_index(f"{base}/one.xml", f"{base}/two.xml.gz", f"{base}/sitemap.xml", f"{base}/list.txt"),
        "/one.xml": Reply(body=sitemap(f"{base}/wolf").body.replace(b"<lastmod>", image.encode() + b"<lastmod>")),
        "/two.xml.gz": Reply(body=packed, headers={"Content-Type": "application/gzip"}),
        "/list.txt": Reply(body=f"{base}/dog\n{base}/cat\n".encode(), headers={"Content-Type": "text/plain"}),
    }
    result, documents = collect(tmp_path / "x.jsonl", sitemaps=[f"{base}/sitemap.xml"])
    assert [document["title"] for document in documents] == ["wolf", "fox", "dog"]
    assert result.skipped == {"on a host that was not asked for": 1, "status 404": 1}
    assert len(site.asked("/sitemap.xml")) == 1
    _, documents = collect(tmp_path / "y.jsonl", sitemaps=[f"{base}/sitemap.xml"], match="/(dog|fox)$")
    assert [document["title"] for document in documents] == ["fox", "dog"]


ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "dogs"}">' for n in range(10))
BOMB = f"<!DOCTYPE x [{ENTITIES}]><urlset><url><loc>&e9;</loc></url></urlset>"
OUTSIDE = '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><urlset><url><loc>http://127.0.0.1/&f;</loc></url></urlset>'


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        (BOMB.encode(), {"list: a sitemap with entities of its own"}),
        (BOMB.encode("utf-16"), {"list: no sitemap: neither XML nor addresses"}),
        (OUTSIDE.encode(), {"list: a sitemap with entities of its own"}),
        (b"a gzip bomb", {"list: larger than 50,000,000 bytes"}),
        (gzip.compress(b"<urlset/>" * 1000, mtime=0)[:-9], {"list: a damaged gzip file"}),
        (b"<urlset><url>", {"list: no sitemap: not XML"}),
        (b"<html><body>Sorry</body></html>", {"list: no sitemap: its root is html"}),
    ],
)
def test_hostile_sitemaps(site: Site, pages: dict[str, Reply | str], tmp_path: Path, body: bytes, reasons: set[str]) -> None:
    """Refused with a reason; pages that are named beside it are collected all the same."""
    pages["/sitemap.xml"] = Reply(body=gzip.compress(bytes(60_000_000), 1) if body == b"a gzip bomb" else body)
    result, documents = collect(tmp_path / "x.jsonl", urls=[f"{site.url}/wolf"], sitemaps=[f"{site.url}/sitemap.xml"])
    assert len(documents) == 1
    assert {**result.skipped, **result.failed}.keys() == reasons


def test_refreshing_asks_whether_something_has_changed(serve: Callable[[Answers], Site], tmp_path: Path) -> None:
    """Conditional requests: pages that are as they were are not sent again, and keep their lines to the byte."""
    versions = {"/wolf": 1, "/fox": 1}
    sent: list[str] = []

    def answer(request: Request) -> Reply:
        if request.path not in versions:
            return Reply(status=404)
        tag = f'"{versions[request.path]}"'
        if request.headers.get("if-none-match") == tag:
            return Reply(status=304, headers={"ETag": tag})
        sent.append(request.path)
        return html_reply(article(f"{request.path} {tag[1]}"), headers={"ETag": tag})

    site = serve(answer)
    urls = [f"{site.url}{path}" for path in versions]
    _, before = collect(tmp_path / "x.jsonl", urls=urls)
    versions["/fox"] = 2
    sent.clear()
    _, after = collect(tmp_path / "x.jsonl", urls=urls, refresh=True)
    assert sent == ["/fox"]
    assert after[0] == before[0]
    assert [document["title"] for document in after] == ["/wolf 1", "/fox 2"]


def test_a_host_that_refuses_does_not_stop_the_others(serve: Callable[[Answers], Site], site: Site, tmp_path: Path) -> None:
    """Its pages are counted as failed, without a request each; the same command tries them again."""
    other = serve(lambda request: Reply(status=429, headers={"Retry-After": "86400"}))
    urls = [f"{other.url}/{number}" for number in range(5)] + [f"{site.url}/wolf"]
    result, documents = collect(tmp_path / "x.jsonl", urls=urls)
    assert [document["title"] for document in documents] == ["wolf"]
    assert result.failed == {"it asks to wait 86,400 seconds (status 429), longer than max_wait_seconds": 5}
    assert len(other.requests) == 1


def test_hosts_take_turns(serve: Callable[[Answers], Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one host must be left in peace, another is asked; the file is in the order of the list all the same."""
    sites = [serve(serve_pages({f"/{number}": article(f"{name} {number}") for number in range(4)})) for name in "abc"]
    urls = [f"{site.url}/{number}" for site in sites for number in range(4)]
    turns = note_turns(monkeypatch)
    result, documents = collect(tmp_path / "x.jsonl", urls=urls, delay_seconds=0.3, jitter=0.0)
    assert [document["url"] for document in documents] == urls
    assert result.seconds_waited < 2.4, "one after the other would wait 3.6 seconds"
    for times in turns.values():
        assert min(after - before for before, after in itertools.pairwise(times)) >= 0.3 - 1e-9
    order = [host for _, host in sorted((moment, host) for host, times in turns.items() for moment in times)]
    assert sorted(order) != order != sorted(order, key=[host_of(site.url) for site in sites].index), "no turns were taken"


def test_which_copy_is_kept(serve: Callable[[Answers], Site], tmp_path: Path) -> None:
    """The same text on two hosts: the address that was named first, though the other host answers first."""
    first, second = (
        serve(serve_pages({"/a": article("other"), "/b": article("same")})),
        serve(serve_pages({"/c": article("same")})),
    )
    urls = [f"{first.url}/a", f"{first.url}/b", f"{second.url}/c"]
    first.faults.append(lambda request: wait_until(lambda: second.asked("/c")) if request.path == "/b" else None)
    result, documents = collect(tmp_path / "x.jsonl", urls=urls, delay_seconds=0.2, jitter=0.0, timeout_seconds=1000.0)
    assert [document["url"] for document in documents] == urls[:2]
    assert result.skipped == {"the same document as under another address": 1}


def test_a_sitemap_that_is_refused(serve: Callable[[Answers], Site], site: Site, tmp_path: Path) -> None:
    """Its host is left alone; pages of others are collected, and what is missing is counted."""
    other = serve(lambda request: Reply(status=429, headers={"Retry-After": "86400"}))
    result, documents = collect(tmp_path / "x.jsonl", urls=[f"{site.url}/wolf"], sitemaps=[f"{other.url}/sitemap.xml"])
    assert len(documents) == 1
    assert list(result.failed) == ["list: it asks to wait 86,400 seconds (status 429), longer than max_wait_seconds"]


def test_when_all_refuse_it_ends(serve: Callable[[Answers], Site], tmp_path: Path) -> None:
    """With what they said; nothing is written in place of documents."""
    site = serve(lambda request: Reply(status=503, headers={"Retry-After": "86400"}))
    with pytest.raises(SourceError, match="it asks to wait 86,400 seconds"):
        collect(tmp_path / "x.jsonl", urls=[f"{site.url}/a", f"{site.url}/b"])
    assert not (tmp_path / "x.jsonl").exists()


def test_who_looks_on_is_told(serve: Callable[[Answers], Site], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A call says what its command says: whom it asks, the site's terms, long waits, what came of it."""
    turns = iter([Reply(status=503, headers={"Retry-After": "6"})])
    page = serve_pages({"/wolf": article("wolf")})
    site = serve(lambda request: next(turns, None) or page(request) if request.path == "/wolf" else page(request))
    slept: list[float] = []
    whelp.show_progress(True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("whelp.cli.screens.show_collect.time.sleep", slept.append)
            collect(tmp_path / "x.jsonl", urls=[f"{site.url}/wolf"], max_wait_seconds=10.0)
    finally:
        whelp.show_progress(None)
    said = capsys.readouterr().err
    for words in ("asks       127.0.0.1", "note       robots.txt", "waiting    6 s", "fetched", "journal"):
        assert words in said, said
    assert max(slept) >= 5


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "nothing is asked for"),
        ({"urls": ["example.org"]}, "none of what is given is an address of the web"),
        ({"sitemaps": ["sitemap.xml"]}, "'sitemap.xml' is no address of the web"),
        ({"urls": ["https://example.org/"], "match": "("}, "match '(' is no regular expression"),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    """Said before anything is asked for."""
    with pytest.raises(ConfigError) as caught:
        collect(tmp_path / "x.jsonl", **asked)
    assert message in str(caught.value)


def hang(answer: Answer) -> PageText:
    time.sleep(600)
    return PageText(text=answer.url)


def test_a_page_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is skipped, for a later run to decide anew; why others are travels, too."""
    answer = Answer(url="https://example.org", status=200, headers={"content-type": "text/html"}, body=b"<p></p>")
    with pytest.raises(NotFetched, match="no text") as caught:
        read_page_within(answer, 60)
    assert (caught.value.is_final, caught.value.fate) == (True, "skipped")
    monkeypatch.setattr(page_text, "read_page", hang)
    with pytest.raises(NotFetched, match=r"the page takes more than 0\.2 seconds") as caught:
        read_page_within(answer, 0.2)
    assert (caught.value.is_final, caught.value.fate) == (False, "skipped")
