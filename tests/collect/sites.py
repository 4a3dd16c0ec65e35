"""Local servers that behave as real sites do, faults included."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from whelp.collect.addresses import host_of
from whelp.collect.client import Client

MANNERS: dict[str, Any] = {  # quick ones, for tests
    "contact": "tests@example.org",
    "delay_seconds": 0.0,
    "back_off_seconds": 0.001,
    "max_wait_seconds": 2.0,
    "timeout_seconds": 60.0,
    "allow_private": ["127.0.0.1"],
}
FLAGS = [
    *("--contact", "tests@example.org", "--delay-seconds", "0", "--back-off-seconds", "0.001"),
    *("--max-wait-seconds", "2", "--timeout-seconds", "60", "--allow-private", "127.0.0.1"),
]


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    time: float


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a server answers.

    Attributes:
        cut: Promise the whole body, send so many bytes, hang up.
        stall: Seconds of silence before the body.
        drip: Seconds between the bytes of the body.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: float = 0.0
    drip: float = 0.0


Answers = Callable[[Request], Reply]


def json_reply(value: Any, **more: Any) -> Reply:
    """Answer with JSON."""
    headers = {"Content-Type": "application/json; charset=utf-8", **more.pop("headers", {})}
    return Reply(body=json.dumps(value).encode(), headers=headers, **more)


def html_reply(text: str, **more: Any) -> Reply:
    """Answer with a page."""
    headers = {"Content-Type": "text/html; charset=utf-8", **more.pop("headers", {})}
    return Reply(body=text.encode(), headers=headers, **more)


class Site:
    """A running server.

    Attributes:
        url: Its address.
        requests: All requests, in order.
        faults: Asked first about each request; an answer of theirs stands, None passes on.
    """

    def __init__(self, answers: Answers) -> None:
        self.requests: list[Request] = []
        self.faults: list[Callable[[Request], Reply | None]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, parts.path, query, headers, body, time.monotonic())
                site.requests.append(request)
                for fault in site.faults:
                    reply = fault(request)
                    if reply is not None:
                        break
                else:
                    reply = answers(request)
                self._send(reply)

            do_POST = do_GET

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if reply.stall:
                    time.sleep(reply.stall)
                try:
                    if reply.drip:
                        for byte in reply.body:
                            self.wfile.write(bytes([byte]))
                            self.wfile.flush()
                            time.sleep(reply.drip)
                    else:
                        self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
                except OSError:
                    self.close_connection = True
                if reply.cut is not None:
                    self.close_connection = True

            def log_message(self, format: str, *arguments: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def once(self, *replies: Reply, path: str | None = None) -> None:
        """Answer the next requests (of a path) with these replies."""
        waiting = list(replies)

        def fault(request: Request) -> Reply | None:
            if waiting and (path is None or request.path == path):
                return waiting.pop(0)
            return None

        self.faults.append(fault)

    def always(self, reply: Reply, path: str) -> None:
        """Answer all requests of a path with this reply."""
        self.faults.append(lambda request: reply if request.path == path else None)

    def asked(self, path: str) -> list[Request]:
        """The requests of a path."""
        return [request for request in self.requests if request.path == path]


def note_turns(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """When requests begin, by host: what the client's own clock says, from which it counts. Servers may hear of them late."""
    turns: dict[str, list[float]] = {}
    own, pace = threading.local(), Client._pace

    def look_at_the_clock() -> float:
        own.now = time.monotonic()
        return own.now

    def pace_and_note(self: Client, url: str) -> None:
        pace(self, url)
        turns.setdefault(host_of(url), []).append(own.now)

    monkeypatch.setattr("whelp.collect.client.time", SimpleNamespace(monotonic=look_at_the_clock))
    monkeypatch.setattr(Client, "_pace", pace_and_note)
    return turns


@contextmanager
def serving(answers: Answers) -> Iterator[Site]:
    """A site while it is needed."""
    site = Site(answers)
    try:
        yield site
    finally:
        site.close()


def serve_pages(pages: dict[str, Reply | str]) -> Answers:
    """A site of fixed pages; robots.txt is missing unless it is one of them."""

    def answer(request: Request) -> Reply:
        page = pages.get(request.path)
        if page is None:
            return html_reply("<h1>Not found</h1>", status=404)
        return html_reply(page) if isinstance(page, str) else page

    return answer
