"""What robots.txt of a host allows (RFC 9309)."""

from __future__ import annotations

from protego import Protego

_MAX_CHARACTERS = 512_000  # RFC 9309 asks for at least 500 KiB


class Robots:
    """The rules for one program.

    Args:
        text: The file; an empty one allows everything.
        agent: The program's name, with or without its version.
    """

    def __init__(self, text: str, agent: str) -> None:
        self._agent = agent.partition("/")[0]
        self._rules = Protego.parse(text[:_MAX_CHARACTERS])

    def allows(self, url: str) -> bool:
        """Tell whether an address may be asked for."""
        return bool(self._rules.can_fetch(url, self._agent))

    @property
    def sitemaps(self) -> list[str]:
        """The sitemaps that it names, in its order."""
        return list(dict.fromkeys(self._rules.sitemaps))

    @property
    def delay_seconds(self) -> float:
        """The least time between requests that it asks for; 0 when it asks for none."""
        delay = float(self._rules.crawl_delay(self._agent) or 0.0)
        rate = self._rules.request_rate(self._agent)
        return max(delay, rate.seconds / max(rate.requests, 1) if rate else 0.0)
