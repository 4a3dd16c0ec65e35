"""From the pages of a dump to documents, on several processes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from whelp.base.errors import SourceError
from whelp.base.hashing import hash_bytes
from whelp.base.processes import InOrder, open_in_order, work_in_line
from whelp.collect.document import Document, make_line
from whelp.collect.dump.config import DumpConfig
from whelp.collect.dump.cut_pages import Piece
from whelp.collect.dump.pages import Page, Site, iter_pages, read_site, tells_names_apart
from whelp.collect.dump.parts import Share, Span, iter_shares, iter_span_pieces
from whelp.collect.dump.stream import Codec, find_codec, iter_blocks
from whelp.collect.wikitext import Namespaces, Wikitext

SOURCE = "wikipedia-dump"
_FAMILIES = ("wikipedia", "wiktionary", "wikibooks", "wikiquote", "wikisource", "wikiversity", "wikivoyage")
_LICENCE = "CC BY-SA 4.0"
_FINGERPRINT_BYTES = 1 << 20
_WORTH_A_PROCESS_BYTES = 2 << 20  # of bzip2 data: a process of one's own unpacks them in two thirds of the time (`ProcessPool`)


@dataclass(frozen=True)
class DumpPart:
    """The documents of a run of pages.

    Attributes:
        lines: JSON lines.
        pages: Pages by what became of them: kept, or why not.
        removed: What was taken out of the kept pages: templates, tables, references, files, ...
        position: How many bytes of the file have been read for this and all parts before.
    """

    lines: bytes
    pages: Counter[str]
    removed: Counter[str]
    position: int = 0


@dataclass(frozen=True)
class _Task:
    path: Path
    codec: Codec
    site: Site
    config: DumpConfig
    share: Share | None = field(default=None)


def describe_dump(path: Path) -> dict[str, Any]:
    """Size and fingerprint of a dump, by its first and last megabyte: reading all of it takes as long as the work.

    Raises:
        SourceError: When there is no such file.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "there is no such file"
        raise SourceError(path, found, "a MediaWiki XML dump", "Dumps are at https://dumps.wikimedia.org.")
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(_FINGERPRINT_BYTES)
        file.seek(max(0, size - _FINGERPRINT_BYTES))
        return {"name": path.name, "bytes": size, "ends": hash_bytes(head, file.read())}


def iter_dump(path: Path, config: DumpConfig, *, workers: int = 1, num_done: int = 0) -> Iterator[DumpPart]:
    """Yield the documents of a dump in its order, which does not depend on `workers`.

    Args:
        workers: Processes; with 1 all is done in this one, but for large bzip2 files.
        num_done: Parts of a run before, which are not made again.

    Raises:
        SourceError: When it is no dump, is cut off or broken, or declares entities.
    """
    codec = find_codec(path)
    site = read_site((block.data for block in iter_blocks(path, codec, is_head=True)), path)

    def iter_parts(in_order: InOrder) -> Iterator[DumpPart]:
        shares = itertools.islice(iter_shares(path, codec, config.max_page_bytes, in_order), num_done, None)
        tasks = (_Task(path, codec, site, config, share) for share in shares)
        return (part for _, part in in_order(_work, tasks))

    if workers == 1 and (codec != "bzip2" or path.stat().st_size < _WORTH_A_PROCESS_BYTES):
        yield from iter_parts(work_in_line)
        return
    try:
        with open_in_order(workers, huge_pages=True) as in_order:
            yield from iter_parts(in_order)
    except BrokenProcessPool:
        raise SourceError(
            path, "a process that read it was killed, for want of memory perhaps", "", "Give fewer --workers; run it again."
        ) from None


def _work(task: _Task) -> DumpPart:
    share = task.share
    assert share is not None, "a task has its share"
    pieces: Iterator[Piece]
    if isinstance(share.work, Span):
        pieces = iter_span_pieces(task.path, task.codec, share.work, task.config.max_page_bytes)
    else:
        pieces = iter((share.work,))
    lines: list[bytes] = []
    pages: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    cleaner = Wikitext(
        namespaces=Namespaces.make(task.site.namespaces),
        headings=task.config.headings,
        formulas=task.config.formulas,
        tables=task.config.tables,
        language=task.site.language or "en",
    )
    for piece in pieces:
        if piece.num_too_large:
            pages[f"larger than {task.config.max_page_bytes:,} bytes"] += piece.num_too_large
        for page in iter_pages(piece.pages):
            reason = "broken XML" if page is None else _find_reason(page, task.site, task.config)
            if page is not None and reason is None:
                cleaned = cleaner.clean(page.text)
                if cleaned.text:
                    lines.append(make_line(_make_document(page, cleaned.text, task.site, task.config)))
                    removed.update(cleaned.counts)
                else:
                    reason = "no text left"
            pages[reason or "kept"] += 1
            if page is not None and page.num_revisions > 1:
                removed["older revisions"] += page.num_revisions - 1
    return DumpPart(b"".join(lines), pages, removed, share.position)


def _find_reason(page: Page, site: Site, config: DumpConfig) -> str | None:
    """Why a page is left out, or None."""
    if page.namespace not in config.namespaces:
        return f"namespace {site.namespaces.get(page.namespace) or page.namespace}"
    if page.is_redirect:
        return "redirect"
    if page.model not in ("", "wikitext"):
        return f"not wikitext but {page.model}"
    if not page.text.strip():
        return "no text in the dump"
    return "only tells names apart" if not config.disambiguation and tells_names_apart(page) else None


def _make_document(page: Page, text: str, site: Site, config: DumpConfig) -> Document:
    return Document(
        text=text,
        source=SOURCE,
        title=page.title,
        url=site.address(page.title),
        id=page.id,
        language=site.language,
        revision=page.revision or None,
        licence=config.licence or find_licence(site.base),
        time=page.time or None,
    )


def find_licence(base: str) -> str | None:
    """The licence of the wikis of Wikipedia's family, by their address; None for any other.

    >>> find_licence("https://ltg.wikipedia.org/wiki/Suoku_puslopa"), find_licence("https://wiki.example.org/Main")
    ('CC BY-SA 4.0', None)
    """
    host = urlsplit(base).hostname or ""
    return _LICENCE if host.endswith(tuple(f"{family}.org" for family in _FAMILIES)) else None
