"""Killed at any moment, the same command ends in the same documents, none twice, and asks again for hardly anything.

The moments are drawn among the requests that the server sees, so that they fall into the work however slow the machine is.
WHELP_KILLS=20 tries more of them.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

import whelp
from waiting import SECONDS, wait_until
from whelp.base.errors import ArtifactError, DiskError
from whelp.collect import Document, Journal

from .sites import MANNERS, Answers, Reply, Request, Site, html_reply, serving
from .test_britannica import article as encyclopaedia_page
from .test_britannica import results
from .test_urls import article, sitemap, sitemap_index
from .tube_site import KEY, make_tube
from .wiki_site import make_wiki

NUM_KILLS = int(os.environ.get("WHELP_KILLS", "2"))
MOST_TRIES = 10  # to be in time

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="SIGKILL and fork are of POSIX: run the tests on Linux or macOS"
)


def run(call: str, asked: dict[str, Any]) -> None:
    """In a child: collect."""
    os.environ["YOUTUBE_API_KEY"] = KEY
    getattr(whelp, call)(**MANNERS, **asked)


def answer_pages(request: Request) -> Reply:
    """A site of pages, maps and an encyclopaedia."""
    base = f"http://{request.headers['host']}"
    name = request.path.strip("/")
    if request.path == "/sitemap.xml":
        return sitemap_index(*(f"{base}/map-{number}.xml" for number in range(3)))
    if name.startswith("map-"):
        return sitemap(*(f"{base}/page-{int(name[4]) * 4 + number}" for number in range(4)))
    if name.startswith("page-"):
        return html_reply(article(name))
    if request.path == "/search":
        page = int(request.query["page"])
        return html_reply(results([f"whale-{page * 4 + number}" for number in range(4)] if page < 4 else []))
    if name.startswith("animal/"):
        return html_reply(encyclopaedia_page(name.rpartition("/")[2]))
    return Reply(status=404)


def answer_other_pages(request: Request) -> Reply:
    """Another site of pages; two of them are copies of pages of the first."""
    if request.path == "/sitemap.xml":
        return sitemap(*(f"http://{request.headers['host']}/page-{number}" for number in range(8)))
    name = request.path.strip("/")
    return html_reply(article(name if name in ("page-2", "page-5") else f"other {name}"))


CASES: dict[str, tuple[str, Answers, dict[str, Any], int]] = {
    "wikipedia": ("collect_wikipedia", make_wiki(20).answer, {"search": ["odd"], "categories": ["Even numbers"]}, 20),
    "youtube": ("collect_youtube", make_tube(8).answer, {"channels": ["@dogtalks"], "playlists": ["PLfirst"]}, 8),
    "urls": ("collect_urls", answer_pages, {}, 12),
    "several hosts": ("collect_urls", answer_pages, {}, 18),
    "britannica": ("collect_britannica", answer_pages, {"search": ["whale"], "permission": "a letter"}, 12),
}


class Victims:
    """Starts collections in children and kills them when the server has seen so many requests."""

    def __init__(self, context: Any, site: Site) -> None:
        self._context, self._site = context, site

    def start(self, call: str, asked: dict[str, Any]) -> BaseProcess:
        """Start a collection."""
        process: BaseProcess = self._context.Process(target=run, args=(call, asked))
        process.start()
        return process

    def finish(self, call: str, asked: dict[str, Any]) -> int:
        """Collect to the end; give the number of requests."""
        before = len(self._site.requests)
        process = self.start(call, asked)
        process.join(SECONDS)
        assert process.exitcode == 0
        return len(self._site.requests) - before

    def kill_at(self, num_requests: int, delay: float, call: str, asked: dict[str, Any]) -> bool:
        """Collect until the server has seen so many requests and a moment has passed; tell whether the kill came in time."""
        last = len(self._site.requests) + num_requests
        process = self.start(call, asked)
        wait_until(lambda: not process.is_alive() or len(self._site.requests) >= last, every_seconds=0.0005)
        process.join(delay)
        process.kill()
        process.join(SECONDS)
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0


def read(out: Path) -> list[dict[str, Any]]:
    """The documents of a file, without the time of day."""
    lines = out.read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), "fetched": None} for line in lines]


@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_moment(case: str, fork_server: Any, tmp_path: Path) -> None:
    """Killed, and killed again as it goes on: the file is that of a run that never stopped."""
    call, answers, asked, num_documents = CASES[case]
    with serving(answers) as site, serving(answer_other_pages) as other:
        where = {
            "wikipedia": {"base_url": site.url},
            "youtube": {"api_url": site.url, "site_url": site.url},
            "urls": {"sitemaps": [f"{site.url}/sitemap.xml"]},
            "several hosts": {"sitemaps": [f"{site.url}/sitemap.xml", f"{other.url}/sitemap.xml"]},
            "britannica": {"base_url": site.url},
        }[case]
        asked = {**asked, **where}
        victims = Victims(fork_server, site)
        num_requests = victims.finish(call, {**asked, "out": tmp_path / "whole.jsonl"})
        expected = read(tmp_path / "whole.jsonl")
        assert len(expected) == num_documents
        moments, num_killed, number = random.Random(case), 0, 0
        while number < NUM_KILLS or not num_killed:  # who looks on may be too late, on a busy machine
            assert number < NUM_KILLS + MOST_TRIES, "no kill came before the end"
            out = tmp_path / f"{number}.jsonl"
            start = len(site.requests)
            for _ in range(2):
                moment, delay = moments.randint(0, num_requests), moments.random() * 0.004
                num_killed += victims.kill_at(moment, delay, call, {**asked, "out": out})
            victims.finish(call, {**asked, "out": out})
            assert read(out) == expected
            assert not list(tmp_path.glob(".*"))
            again = Counter((request.path, tuple(request.query.items()), request.body) for request in site.requests[start:])
            repeated = sum(count - 1 for (path, _, _), count in again.items() if path not in ("/robots.txt", "/watch"))
            assert repeated <= 2 * 3, "a kill costs the item that was being read, no more"
            number += 1


def test_two_collections_do_not_write_one_file(fork_server: Any, tmp_path: Path) -> None:
    """The second one ends at once and says why; the first goes on."""
    gate = threading.Event()
    wiki = make_wiki(5)

    def answer(request: Request) -> Reply:
        gate.wait(SECONDS)
        return wiki.answer(request)

    with serving(answer) as site:
        asked = {"search": ["odd"], "base_url": site.url, "out": tmp_path / "x.jsonl"}
        process = Victims(fork_server, site).start("collect_wikipedia", asked)
        wait_until(lambda: site.requests or not process.is_alive())
        assert process.is_alive()
        with pytest.raises(ArtifactError, match="another process is writing into it"):
            whelp.collect_wikipedia(**MANNERS, **asked)
        gate.set()
        process.join(SECONDS)
        assert process.exitcode == 0
    assert len(read(tmp_path / "x.jsonl")) == 2


@pytest.mark.parametrize(
    "data", [b"no database at all, but more than one page of it" * 100, b"SQLite format 3\x00" + bytes(5000)]
)
def test_a_damaged_journal(tmp_path: Path, data: bytes) -> None:
    """Said, with what to do; nothing is asked for and nothing is overwritten."""
    journal = tmp_path / "x.jsonl.journal"
    journal.write_bytes(data)
    with serving(make_wiki(3).answer) as site:
        with pytest.raises(ArtifactError, match=r"x\.jsonl\.journal: .*Delete it to begin anew, or choose another --out"):
            whelp.collect_wikipedia(**MANNERS, search=["odd"], base_url=site.url, out=tmp_path / "x.jsonl")
        assert site.requests == []
    assert journal.read_bytes() == data


def record_many(journal: Journal, text: str) -> None:
    """Record documents until there is no more space."""
    for number in range(100):
        journal.record(str(number), number, "kept", document=Document(text=text, source="urls"), document_key=str(number))


def test_the_disk_is_full(tmp_path: Path) -> None:
    """Said with the place; once there is space, the same command goes on."""
    journal = Journal(tmp_path / "x.jsonl.journal", {"source": "wikipedia"})
    journal._base.execute("PRAGMA max_page_count = 12")
    text = random.Random(0).randbytes(100_000).hex()  # cannot be packed well
    with pytest.raises(DiskError, match=r"x\.jsonl\.journal: the disk is full.*run the same command again"):
        record_many(journal, text)
    journal._base.execute("PRAGMA max_page_count = 100000")
    before = journal.count()[0]
    journal.record("next", 100, "kept", document=Document(text=text, source="urls"), document_key="next")
    assert journal.count()[0] == before + 1
    journal.close()
