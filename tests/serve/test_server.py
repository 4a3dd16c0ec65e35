"""The loop behind a server."""

from __future__ import annotations

import asyncio
import threading

import httpx

from waiting import SECONDS
from whelp.serve import ServeConfig, Server, make_app

from .fakes import make_model


def test_a_server_runs_beside_a_loop_of_events() -> None:
    """A notebook has a loop already: there the server answers from a thread, until it is told to end."""
    statuses = []

    async def notebook() -> None:
        config = ServeConfig(port=0, drain_seconds=1)
        server = Server(make_app([make_model()], config, version="test"), config, on_ready=lambda: ready.set())
        asker = threading.Thread(target=ask, args=(server,))
        asker.start()
        server.run()
        asker.join(SECONDS)

    def ask(server: Server) -> None:
        assert ready.wait(SECONDS)
        with httpx.Client(trust_env=False) as client:
            statuses.append(client.get(f"http://127.0.0.1:{server.port}/health", timeout=SECONDS).status_code)
        server.stop()

    ready = threading.Event()
    asyncio.run(notebook())
    assert statuses == [200]
