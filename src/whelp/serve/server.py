"""Listen, answer, and end well: on SIGTERM and Ctrl-C what is running is finished first."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from whelp.base.errors import PlanError
from whelp.serve.app import Application
from whelp.serve.config import ServeConfig
from whelp.serve.errors import ApiError

_BACKLOG = 512
_LAST_WORD_SECONDS = 5  # for telling clients that their text was cut short


class Server:
    """A listening socket and the loop behind it.

    `port` is known before `run`: with `port=0` in the settings it is a free one.

    Raises:
        PlanError: When the address cannot be listened on.
    """

    def __init__(self, app: Application, config: ServeConfig, *, on_ready: Callable[[], None] | None = None) -> None:
        self.config, self._app = config, app
        self._socket = _open_socket(config)
        self.port: int = self._socket.getsockname()[1]
        settings = uvicorn.Config(
            app,
            http=_make_protocol(config),
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=round(config.drain_seconds) + _LAST_WORD_SECONDS,
            timeout_keep_alive=max(1, round(config.header_seconds)),
        )
        self._server = _Uvicorn(settings, app, config.drain_seconds, on_ready)

    def run(self) -> None:
        """Answer until asked to end: by `stop`, SIGTERM or SIGINT. A second signal ends at once."""
        try:
            if _has_running_loop():
                self._run_beside()
            else:
                self._server.run(sockets=[self._socket])
        finally:
            self.close()  # also after a second signal, which leaves the application no time to do it

    def _run_beside(self) -> None:
        """Run on a thread, as this one has a loop of events already: a notebook's, for one. Ctrl-C means the same."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            serving = pool.submit(self._server.run, sockets=[self._socket])
            while True:
                try:
                    return serving.result()
                except KeyboardInterrupt:
                    self._server.handle_exit(signal.SIGINT, None)

    def stop(self) -> None:
        """End as SIGTERM does; may be called from another thread."""
        self._server.should_exit = True

    def close(self) -> None:
        """Let go of the port and the engines without having run."""
        self._socket.close()
        self._app.close()


class _Uvicorn(uvicorn.Server):
    """uvicorn, without raising the signal again that asked it to end: a server that was told to end has done well."""

    def __init__(
        self, config: uvicorn.Config, app: Application, drain_seconds: float, on_ready: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self._app, self._drain_seconds, self._on_ready = app, drain_seconds, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_ready is not None:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        patience = asyncio.get_running_loop().call_later(self._drain_seconds, self._app.cut_short)
        await super().shutdown(sockets)
        patience.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _open_socket(config: ServeConfig) -> socket.socket:
    host = "127.0.0.1" if config.host == "localhost" else config.host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise PlanError(
            f"--host {config.host}", f"there is no such address ({error.strerror or error})", "an address of this machine"
        ) from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        where = f"{config.host}:{config.port}"
        raise PlanError(
            where, f"cannot be listened on ({error.strerror or error})", "a free port", "Choose another --port; 0 finds one."
        ) from None
    listening.setblocking(False)
    return listening


def _make_protocol(config: ServeConfig) -> type[asyncio.Protocol]:
    """uvicorn's HTTP, with an end to connections that do not send their headers, and to too many of them."""

    class Protocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > config.max_connections:
                message = f"{len(self.connections):,} connections are open, but at most {config.max_connections:,} are allowed."
                self._refuse(429, "Too Many Requests", ApiError(429, message, code="too_many_connections"))
                return
            self._arm()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._disarm()
            elif not self.transport.is_closing():
                self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def _arm(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(config.header_seconds, self._give_up)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _give_up(self) -> None:
            self._deadline = None
            if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
                message = f"The headers did not come within {config.header_seconds:g} seconds."
                self._refuse(408, "Request Timeout", ApiError(408, message, code="headers_too_slow"))

        def _refuse(self, status: int, phrase: str, error: ApiError) -> None:
            body = error.to_bytes()
            head = (
                f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
                "retry-after: 1\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()

        def send_400_response(self, msg: str) -> None:
            self._disarm()
            self._refuse(
                400, "Bad Request", ApiError(400, "The request is not HTTP, or its headers are too large.", code="not_http")
            )

    return Protocol
