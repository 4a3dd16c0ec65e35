"""What is taken from web archives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from whelp.base.config import option
from whelp.base.errors import ConfigError

Extract = Literal["article", "page"]
_DOMAIN = re.compile(r"[^\s/:@]+")


@dataclass(frozen=True, kw_only=True)
class WebArchiveConfig:
    """Options of `whelp collect web-archive`.

    Raises:
        ConfigError: When a value is out of its range.
    """

    extract: Extract = option(
        "article",
        "of a page, its article without menus and adverts (article), or all it shows but menus, forms, footers (page)",
    )
    languages: list[str] | None = option(None, "keep only texts that are said to be in these, such as [en, de]")
    domains: list[str] | None = option(None, "keep only addresses of these hosts and those below them, such as [example.org]")
    statuses: list[int] = option([200], "keep only pages that the server answered with one of these")
    mime_types: list[str] = option(["text/html", "application/xhtml+xml"], "keep only pages of these types")
    min_characters: int = option(1, "a shorter text is left out, and counted", at_least=1)
    licence: str | None = option(None, "what the text may be used for; nothing: what a page says of itself")
    max_record_bytes: int = option(64 << 20, "a record larger than this, packed or not, is left out, and counted")

    max_page_seconds: float = option(60.0, "a page that takes longer is left out, and counted", at_least=0.01)

    def __post_init__(self) -> None:
        problems = []
        for name in ("languages", "domains", "statuses", "mime_types"):
            if getattr(self, name) == []:
                problems.append(f"{name} is empty, which keeps nothing")
        problems += [
            f"domains has {domain!r}, but a host's name is expected, such as example.org"
            for domain in self.domains or []
            if not _DOMAIN.fullmatch(domain)
        ]
        problems += [
            f"languages has {language!r}, but a code is expected, such as en or eng"
            for language in self.languages or []
            if not re.fullmatch(r"[A-Za-z]{2,3}", language)
        ]
        if self.max_record_bytes < 1 << 10:
            problems.append(f"max_record_bytes is {self.max_record_bytes}, but expected at least 1024")
        if problems:
            raise ConfigError("whelp collect web-archive", problems)
