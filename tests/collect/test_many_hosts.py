"""Several hosts at once: never two requests at once to one, and the same file as one after the other."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import whelp
from waiting import wait_until
from whelp.cli.collect import iter_collect, make_manners
from whelp.collect import Urls
from whelp.collect.addresses import host_of

from .sites import MANNERS, Answers, Reply, Request, Site, html_reply, note_turns, serve_pages, serving
from .test_urls import article, sitemap


class Busy:
    """Counts how many requests a server, and all of them together, answer at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[str, int] = {}
        self.most_of_one = self.most_of_all = 0

    def watch(self, answers: Answers, seconds: float) -> Answers:
        """The same answers, after a while."""

        def answer(request: Request) -> Reply:
            host = request.headers["host"]
            with self._lock:
                self._now[host] = self._now.get(host, 0) + 1
                self.most_of_one = max(self.most_of_one, self._now[host])
                self.most_of_all = max(self.most_of_all, sum(self._now.values()))
            time.sleep(seconds)
            with self._lock:
                self._now[host] -= 1
            return answers(request)

        return answer


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], Site]]:
    """Start sites that end with the test."""
    with ExitStack() as stack:
        yield lambda answers: stack.enter_context(serving(answers))


def collect(out: Path, **asked: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Collect; the result, and the documents without the time of day."""
    result = whelp.collect_urls(out=out, **{**MANNERS, **asked})
    return result, [{**json.loads(line), "fetched": None} for line in out.read_text(encoding="utf-8").splitlines()]


def test_hosts_are_asked_at_once_and_none_twice_at_once(serve: Callable[[Answers], Site], tmp_path: Path) -> None:
    """Redirects from one to another, robots.txt and sitemaps included. The file is that of one host after the other."""
    busy, sites = Busy(), list[Site]()
    for name in "abc":
        pages: dict[str, Reply | str] = {f"/{number}": article(f"{name} {number}") for number in range(4)}
        pages |= {
            f"/to-{number}": Reply(status=302, headers={"Location": f"{site.url}/{number}"})
            for number, site in enumerate(sites)
        }
        pages["/same"] = article("the same everywhere")
        site = serve(busy.watch(serve_pages(pages), 0.02))
        pages["/sitemap.xml"] = sitemap(*(f"{site.url}/{number}" for number in range(1, 4)))
        sites.append(site)
    asked: dict[str, Any] = {
        "urls": [f"{site.url}/{page}" for site in sites for page in ("0", "to-0", "to-1", "same", "missing")],
        "sitemaps": [f"{site.url}/sitemap.xml" for site in sites],
    }
    result, documents = collect(tmp_path / "x.jsonl", **asked)
    assert busy.most_of_one == 1, "two requests at once to one host"
    assert busy.most_of_all > 1, "no two hosts were asked at once"
    busy.most_of_all = 0
    alone, expected = collect(tmp_path / "y.jsonl", **asked, max_hosts_at_once=1)
    assert busy.most_of_all == 1
    assert documents == expected
    assert (result.num_documents, result.skipped, result.failed) == (alone.num_documents, alone.skipped, alone.failed)
    assert result.num_requests == alone.num_requests == sum(len(site.requests) for site in sites) // 2


def test_the_rate_of_each_host_is_kept(
    serve: Callable[[Answers], Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own delay, as robots.txt of one asks for, while the other goes on: the slow one's last answer waits for that."""
    slow = serve(
        serve_pages(
            {"/robots.txt": Reply(body=b"User-agent: *\nCrawl-delay: 0.3\n"), **{f"/{n}": article(f"s{n}") for n in range(3)}}
        )
    )
    fast = serve(serve_pages({f"/{number}": article(f"f{number}") for number in range(6)}))
    urls = [f"{slow.url}/{number}" for number in range(3)] + [f"{fast.url}/{number}" for number in range(6)]
    slow.faults.append(lambda request: wait_until(lambda: fast.asked("/5")) if request.path == "/2" else None)
    turns = note_turns(monkeypatch)
    _, documents = collect(tmp_path / "x.jsonl", urls=urls, jitter=0.0, timeout_seconds=1000.0)
    assert [document["url"] for document in documents] == urls
    _, *times = turns[host_of(slow.url)]  # robots.txt, then pages
    assert len(times) == 3
    assert min(after - before for before, after in itertools.pairwise(times)) >= 0.3 - 1e-9


def test_an_end_does_not_wait_for_hosts(serve: Callable[[Answers], Site], tmp_path: Path) -> None:
    """Interrupted while a host keeps silent: it ends at once, and asks for nothing more."""
    silent = serve(lambda request: html_reply(article("late"), stall=100.0))
    quick = serve(serve_pages({"/a": article("a")}))
    collector = Urls(urls=[f"{silent.url}/a", f"{silent.url}/b", f"{quick.url}/a"])
    events = iter_collect(collector, tmp_path / "x.jsonl", make_manners(MANNERS))
    assert next(events).fate == "kept"  # type: ignore[union-attr]
    started = time.monotonic()
    events.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 50
    assert len(silent.requests) <= 1
    silent.faults.append(lambda request: html_reply(article(request.path)))
    _, documents = collect(tmp_path / "x.jsonl", urls=[f"{silent.url}/a", f"{silent.url}/b", f"{quick.url}/a"])
    assert [document["title"] for document in documents] == ["/a", "/b", "a"]
    assert len(quick.asked("/a")) == 1


def test_sitemaps_that_robots_txt_names(serve: Callable[[Answers], Site], tmp_path: Path) -> None:
    """Of a site all that its robots.txt names; without any, /sitemap.xml; maps of other hosts are counted."""
    pages: dict[str, Reply | str] = {f"/{name}": article(name) for name in ("wolf", "fox", "dog", "cat")}
    site = serve(serve_pages(pages))
    pages["/robots.txt"] = Reply(
        body=f"Sitemap: {site.url}/one.xml\nUser-agent: *\nDisallow: /cat\nsitemap: /two.xml\nSitemap: http://localhost:9/x.xml\n".encode()
    )
    pages["/one.xml"] = sitemap(f"{site.url}/wolf", f"{site.url}/cat")
    pages["/two.xml"] = sitemap(f"{site.url}/fox")
    other_pages: dict[str, Reply | str] = {"/bear": article("bear")}
    other = serve(serve_pages(other_pages))
    other_pages["/sitemap.xml"] = sitemap(f"{other.url}/bear")
    result, documents = collect(tmp_path / "x.jsonl", sites=[f"{site.url}/anything", other.url])
    assert [document["title"] for document in documents] == ["wolf", "fox", "bear"]
    assert result.skipped == {"robots.txt does not allow it": 1, "list: leads to a host that was not asked for": 1}
    num_requests = len(site.requests)
    assert collect(tmp_path / "x.jsonl", sites=[f"{site.url}/anything", other.url])[1] == documents
    again = [request.path for request in site.requests[num_requests:]]
    assert again == ["/robots.txt"], "whether /cat is still closed; all else was known"
