"""URLs: a server of our own on this machine, and stores that fsspec keeps in memory."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import json
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from whelp.base.errors import MissingExtraError, SourceError
from whelp.corpus import SourceConfig, count_skipped, open_source
from whelp.corpus.remote import show_url

from .test_source import make, read_rows, write


class Site:
    """Pages by path."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.has_tags = True
        self.is_short = False
        self.server = HTTPServer(("127.0.0.1", 0), self.make_handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def make_handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = site.pages.get(self.path.partition("?")[0])
                if page is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(page)))
                if site.has_tags:
                    self.send_header("ETag", f'"{hash(page)}"')
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked has what was wanted
                    self.wfile.write(page[: len(page) // 2] if site.is_short else page)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """A server, and a cache folder of the test's own."""
    monkeypatch.setenv("WHELP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


ROWS = "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(50)).encode()


def find_cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_a_page(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is read as the file that its name says; labels and errors keep the address, without what it asks."""
    caplog.set_level(logging.INFO, "whelp")
    site.pages = {"/a/rows.jsonl.gz": gzip.compress(ROWS), "/b%20c.txt": b"one\n\ntwo\n", "/bad.jsonl": b"{"}
    source = make(f"{site.url}/a/rows.jsonl.gz?key=secret")
    label = f"{site.url}/a/rows.jsonl.gz"
    assert read_rows(source) == [(label, f"row {number}", number + 1) for number in range(50)]
    assert "secret" not in json.dumps(source.describe()["files"])
    assert "secret" not in "".join(path.read_text(errors="replace") for path in (tmp_path / "cache").rglob("*.json"))
    assert caplog.messages == [f"{label}: fetching ({len(site.pages['/a/rows.jsonl.gz']):,} bytes)"]
    assert [row[1:] for row in read_rows(make(f"{site.url}/b%20c.txt"))] == [("one", 1), ("two", 3)]
    with pytest.raises(SourceError, match=rf"{site.url}/bad\.jsonl, line 1: broken JSON"):
        make(f"{site.url}/bad.jsonl")


@pytest.mark.parametrize("has_tags", [True, False])
def test_a_page_is_fetched_once(site: Site, has_tags: bool) -> None:
    """It is fetched again when the other side has another version, and only then. Without a tag, the size tells."""
    site.pages, site.has_tags = {"/a.txt": b"first"}, has_tags
    first = make(f"{site.url}/a.txt")
    stamp = first.files[0].mtime_ns
    assert make(f"{site.url}/a.txt").files[0].mtime_ns == stamp
    before = first.describe()
    site.pages = {"/a.txt": b"other" if has_tags else b"longer"}
    again = make(f"{site.url}/a.txt")
    assert read_rows(again)[0][1] == site.pages["/a.txt"].decode()
    assert again.changed_since(before) != []


def test_a_page_that_is_gone(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was fetched before is read, with a warning; what was not is an error."""
    site.pages = {"/a.txt": b"text"}
    before = make(f"{site.url}/a.txt").describe()
    site.pages = {}
    assert make(f"{site.url}/a.txt").changed_since(before) == []
    assert "cannot be reached (404 Not Found); what was fetched before is read" in caplog.text
    with pytest.raises(SourceError, match=r"/b\.txt: cannot be fetched \(404 Not Found\), .*Check the address"):
        make(f"{site.url}/b.txt")


def test_a_page_that_comes_in_part(site: Site, tmp_path: Path) -> None:
    """Half a file is never kept."""
    site.pages, site.is_short = {"/a.txt": b"text " * 1000}, True
    with pytest.raises(SourceError, match=r"a\.txt: (only 2,500 of 5,000 bytes came|cannot be fetched)"):
        make(f"{site.url}/a.txt")
    assert find_cached(tmp_path) == []
    site.is_short = False
    assert len(read_rows(make(f"{site.url}/a.txt"))[0][1]) == 5000


def test_a_list_of_places(site: Site, tmp_path: Path) -> None:
    """URLs and files mix, and a kind of file may lie behind a URL."""
    site.pages = {"/rows": ROWS, "/a.txt": b"remote"}
    write(tmp_path, {"b.txt": "local"})
    rows = read_rows(make([f"{site.url}/a.txt", tmp_path / "b.txt"]))
    assert [row[:2] for row in rows] == [(f"{site.url}/a.txt", "remote"), ("b.txt", "local")]
    config = SourceConfig(source="json", source_dataset_params={"data_files": f"{site.url}/rows"})
    assert len(read_rows(open_source(config))) == 50


def test_a_store(site: Site, tmp_path: Path) -> None:
    """Files, folders and globs of a store; only what has changed is fetched again."""
    fsspec = pytest.importorskip("fsspec", reason="needs the extra remote: pip install 'whelp[remote]'")
    system = fsspec.filesystem("memory")
    system.store.clear()
    for name, content in {"/d/b.jsonl": ROWS, "/d/a.txt": b"text", "/d/.hidden": b"h", "/d/e/c.md": b"deep"}.items():
        system.pipe(name, content)
    source = make("memory://d")
    assert [file.label for file in source.files] == ["memory:///d/a.txt", "memory:///d/b.jsonl", "memory:///d/e/c.md"]
    assert count_skipped(source.skipped) == {"hidden": 1}
    assert len(read_rows(source)) == 52
    assert [row[1] for row in read_rows(make("memory://d/*.txt"))] == ["text"]
    assert [row[1] for row in read_rows(make("memory://d", include_suffixes=[".md"]))] == ["deep"]
    stamps = {file.path: file.mtime_ns for file in source.files}
    system.pipe("/d/a.txt", b"other")
    again = make("memory://d")
    assert [file.label for file in again.files if stamps[file.path] != file.mtime_ns] == ["memory:///d/a.txt"]
    assert again.changed_since(source.describe()) != []
    with pytest.raises(SourceError, match=r"memory://nothing: (nothing is there|cannot be fetched)"):
        make("memory://nothing")
    with pytest.raises(
        SourceError, match=r"nosuch://a/b: no kind of store is called nosuch, but expected .*s3://, gs://.*Check the sp"
    ):
        make("nosuch://a/b")
    write(tmp_path, {"local.txt": "here"})
    assert [row[1] for row in read_rows(make(f"file://{tmp_path}/local.txt"))] == ["here"]
    system.store.clear()


def test_without_the_package(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages need nothing; stores name the extra."""
    site.pages = {"/a.txt": b"text"}
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert read_rows(make(f"{site.url}/a.txt"))[0][1] == "text"
    for url, command in (
        ("s3://bucket/a", 'pip install "whelp[remote]" s3fs'),
        ("gs://bucket/a", 'pip install "whelp[remote]" gcsfs'),
        ("memory://a", 'pip install "whelp[remote]"'),
        ("hf://datasets/org/name/a.jsonl", 'pip install "whelp[hub]"'),
    ):
        with pytest.raises(MissingExtraError) as caught:
            make(url)
        assert str(caught.value) == f"{url}: the package fsspec is not installed. Run `{command}`."


@pytest.mark.parametrize(
    ("url", "module", "package", "command"),
    [
        ("s3://bucket/a.csv", "s3fs", "s3fs", "pip install s3fs"),
        ("gs://bucket/a.csv", "gcsfs", "gcsfs", "pip install gcsfs"),
        ("abfs://bucket/a.csv", "adlfs", "adlfs", "pip install adlfs"),
        ("sftp://host/a.csv", "paramiko", "paramiko", "pip install paramiko"),
        ("smb://host/a.csv", "smbclient", "smbprotocol", "pip install smbprotocol"),
        ("dropbox://a.csv", "dropboxdrivefs", "dropboxdrivefs", "pip install dropboxdrivefs"),
        ("hf://datasets/org/name/a.csv", "huggingface_hub", "huggingface_hub", 'pip install "whelp[hub]"'),
    ],
)
def test_without_the_package_of_a_store(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, package: str, command: str
) -> None:
    """The command that helps, whether fsspec knows the store or its package brings it along."""
    pytest.importorskip("fsspec", reason="needs the extra remote: pip install 'whelp[remote]'")
    monkeypatch.setitem(sys.modules, module, None)
    registry = importlib.import_module("fsspec.registry")
    protocol = url.partition(":")[0]
    monkeypatch.delitem(registry._registry, protocol, raising=False)
    for is_known in (True, False) if protocol == "hf" else (True,):
        if not is_known:
            monkeypatch.delitem(registry.known_implementations, protocol, raising=False)
        with pytest.raises(MissingExtraError) as caught:
            make(url)
        assert str(caught.value) == f"{url}: the package {package} is not installed. Run `{command}`."


def test_a_store_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be fetched from a store may want credentials, and is told where they go."""
    fsspec = pytest.importorskip("fsspec", reason="needs the extra remote: pip install 'whelp[remote]'")

    def refuse(self: object, path: str) -> bool:
        raise PermissionError("Unable to locate credentials")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "isfile", refuse)
    with pytest.raises(SourceError, match=r"fetched \(Unable to locate credentials\).*the credentials.*storage_options"):
        make("memory://a")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a.txt?X-Signature=abc#part", "https://host/a.txt"),
        ("ftp://me:secret@host/a.txt", "ftp://host/a.txt"),
        ("s3://bucket/what?.txt", "s3://bucket/what?.txt"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    """No password and no signature."""
    assert show_url(url) == shown
