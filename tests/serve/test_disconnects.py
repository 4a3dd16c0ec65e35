"""Clients that go away cost nothing any more, and however many do, the server goes on."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import threading
import time

import httpx
import pytest

from waiting import SECONDS, wait_until

from .conftest import Running, Serve
from .fakes import make_model

NUM_DISCONNECTS = int(os.environ.get("WHELP_TEST_DISCONNECTS", "200"))


def _request(*, stream: bool, max_tokens: int = 300) -> bytes:
    body = json.dumps({"prompt": "x", "max_tokens": max_tokens, "stream": stream}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away(serve: Serve, stream: bool) -> None:
    """Its text is cancelled at once, streamed or not."""
    running = serve(make_model(seconds=1.0))
    with running.open_socket() as connection:
        connection.sendall(_request(stream=stream))
        wait_until(lambda: running.engine.num_running == 1)
    running.engine.wait_until_idle()
    assert running.engine.ended == ["cancelled"]
    wait_until(lambda: "whelp_disconnects_total 1" in running.client.get("/metrics").text)


def test_a_client_that_closes_its_stream(serve: Serve) -> None:
    """The usual way: leaving the loop over the events."""
    running = serve(make_model(seconds=1.0))
    body = {"prompt": "x", "max_tokens": 300, "stream": True}
    with httpx.stream("POST", f"{running.url}/v1/completions", json=body, timeout=SECONDS, trust_env=False) as response:
        next(response.iter_lines())
    running.engine.wait_until_idle()
    assert running.engine.ended == ["cancelled"]


def test_one_of_many_texts_does_not_go_on_alone(serve: Serve) -> None:
    """With `n`, all texts of the request end."""
    running = serve(make_model(seconds=1.0))
    body = {"prompt": ["x", "y"], "n": 3, "max_tokens": 300, "stream": True}
    with httpx.stream("POST", f"{running.url}/v1/completions", json=body, timeout=SECONDS, trust_env=False) as response:
        next(response.iter_lines())
    running.engine.wait_until_idle()
    assert running.engine.ended == ["cancelled"] * 6


def test_many_abrupt_disconnects(serve: Serve) -> None:
    """Connections are reset at any moment, many at a time; afterwards nothing runs, nothing is counted, all is answered."""
    running = serve(make_model(seconds=0.002), max_rows=8, max_waiting=8)
    chance = random.Random(1)
    delays = [chance.choice([0, 0, 0.001, 0.01, 0.03]) for _ in range(NUM_DISCONNECTS)]
    cuts = [chance.choice([1, 60, 150, None, None, None]) for _ in range(NUM_DISCONNECTS)]
    work = iter(list(zip(delays, cuts, strict=True)))
    lock = threading.Lock()

    def drop() -> None:
        while True:
            with lock:
                entry = next(work, None)
            if entry is None:
                return
            _drop(running, *entry)

    threads = [threading.Thread(target=drop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running.engine.wait_until_idle()
    answer = running.post_when_free("/v1/completions", {"prompt": "x", "n": 16, "max_tokens": 5})  # as many as ever fit
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 80


def _drop(running: Running, delay: float, cut: int | None) -> None:
    connection = running.open_socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
    connection.sendall(_request(stream=True)[:cut])
    time.sleep(delay)
    connection.close()
