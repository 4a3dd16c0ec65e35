"""`whelp collect wikipedia-dump`: from a dump to JSON lines that grow, and go on after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from whelp.artifacts.growing_file import GrowingFile
from whelp.base.as_list import as_list
from whelp.base.config import load_config
from whelp.base.last_event import run_to_end
from whelp.base.log import log
from whelp.base.machine import count_cores
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.given_files import FileProgress
from whelp.cli.screens.draw_events import draw_bytes, watch
from whelp.collect.dump import DumpConfig, describe_dump, iter_dump
from whelp.collect.output import check_json_lines

KEPT = "kept"
_VERSION = 3  # raised when the same page would give another text


@dataclass(frozen=True, kw_only=True)
class DumpResult(ResultRepr):
    """What `whelp collect wikipedia-dump` made.

    Attributes:
        num_documents: Documents in the file: pages kept.
        num_pages: Pages of the dump by what became of them.
        num_removed: Templates, tables, references, files, ... taken out of the kept pages.
        is_reused: The file was there already, whole, of the same dump and options.
    """

    file: str
    num_documents: int
    num_bytes: int
    num_pages: dict[str, int]
    num_removed: dict[str, int]
    is_reused: bool


def collect_wikipedia_dump(
    file: str | Path,
    *,
    out: str | Path,
    namespaces: int | Sequence[int] = (0,),
    headings: str = "plain",
    disambiguation: bool = False,
    formulas: bool = True,
    tables: str = "drop",
    licence: str | None = None,
    max_page_bytes: int = 64 << 20,
    workers: int = 1,
) -> DumpResult:
    """Turn a MediaWiki XML dump into documents, one JSON line each, with title, address, revision, time and licence.

    Stopped or killed, the same call goes on. A finished file of the same dump and options is left as it is.

    Args:
        file: `pages-articles` XML, plain or packed as .bz2 (multistream is read in parallel), .gz or .xz.
        namespaces: Numbers of the namespaces to keep; 0 holds the articles.
        headings: `plain`, `wiki` (== Title ==), `markdown` (## Title), or `none`.
        disambiguation: Keep pages that only tell names apart.
        formulas: Keep formulas, as TeX between dollar signs.
        tables: `drop` leaves tables out, `rows` makes each a paragraph with a line for each row: `cell | cell`.
        licence: What the text may be used for; None: CC BY-SA 4.0 for Wikipedia and its sisters.
        workers: Processes.

    Raises:
        ConfigError: When `out` does not end in .jsonl, or an option is out of its range.
        SourceError: When it is no dump, is cut off or broken, or declares entities of its own.
        ArtifactError: When something else stands at `out`.
    """
    values = {
        "namespaces": as_list(namespaces),
        "headings": headings,
        "disambiguation": disambiguation,
        "formulas": formulas,
        "tables": tables,
        "licence": licence,
        "max_page_bytes": max_page_bytes,
    }
    config = load_config(DumpConfig, values, "whelp collect wikipedia-dump")
    events = iter_collect_dump(as_path(file), as_path(out), config, workers=workers)
    return run_to_end(watch(events, draw_bytes("collect", "document")), DumpResult)


def iter_collect_dump(
    path: Path, out: Path, config: DumpConfig, *, workers: int | None = None
) -> Iterator[FileProgress | DumpResult]:
    """As `collect_wikipedia_dump`, saying how far it is; the result comes last."""
    dump = describe_dump(path)
    check_json_lines(out)
    growing = GrowingFile(out, {"made_by": "collect wikipedia-dump", "version": _VERSION, "dump": dump, **asdict(config)})
    finished = growing.find_finished()
    if finished is not None:
        yield _describe(out, finished.counts, finished.files[out.name]["bytes"], is_reused=True)
        return
    progress = growing.open() or {"parts": 0, "pages": {}, "removed": {}}
    parts, pages, removed = int(progress["parts"]), Counter(progress["pages"]), Counter(progress["removed"])
    if parts:
        log.info("%s: going on after %s pages", out, f"{sum(pages.values()):,}")
    try:
        for part in iter_dump(path, config, workers=workers or count_cores(), num_done=parts):
            parts, pages, removed = parts + 1, pages + part.pages, removed + part.removed
            growing.add(part.lines, {"parts": parts, "pages": pages, "removed": removed})
            yield FileProgress(part.position, dump["bytes"], pages[KEPT])
        counts = {"documents": pages[KEPT], "pages": _sort(pages), "removed": _sort(removed)}
        manifest = growing.finish(counts)
    finally:
        growing.close()
    yield _describe(out, counts, manifest.files[out.name]["bytes"], is_reused=False)


def _sort(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in counts.most_common() if count}


def _describe(out: Path, counts: dict[str, Any], num_bytes: int, *, is_reused: bool) -> DumpResult:
    return DumpResult(
        file=str(out),
        num_documents=counts["documents"],
        num_bytes=num_bytes,
        num_pages=counts["pages"],
        num_removed=counts["removed"],
        is_reused=is_reused,
    )
