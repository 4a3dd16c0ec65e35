"""What stands before every answer: whose name is asked for, from which page, with which token; and headers after it."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from whelp.serve.config import ServeConfig
from whelp.serve.errors import ApiError
from whelp.serve.stats import Stats

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("whelp")

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class Guard:
    """Let through who may ask; count, and mark every answer.

    Args:
        open_paths: Answered without a token: they tell nothing of the models.
        known_paths: Counted by name; all others together.
    """

    def __init__(
        self, app: App, *, config: ServeConfig, stats: Stats, open_paths: frozenset[str], known_paths: frozenset[str]
    ) -> None:
        self.app, self.config, self.stats = app, config, stats
        self.open_paths, self.known_paths = open_paths, known_paths
        self._hosts = {"localhost", socket.gethostname().lower(), config.host.lower(), *map(str.lower, config.allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, is_counted = time.monotonic(), 0, False

        def count() -> None:
            nonlocal is_counted
            if is_counted:
                return
            is_counted = True
            path = scope["path"] if scope["path"] in self.known_paths else "other"
            self.stats.requests[path, status] += 1
            if path.startswith("/v1/") and scope["method"] == "POST":
                self.stats.request_seconds.add(time.monotonic() - started)

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                marks = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
                message["headers"] = [*message["headers"], *(mark for mark in marks if mark[0] not in present)]
            elif not message.get("more_body"):
                count()  # first: whoever has the whole answer may ask for the counts at once
            await send(message)

        scope["app"] = self  # so that the router raises what it does not find
        try:
            self._check(scope)
            await self.app(scope, receive, send_marked)
        except ApiError as error:
            await _send_error(error, send_marked)
        except HTTPException as error:
            await _send_error(_explain(error, scope), send_marked)
        except Exception:
            log.exception("an answer to %s failed", scope["path"])
            if status:
                raise
            await _send_error(ApiError(500, "The server made a mistake; its log says which.", code="internal"), send_marked)
        finally:
            count()

    def _check(self, scope: Scope) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_host(headers.get("host", ""))
        self._check_origin(scope["method"], headers)
        if self.config.token and scope["path"] not in self.open_paths:
            self._check_token(headers.get("authorization", ""))

    def _check_host(self, host: str) -> None:
        """Refuse names that are not ours: a page elsewhere may have pointed its own name at this address."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if name in self._hosts:
            return
        try:
            ipaddress.ip_address(name)  # no name, so nobody can point it anywhere
        except ValueError:
            message = f"This server is not called {name[:100]!r}. Start it with --allow-host {name[:100]} if it is."
            raise ApiError(403, message, code="host_not_allowed") from None

    def _check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse what a page of another site sends: a browser sends it without asking us first."""
        origin = headers.get("origin")
        if origin is None or method in _SAFE_METHODS or origin in self.config.cors_origins:
            return
        if origin.partition("://")[2] != headers.get("host"):
            message = (
                f"Pages of {origin[:100]} may not call this server. Start it with --cors-origin {origin[:100]} if they may."
            )
            raise ApiError(403, message, code="origin_not_allowed")

    def _check_token(self, authorization: str) -> None:
        scheme, _, given = authorization.partition(" ")
        assert self.config.token is not None
        is_right = secrets.compare_digest(given.strip().encode("latin-1"), self.config.token.encode())
        if scheme.lower() != "bearer" or not is_right:
            found = "The token is wrong" if authorization else "There is no token"
            message = f"{found}, but this server needs one: send the header Authorization: Bearer TOKEN."
            raise ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def _explain(error: HTTPException, scope: Scope) -> ApiError:
    """What the router found wrong."""
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        allowed = headers.get("allow", "")
        return ApiError(
            405, f"The method is {scope['method']}, but expected {allowed}.", code="method_not_allowed", headers=headers
        )
    return ApiError(error.status_code, f"There is nothing at {scope['path'][:200]}.", code="not_found", headers=headers)


async def _send_error(error: ApiError, send: Send) -> None:
    body = error.to_bytes()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        **error.headers,
    }
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
