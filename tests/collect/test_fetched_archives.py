"""Web archives behind addresses, fetched and deleted once nobody reads them; and the packages that archives need."""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import whelp
from archives import make_text, pack
from waiting import SECONDS, wait_until
from whelp.base.errors import MissingExtraError, SourceError
from whelp.cli import collect_web_archive
from whelp.cli.collect_web_archive import iter_collect_web_archive
from whelp.collect.web_archive import WebArchiveConfig
from whelp.corpus.borrowed import Borrowed, NotWantedError

from .sites import Reply, Site, serving
from .test_web_archive import CRAWL, collect, write


@pytest.fixture
def archives_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, dict[str, bytes]]]:
    """A server of files, and a cache folder of the test's own."""
    monkeypatch.setenv("WHELP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("whelp.corpus.remote._BUSY_WAITS", (0.001, 0.001))
    files = {f"/crawl-data/{number}.warc.wet.gz": pack([make_text(f"text {number}")]) for number in range(4)}
    files["/crawl-data/wet.paths.gz"] = gzip.compress(b"".join(b"crawl-data/%d.warc.wet.gz\n" % number for number in range(4)))
    with serving(lambda request: Reply(body=files[request.path]) if request.path in files else Reply(status=404)) as site:
        yield site, files


def find_cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != "about.json")


def test_a_list_of_addresses(archives_online: tuple[Site, dict[str, bytes]], tmp_path: Path) -> None:
    """Only archives that are asked for are fetched, one after the other, and deleted once they are read; a busy server is asked again."""
    site, _ = archives_online
    busy = iter([Reply(status=503), Reply(status=503)])
    site.faults.append(lambda request: next(busy, None) if request.path.endswith("2.warc.wet.gz") else None)
    asked = {"base_url": site.url, "chosen": "1:3"}
    result, documents = collect(tmp_path / "out.jsonl", f"{site.url}/crawl-data/wet.paths.gz", **asked)
    assert ([document["text"] for document in documents], result.num_archives) == (["text 1", "text 2"], 2)
    assert find_cached(tmp_path) == ["wet.paths.gz"]
    assert not any(request.path.endswith(("0.warc.wet.gz", "3.warc.wet.gz")) for request in site.requests)
    collect(tmp_path / "b.jsonl", f"{site.url}/crawl-data/1.warc.wet.gz", keep_fetched=True)
    assert find_cached(tmp_path) == ["1.warc.wet.gz", "wet.paths.gz"]
    collect(tmp_path / "c.jsonl", f"{site.url}/crawl-data/1.warc.wet.gz")
    assert find_cached(tmp_path) == ["1.warc.wet.gz", "wet.paths.gz"]  # it was there before


def find_all_cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


@pytest.mark.skipif(sys.platform == "win32", reason="no locks that are shared")
def test_runs_that_share_a_fetched_archive(archives_online: tuple[Site, dict[str, bytes]], tmp_path: Path) -> None:
    """The last that reads it deletes it, also when it is stopped; who keeps it, keeps it from all."""
    names = [f"{archives_online[0].url}/crawl-data/{number}.warc.wet.gz" for number in (1, 2)]
    config = WebArchiveConfig()
    first, second = (iter_collect_web_archive(names[:1], tmp_path / out, config, workers=1) for out in ("a.jsonl", "b.jsonl"))
    stopped = iter_collect_web_archive(names, tmp_path / "c.jsonl", config, workers=1)
    holder = iter_collect_web_archive(names[:1], tmp_path / "d.jsonl", config, workers=1)
    shared = Borrowed(partial(collect_web_archive._fetch_one, names[0]))
    copy = shared.fetch()
    for events in (first, second):
        assert list(events)
        assert copy.exists()
    next(stopped)
    stopped.close()
    assert find_all_cached(tmp_path) == [".borrowed", "1.warc.wet.gz", "about.json"]
    shared.let_go()
    assert find_all_cached(tmp_path) == []
    shared = Borrowed(partial(collect_web_archive._fetch_one, names[0]))
    shared.fetch()
    collect(tmp_path / "e.jsonl", names[0], keep_fetched=True)
    shared.let_go()
    assert list(holder)
    assert find_all_cached(tmp_path) == ["1.warc.wet.gz", "about.json"]


KILLED = """
import os, sys
from pathlib import Path
from whelp.cli import collect_web_archive as module
from whelp.cli.collect_web_archive import WebArchiveConfig, iter_collect_web_archive

when, out, *names = sys.argv[1:]
module._Given.let_go = lambda self: os._exit(9)
if when == "at once":
    module.GrowingFile.add = lambda *given: os._exit(9)
else:
    add = module.GrowingFile.add
    module.GrowingFile.add = lambda self, *given: (add(self, *given), self._save(None))
list(iter_collect_web_archive(names, Path(out), WebArchiveConfig(), workers=1))
"""


@pytest.mark.parametrize("when", ["at once", "before it deletes"])
def test_a_killed_run_leaves_what_it_fetched(when: str, archives_online: tuple[Site, dict[str, bytes]], tmp_path: Path) -> None:
    """To the next run, which deletes it once that has ended."""
    names = [f"{archives_online[0].url}/crawl-data/{number}.warc.wet.gz" for number in (1, 2)]
    command = [sys.executable, "-c", KILLED, when, str(tmp_path / "out.jsonl"), *names]
    assert subprocess.run(command, check=False).returncode == 9
    assert "1.warc.wet.gz" in find_all_cached(tmp_path)
    _, documents = collect(tmp_path / "out.jsonl", *names)
    assert [document["text"] for document in documents] == ["text 1", "text 2"]
    assert find_all_cached(tmp_path) == []


def test_a_fetch_that_is_wanted_no_more(archives_online: tuple[Site, dict[str, bytes]], tmp_path: Path) -> None:
    """It is broken off, and leaves nothing."""
    site, _ = archives_online
    borrowed = Borrowed(partial(collect_web_archive._fetch_one, f"{site.url}/crawl-data/1.warc.wet.gz"))
    raised: list[BaseException] = []

    def fetch() -> None:
        try:
            borrowed.fetch()
        except BaseException as error:
            raised.append(error)

    is_asked = threading.Event()
    site.faults.append(lambda request: is_asked.set() or wait_until(lambda: borrowed._is_ended))
    thread = threading.Thread(target=fetch)
    thread.start()
    assert is_asked.wait(SECONDS)
    borrowed.let_go()
    thread.join()
    assert [type(error) for error in raised] == [NotWantedError]
    assert find_all_cached(tmp_path) == []


@pytest.mark.parametrize(
    "entry", ["file:///etc/hosts", "FILE:/etc/hosts", "zip://a::file:///b", "/etc/hosts", "../../about.json"]
)
def test_a_list_from_elsewhere_names_no_file_here(
    entry: str, archives_online: tuple[Site, dict[str, bytes]], tmp_path: Path
) -> None:
    """Whoever writes it could have the user's own files made part of a corpus."""
    site, files = archives_online
    files["/a.paths"] = entry.encode()
    with pytest.raises(SourceError, match=r"a\.paths: names |cannot be fetched \(404"):
        collect(tmp_path / "out.jsonl", f"{site.url}/a.paths", base_url=site.url)


def test_addresses_that_lead_to_no_archive(archives_online: tuple[Site, dict[str, bytes]], tmp_path: Path) -> None:
    """Among others, one is passed over and named; alone it is an error; one that cannot be had stops the work, and the same call goes on."""
    site, files = archives_online
    names = [f"{site.url}/crawl-data/{number}.warc.wet.gz" for number in range(4)]
    files["/crawl-data/1.warc.wet.gz"] = b"<html>Sorry</html>"
    last = files.pop("/crawl-data/3.warc.wet.gz")
    with pytest.raises(SourceError, match=r"crawl-data/3\.warc\.wet\.gz: cannot be fetched \(404"):
        whelp.collect_web_archive(names, out=tmp_path / "out.jsonl")
    assert find_all_cached(tmp_path) == []
    files["/crawl-data/3.warc.wet.gz"] = last
    result, documents = collect(tmp_path / "out.jsonl", *names)
    assert [document["text"] for document in documents] == ["text 0", "text 2", "text 3"]
    assert (result.num_archives, result.skipped_archives[0]["name"]) == (3, names[1])
    assert result.skipped_archives[0]["reason"].startswith("is no web archive")
    with pytest.raises(SourceError, match=r"1\.warc\.wet\.gz: is no web archive"):
        whelp.collect_web_archive(names[1], out=tmp_path / "b.jsonl")
    with pytest.raises(SourceError, match=r"9\.warc\.wat\.gz: is a WAT archive"):
        whelp.collect_web_archive(f"{site.url}/9.warc.wat.gz", out=tmp_path / "c.jsonl")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a package be one that is not installed."""
    find_spec = importlib.util.find_spec

    def hide(package: str) -> None:
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name == package else find_spec(name, *rest)
        )

    return hide


def test_the_package_that_finds_articles(
    tmp_path: Path, without: Callable[[str], None], archives_online: tuple[Site, dict[str, bytes]]
) -> None:
    """It is asked for before anything is read or fetched, with the command that installs it, and the way without."""
    without("trafilatura")
    site, _ = archives_online
    late = write(tmp_path, "late.warc", [make_text(str(number), number) for number in range(30)] + CRAWL)
    message = r"or give --extract page.*trafilatura is not installed.*pip install \"whelp\[collect\]\""
    for pages in (write(tmp_path, "a.warc", CRAWL), late, f"{site.url}/crawl-data/1.warc.gz"):
        with pytest.raises(MissingExtraError, match=message):
            whelp.collect_web_archive(pages, out=tmp_path / "a.jsonl")
    assert not site.requests
    assert whelp.collect_web_archive(late, out=tmp_path / "a.jsonl", extract="page").num_documents == 32
    for name in ("a.wet", "a.warc.wet.gz", "a.WET.zst"):
        texts = write(tmp_path, name, [make_text("one")])
        assert whelp.collect_web_archive(texts, out=tmp_path / f"{name}.jsonl").num_documents == 1
    late.rename(tmp_path / "late.wet")
    with pytest.raises(SourceError, match=r"whose name says that it holds texts.*trafilatura is not installed.*pip install"):
        whelp.collect_web_archive(tmp_path / "late.wet", out=tmp_path / "c.jsonl")


def test_the_package_that_unpacks_zstd(
    tmp_path: Path, without: Callable[[str], None], archives_online: tuple[Site, dict[str, bytes]]
) -> None:
    """It is asked for by the name of an archive, or what the file begins with."""
    without("zstandard")
    packed = write(tmp_path, "a.wet.zst", [make_text("one")])
    misnamed = tmp_path / "b.wet"
    misnamed.write_bytes(packed.read_bytes())
    for name in (packed, misnamed, f"{archives_online[0].url}/b.wet.zst"):
        with pytest.raises(
            MissingExtraError, match=r"\.wet.*the package zstandard is not installed. Run `pip install \"whelp\["
        ):
            whelp.collect_web_archive(name, out=tmp_path / "a.jsonl")
    assert not archives_online[0].requests
