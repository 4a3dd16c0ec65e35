"""How to serve: where to listen, who may ask, and how much."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from whelp.base.config import option
from whelp.base.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Settings of a server. Every limit has a number, and what goes over it is told both numbers."""

    host: str = option("127.0.0.1", "address to listen on; any but this machine's own needs a token")
    port: int = option(8000, "port; 0: any free one", at_least=0, at_most=65535)
    token: str | None = option(None, "bearer token that every request must carry")
    allowed_hosts: list[str] = option([], "further names by which a browser may call this server")
    cors_origins: list[str] = option([], "web origins whose pages may call this server, as https://example.org")
    max_body_bytes: int = option(1 << 20, "largest request body", at_least=1024)
    max_rows: int = option(16, "texts that a model continues side by side", at_least=1)
    max_waiting: int = option(64, "texts that wait for a free row; more are refused", at_least=0)
    max_tokens: int = option(4096, "most tokens that one request may add", at_least=1)
    prefix_cache_bytes: int | None = option(
        None,
        "memory of each model for the beginnings of recent prompts, which are not read again; 0: none; left out: 512 MiB, of a GPU "
        "an eighth of what is free",
        at_least=0,
    )
    max_n: int = option(16, "most continuations of one prompt", at_least=1)
    max_connections: int = option(1024, "open connections at a time", at_least=1)
    request_seconds: float = option(300.0, "longest that one request may take", at_least=0.1)
    header_seconds: float = option(10.0, "longest that a connection may take to send its headers", at_least=0.1)
    body_seconds: float = option(30.0, "longest that a request may take to send its body", at_least=0.1)
    renew_seconds: float = option(
        5.0, "how often a newer checkpoint of a run is looked for, to be taken up between two requests; 0: never", at_least=0.0
    )
    drain_seconds: float = option(30.0, "longest that running requests may go on after a request to end", at_least=0.0)

    def __post_init__(self) -> None:
        problems = []
        if not self.is_loopback and not self.token:
            problems.append(f"host is {self.host}, which other machines reach, but there is no token")
        if self.token is not None and (not self.token.isascii() or not self.token.isprintable() or " " in self.token):
            problems.append("token holds spaces or characters that no header can carry")
        problems += [
            f"cors_origins holds {origin!r}, but an origin is a scheme and a host, as https://example.org"
            for origin in self.cors_origins
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2
        ]
        if problems:
            raise ConfigError("serve", problems)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        return is_loopback(self.host)

    @property
    def max_texts(self) -> int:
        """Texts of one model, running or waiting."""
        return self.max_rows + self.max_waiting


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
