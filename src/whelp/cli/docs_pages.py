"""The pages of the documentation, which are installed along, cut into sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whelp.base.result_repr import ResultRepr

_HEADING = re.compile(r"^(#{1,4}) +(.+)$")
_BEGIN = ("index", "getting-started", "choosing", "coming-from", "troubleshooting")


@dataclass(frozen=True, kw_only=True)
class DocsSection(ResultRepr):
    """A page, or a section of one. `name` is what `whelp docs` takes: `packing`, `packing#the-ledger`."""

    name: str
    title: str
    text: str


def _find_folder() -> Path:
    package = Path(__file__).parents[1]
    installed = package / "_docs"
    return installed if installed.is_dir() else package.parents[1] / "docs"


def read_pages() -> dict[str, list[DocsSection]]:
    """The sections of each page, by its name; the first is what stands before the second heading."""
    paths = {path.stem: path for path in sorted(_find_folder().glob("*.md"))}
    order = [name for name in _BEGIN if name in paths] + [name for name in paths if name not in _BEGIN]
    return {name: list(_cut(name, paths[name].read_text(encoding="utf-8"))) for name in order}


def _cut(page: str, text: str) -> Iterator[DocsSection]:
    """A page at its headings; what looks like one within a block of code is none."""
    name, title, lines, is_code = page, page, list[str](), False
    for line in text.splitlines():
        if line.startswith("<!--") and not is_code:
            continue
        is_code ^= line.startswith("```")
        heading = None if is_code else _HEADING.match(line)
        if heading is not None and any(lines):
            yield DocsSection(name=name, title=title, text="\n".join(lines).strip())
            name, lines = f"{page}#{make_anchor(heading[2])}", []
        if heading is not None:
            title = heading[2]
        lines.append(line)
    yield DocsSection(name=name, title=title, text="\n".join(lines).strip())


def make_anchor(heading: str) -> str:
    """What a link calls a heading.

    >>> make_anchor("The tokenizer's own `chat` template")
    'the-tokenizers-own-chat-template'
    """
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
