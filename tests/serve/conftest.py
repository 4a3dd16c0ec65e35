"""Servers for tests: real sockets on this machine's own address, in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from waiting import SECONDS, wait_until
from whelp.serve import ServeConfig, ServedModel, ServedStore, Server, make_app

from .fakes import make_model


@dataclass
class Running:
    """A server that answers."""

    url: str
    port: int
    server: Server
    models: list[ServedModel]
    client: httpx.Client

    @property
    def engine(self) -> Any:
        """The first model's."""
        return self.models[0].engine

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def post_when_free(self, path: str, body: Any) -> httpx.Response:
        """The server hears a moment later of clients that went away."""
        answers = [self.post(path, body)]

        def is_answered() -> bool:
            if answers[-1].status_code == 429:
                answers.append(self.post(path, body))
            return answers[-1].status_code != 429

        wait_until(is_answered)
        return answers[-1]

    def open_socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)


Serve = Callable[..., Running]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server; it ends with the test."""
    with ExitStack() as stack:

        def start(
            *models: ServedModel,
            run: Path | None = None,
            store: ServedStore | None = None,
            headers: dict[str, str] | None = None,
            has_model: bool = True,
            **settings: Any,
        ) -> Running:
            chosen = list(models) or [make_model()] * has_model
            config = ServeConfig(**{"port": 0, "drain_seconds": 1, **settings})
            ready = threading.Event()
            server = Server(make_app(chosen, config, run=run, store=store, version="test"), config, on_ready=ready.set)
            thread = threading.Thread(target=server.run)
            thread.start()
            stack.callback(thread.join, SECONDS)
            stack.callback(server.stop)
            assert ready.wait(SECONDS)
            url = f"http://127.0.0.1:{server.port}"
            client = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=SECONDS, trust_env=False))
            return Running(url, server.port, server, chosen, client)

        yield start
