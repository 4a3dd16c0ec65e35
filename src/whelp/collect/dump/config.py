"""What is taken from a dump, and how its text looks."""

from __future__ import annotations

from dataclasses import dataclass

from whelp.base.config import option
from whelp.base.errors import ConfigError
from whelp.collect.wikitext.lines import Headings
from whelp.collect.wikitext.tables import Tables


@dataclass(frozen=True, kw_only=True)
class DumpConfig:
    """Options of `whelp collect wikipedia-dump`.

    Raises:
        ConfigError: When a value is out of its range.
    """

    namespaces: list[int] = option([0], "numbers of the namespaces to keep; 0 holds the articles")
    headings: Headings = option("plain", "how headings look: plain, wiki (== Title ==), markdown (## Title), or none")
    disambiguation: bool = option(False, "keep pages that only tell names apart, such as Mercury (disambiguation)")
    formulas: bool = option(True, "keep formulas, as TeX between dollar signs")
    tables: Tables = option("drop", "leave tables out (drop), or make each a paragraph with a line for each row (rows)")
    licence: str | None = option(None, "what the text may be used for; nothing: CC BY-SA 4.0 for Wikipedia and its sisters")
    max_page_bytes: int = option(64 << 20, "a page larger than this is left out, and counted")

    def __post_init__(self) -> None:
        problems = []
        if not self.namespaces:
            problems.append("namespaces is empty, which keeps nothing; 0 holds the articles")
        if self.max_page_bytes < 1 << 10:
            problems.append(f"max_page_bytes is {self.max_page_bytes}, but expected at least 1024")
        if problems:
            raise ConfigError("whelp collect wikipedia-dump", problems)
