"""`whelp collect web-archive`: from WARC and WET files to JSON lines that grow, and go on after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.growing_file import GrowingFile
from whelp.base.as_list import as_list
from whelp.base.config import load_config
from whelp.base.errors import ConfigError, SourceError
from whelp.base.hashing import hash_json
from whelp.base.last_event import run_to_end
from whelp.base.log import log
from whelp.base.machine import count_cores
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.given_files import FileProgress
from whelp.cli.screens.draw_events import draw_bytes, watch
from whelp.collect.output import check_json_lines
from whelp.collect.web_archive import Archive, ArchivePart, Done, WebArchiveConfig, iter_web_archives, refuse_wat
from whelp.collect.web_archive.convert import KEPT
from whelp.corpus.path_list import COMMON_CRAWL, is_path_list, read_listed

if TYPE_CHECKING:
    from whelp.corpus.borrowed import Borrowed

_VERSION = 2  # raised when the same record would give another text
_SUFFIXES = tuple(f".{kind}{packing}" for kind in ("warc", "wet") for packing in ("", ".gz", ".zst"))
_MAX_NAMED = 100  # skipped archives that a result names
_MOST_REASONS = 300  # told apart: types of content are whatever servers call them
_OTHER_REASONS = "for reasons of other kinds"


@dataclass(frozen=True, kw_only=True)
class WebArchiveResult(ResultRepr):
    """What `whelp collect web-archive` made.

    Attributes:
        num_documents: Documents in the file: records kept.
        num_archives: Archives read.
        num_records: Records of the archives by what became of them.
        notes: What is unusual about kept records, counted.
        skipped_archives: Name and reason of archives that turned out to be none once they were fetched.
        is_reused: The file was there already, whole, of the same archives and options.
    """

    file: str
    num_documents: int
    num_bytes: int
    num_archives: int
    num_records: dict[str, int]
    notes: dict[str, int]
    skipped_archives: list[dict[str, str]]
    is_reused: bool


def collect_web_archive(
    files: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    extract: str = "article",
    languages: str | Sequence[str] | None = None,
    domains: str | Sequence[str] | None = None,
    statuses: int | Sequence[int] = (200,),
    mime_types: str | Sequence[str] = ("text/html", "application/xhtml+xml"),
    min_characters: int = 1,
    licence: str | None = None,
    max_record_bytes: int = 64 << 20,
    max_page_seconds: float = 60.0,
    chosen: str | None = None,
    base_url: str = COMMON_CRAWL,
    keep_fetched: bool = False,
    workers: int = 1,
) -> WebArchiveResult:
    """Turn web archives into documents, one JSON line each: the text of pages (WARC), or texts as they stand there (WET).

    Stopped or killed, the same call goes on. A finished file of the same archives and options is left as it is.

    Args:
        files: Files, folders, globs, addresses, and lists of those (`.paths`, `.paths.gz`).
        extract: Of a page, its `article` without menus and adverts, or the whole `page` but menus, forms and footers.
        languages: Keep only texts that are said to be in these: of WET by the crawler, of a page by itself.
        domains: Keep only addresses of these hosts and those below them.
        statuses: Keep only pages that the server answered with one of these.
        mime_types: Keep only pages of these types; text/plain can be read, too.
        min_characters: A shorter text is left out.
        licence: What the text may be used for; None: what a page says of itself.
        max_record_bytes: A larger record, packed or not, is left out.
        max_page_seconds: A page that takes longer is left out.
        chosen: Which of the archives, in their order: `0:10`; None for all.
        base_url: Where the paths of a list are, which do not lie beside it.
        keep_fetched: Keep archives that were fetched in the cache folder.
        workers: Processes.

    Raises:
        ConfigError: When `out` does not end in .jsonl, or an option is out of its range.
        SourceError: When an archive cannot be had, is none, or holds no text (WAT).
        MissingExtraError: When a package is needed.
        ArtifactError: When something else stands at `out`.
    """
    values = {
        "extract": extract,
        "languages": as_list(languages) if languages is not None else None,
        "domains": as_list(domains) if domains is not None else None,
        "statuses": as_list(statuses),
        "mime_types": as_list(mime_types),
        "min_characters": min_characters,
        "licence": licence,
        "max_record_bytes": max_record_bytes,
        "max_page_seconds": max_page_seconds,
    }
    config = load_config(WebArchiveConfig, values, "whelp collect web-archive")
    events = iter_collect_web_archive(
        list(map(str, as_list(files))),
        as_path(out),
        config,
        chosen=chosen,
        base_url=base_url,
        keep_fetched=keep_fetched,
        workers=workers,
    )
    return run_to_end(watch(events, draw_bytes("collect", "document")), WebArchiveResult)


def iter_collect_web_archive(
    files: Sequence[str],
    out: Path,
    config: WebArchiveConfig,
    *,
    chosen: str | None = None,
    base_url: str = COMMON_CRAWL,
    keep_fetched: bool = False,
    workers: int | None = None,
) -> Iterator[FileProgress | WebArchiveResult]:
    """As `collect_web_archive`, saying how far it is; the result comes last."""
    check_json_lines(out)
    archives = [_Given(name, keep=keep_fetched) for name in _choose(_list_names(files, base_url), chosen)]
    described = hash_json([archive.describe() for archive in archives])
    request = {"made_by": "collect web-archive", "version": _VERSION, "archives": described, **asdict(config)}
    growing = GrowingFile(out, request)
    finished = growing.find_finished()
    if finished is not None:
        yield _describe(out, finished.counts, finished.files[out.name]["bytes"], is_reused=True)
        return
    tally = _Tally.of(growing.open())
    if tally.records:
        log.info("%s: going on after %s records", out, f"{tally.records.total():,}")
    sizes = _Sizes([archive.num_bytes for archive in archives])
    reading = iter_web_archives(
        [archive.to_read() for archive in archives], config, workers=workers or count_cores(), done=tally.done
    )
    try:
        for archive in archives[: tally.done.num_archives][-1:]:
            archive.take_left()  # killed before it was deleted
        for part in reading:
            tally = tally.add(part, archives[part.archive].name)
            growing.add(part.lines, tally.to_json())
            if part.done.num_archives > part.archive:
                archives[part.archive].let_go()
            yield FileProgress(*sizes.place(part.archive, part.position, part.total), tally.records[KEPT])
        counts = {**tally.to_counts(), "archives": len(archives) - len(tally.skipped)}
        manifest = growing.finish(counts)
    finally:
        reading.close()
        for archive in archives:
            archive.let_go()
        growing.close()
    yield _describe(out, counts, manifest.files[out.name]["bytes"], is_reused=False)


@dataclass(frozen=True)
class _Tally:
    """What has become of the archives so far."""

    done: Done
    records: Counter[str]
    notes: Counter[str]
    skipped: list[dict[str, str]]

    @staticmethod
    def of(progress: dict[str, Any] | None) -> _Tally:
        saved = progress or {"done": {}, "records": {}, "notes": {}, "skipped": []}
        return _Tally(Done(**saved["done"]), Counter(saved["records"]), Counter(saved["notes"]), saved["skipped"])

    def add(self, part: ArchivePart, name: str) -> _Tally:
        """Not in place: what was added to the file holds the old one."""
        problem = [] if part.problem is None else [{"name": name, "reason": part.problem}]
        records = Counter(self.records)
        for reason, count in part.records.items():
            is_known = reason == KEPT or reason in records or len(records) < _MOST_REASONS
            records[reason if is_known else _OTHER_REASONS] += count
        return _Tally(part.done, records, self.notes + part.notes, [*self.skipped, *problem])

    def to_json(self) -> dict[str, Any]:
        return {"done": asdict(self.done), "records": self.records, "notes": self.notes, "skipped": self.skipped}

    def to_counts(self) -> dict[str, Any]:
        return {
            "documents": self.records[KEPT],
            "records": dict(self.records.most_common()),
            "notes": dict(self.notes.most_common()),
            "skipped_archives": self.skipped[:_MAX_NAMED],
        }


class _Given:
    """An archive that was asked for: a file here, or an address."""

    def __init__(self, name: str, *, keep: bool) -> None:
        from whelp.corpus.borrowed import Borrowed
        from whelp.corpus.remote import show_url
        from whelp.corpus.source_words import is_url

        self.is_remote = is_url(name)
        self._word = name
        self.name = show_url(name) if self.is_remote else name
        self.num_bytes = None if self.is_remote else as_path(name).stat().st_size
        self._borrowed = Borrowed(partial(_fetch_one, name)) if self.is_remote and not keep else None
        refuse_wat(self.name)

    def describe(self) -> tuple[str, int | None, int | None]:
        """What a finished file depends on: of an address only itself, since it is looked at late."""
        return self.name, self.num_bytes, None if self.is_remote else Path(self._word).stat().st_mtime_ns

    def to_read(self) -> Archive:
        return Archive(self.name, self._fetch, self.num_bytes)

    def _fetch(self) -> Path:
        if self._borrowed is not None:
            return self._borrowed.fetch()
        return _fetch_one(self._word) if self.is_remote else Path(self._word)

    def take_left(self) -> None:
        """Take over what a run before has left of this, to be let go of."""
        from whelp.corpus.remote import find_copy

        if self._borrowed is not None and (copy := find_copy(self._word)) is not None:
            self._borrowed.take(copy)

    def let_go(self) -> None:
        """Delete what was fetched for this, unless others read it, too."""
        if self._borrowed is not None:
            self._borrowed.let_go()


class _Sizes:
    """How large archives are, those that are not known by the mean of those that are."""

    def __init__(self, sizes: Sequence[int | None]) -> None:
        self._sizes = list(sizes)
        known = [size for size in sizes if size is not None]
        self._num_known, self._num_bytes = len(known), sum(known)
        self._index = self._num_known_before = self._num_bytes_before = (
            0  # a list may name a hundred thousand: each is added once
        )

    def place(self, index: int, position: int, total: int) -> tuple[int, int]:
        """How many bytes are read, of how many, with `position` of `total` of one archive, which is none before the last one."""
        size = self._sizes[index]
        self._num_known += size is None
        self._num_bytes += total - (size or 0)
        self._sizes[index] = total
        passed = [size for size in self._sizes[self._index : index] if size is not None]
        self._num_known_before += len(passed)
        self._num_bytes_before += sum(passed)
        self._index = index
        mean = self._num_bytes // self._num_known
        before = self._num_bytes_before + (index - self._num_known_before) * mean
        return before + position, self._num_bytes + (len(self._sizes) - self._num_known) * mean


def _list_names(files: Sequence[str], base_url: str) -> list[str]:
    """Paths and addresses of archives, in the order they are given; of a folder or a glob by name.

    Raises:
        SourceError: When there is none, or one is given twice.
    """
    from whelp.corpus.find_files import expand
    from whelp.corpus.source_words import is_url

    found: list[str] = []
    for item in files:
        if is_path_list(item):
            found += read_listed(item, _fetch_one, base_url)
        elif is_url(item):
            found.append(item)
        else:
            _, paths, _, is_named = expand(item, None, expected="an archive, a folder or a glob")
            found += [item] if is_named else [str(path) for path in paths if path.name.lower().endswith(_SUFFIXES)]
    if not found:
        expected = f"archives: files that end in {', '.join(_SUFFIXES)}"
        raise SourceError(", ".join(files) or "no files", "nothing to read", expected, "Check the spelling.")
    twice = next((name for name, count in Counter(found).items() if count > 1), None)
    if twice is not None:
        raise SourceError(twice, "is given twice", "each archive once", "Its texts would be there twice; take one out.")
    return found


def _fetch_one(url: str, borrowed: Borrowed | None = None) -> Path:
    from whelp.corpus import SourceConfig
    from whelp.corpus.remote import find_remote, show_url

    found, _ = find_remote(url, SourceConfig(source=url), is_named=True, borrowed=borrowed)
    if len(found) != 1:
        raise SourceError(show_url(url), f"stands for {len(found)} files", "one archive", "List them in a file, NAME.paths.")
    return found[0].path


def _choose(names: list[str], chosen: str | None) -> list[str]:
    """Those of a range, `first:stop`.

    Raises:
        ConfigError: When it is none, or holds no archive.
    """
    if chosen is None:
        return names
    first, colon, stop = chosen.partition(":")
    try:
        begin = int(first or 0)
        end = (int(stop) if stop else len(names)) if colon else begin + 1
    except ValueError:
        raise ConfigError("--files", [f"{chosen!r} is not a range"], "Give FIRST:STOP, as 0:10, or one number.") from None
    if begin < 0 or not names[begin:end]:
        there_are = f"there are {len(names):,} (0 to {len(names) - 1:,})"
        raise ConfigError("--files", [f"{chosen!r} names no archive; {there_are}"])
    return names[begin:end]


def _describe(out: Path, counts: dict[str, Any], num_bytes: int, *, is_reused: bool) -> WebArchiveResult:
    return WebArchiveResult(
        file=str(out),
        num_documents=counts["documents"],
        num_bytes=num_bytes,
        num_archives=counts["archives"],
        num_records=counts["records"],
        notes=counts["notes"],
        skipped_archives=counts["skipped_archives"],
        is_reused=is_reused,
    )
