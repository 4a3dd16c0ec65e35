"""How a collector behaves towards the sites that it asks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from whelp.base.config import option
from whelp.base.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MannersConfig:
    """Manners of a collector: who asks, how often, how long, how much."""

    contact: str = option("", "An e-mail address or a web page where the owner of a site reaches you; part of every request.")
    delay_seconds: float = option(1.0, "Least time between two requests to a host.", at_least=0)
    jitter: float = option(0.5, "The delay is longer by a random share of up to this much.", at_least=0, at_most=10)
    max_retries: int = option(5, "How often a request is tried again.", at_least=0, at_most=20)
    back_off_seconds: float = option(2.0, "Wait before the first retry; it doubles with each.", at_least=0)
    max_wait_seconds: float = option(300.0, "Longest wait for a host; one that asks for more is asked no more.", at_least=0)
    timeout_seconds: float = option(30.0, "Longest silence of a host.", at_least=0.01)
    max_request_seconds: float = option(120.0, "Longest time of one request.", at_least=0.01)
    max_page_bytes: int = option(10_000_000, "Largest answer, after unpacking.", at_least=1)
    max_page_seconds: float = option(60.0, "Longest time to find the text of a page that is here.", at_least=0.01)
    max_redirects: int = option(5, "Most redirects of one request.", at_least=0, at_most=20)
    max_hosts_at_once: int = option(8, "How many hosts are asked at once, each for one page at a time.", at_least=1, at_most=64)
    max_failures: int = option(10, "After so many failures in a row a host is asked no more.", at_least=1)
    allow_hosts: tuple[str, ...] = option((), "Further hosts that redirects and sitemaps may lead to.")
    allow_private: tuple[str, ...] = option((), "Hosts that may have a private address: your own servers.")

    def __post_init__(self) -> None:
        if not _is_contact(self.contact):
            found = f"contact is {self.contact!r}" if self.contact else "contact is missing"
            raise ConfigError(
                "collect",
                [
                    f"{found}, but an e-mail address or a web page of yours is expected: site owners must be able to reach who "
                    "asks. Give --contact you@example.org"
                ],
            )


def _is_contact(text: str) -> bool:
    if not text.isascii() or not text.isprintable():
        return False  # a header cannot carry it
    if re.fullmatch(r"[^@\s()]+@[^@\s()]+\.[^@\s()]+", text):
        return True
    return text.startswith(("http://", "https://")) and bool(urlsplit(text).hostname) and not re.search(r"[\s()]", text)
