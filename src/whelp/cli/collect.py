"""`whelp collect wikipedia|britannica|youtube|urls`: wiring of the collectors of the network.

A collection is one file of documents and, beside it, its journal: `x.jsonl` and `x.jsonl.journal`. The same command goes on
where a killed one stopped, tries again what has failed, and does nothing where nothing is left to do.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.as_list import as_list
from whelp.base.config import load_config
from whelp.base.errors import MissingExtraError, SourceError
from whelp.base.last_event import run_to_end
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.screens.draw_events import DrawCollecting, watch

if TYPE_CHECKING:
    from whelp.collect import Collector, Event, MannersConfig
    from whelp.collect.client import Wait
    from whelp.collect.transcripts import Kind


@dataclass(frozen=True, kw_only=True)
class CollectResult(ResultRepr):
    """What a collection came to.

    Attributes:
        file: The file; it is written when the collection is finished.
        is_finished: Whether everything was asked for.
        num_documents: Documents.
        skipped: What gave no document and never will, counted by reason.
        failed: What may be had another time, counted by reason: the same command tries again.
        num_requests: Requests of this run; none where all was known.
        num_retries: How many of them were asked again.
        num_bytes: What was received.
        seconds_waited: Time between requests.
    """

    file: str
    is_finished: bool
    num_documents: int
    skipped: dict[str, int]
    failed: dict[str, int]
    num_requests: int
    num_retries: int
    num_bytes: int
    seconds_waited: float


@dataclass(frozen=True, kw_only=True)
class CollectResumed:
    """What the journal knows already, and is not asked for again."""

    num_documents: int
    num_skipped: int


_PACKAGES = {  # what each collector imports
    "wikipedia": ("httpx", "protego"),
    "britannica": ("httpx", "protego", "lxml"),
    "youtube": ("httpx", "protego", "youtube_transcript_api"),
    "urls": ("httpx", "protego", "trafilatura"),
}


def check_packages(source: str) -> None:
    """Ask for the packages of a collector before it is imported.

    Raises:
        MissingExtraError: Naming the first that is missing.
    """
    for package in _PACKAGES[source]:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"whelp collect {source}", package, "collect")


def make_manners(values: Mapping[str, Any]) -> MannersConfig:
    """Read the manners from keyword arguments; what is None has its default."""
    from whelp.collect.config import MannersConfig

    given = {name: value for name, value in values.items() if value is not None}
    return load_config(MannersConfig, {"contact": "", **given}, "collect")


def iter_collect(
    collector: Collector,
    out: str | Path,
    manners: MannersConfig,
    *,
    max_documents: int | None = None,
    max_minutes: float | None = None,
    refresh: bool = False,
    finish: bool = False,
    wait: Wait | None = None,
) -> Iterator[CollectResumed | Event | CollectResult]:
    """Collect; yield what each address comes to, at the end (also one that an error makes) the result.

    Args:
        max_documents: Stop after so many documents.
        max_minutes: Stop after so much time, and write what there is.
        refresh: Ask for everything once more, and replace what has changed.
        finish: Ask for nothing: write what has been collected so far.
        wait: Passes the time between requests: called with seconds and a reason.

    Raises:
        ConfigError: When the journal beside `out` is of another request.
        SourceError: When no host is left to ask, nothing at all could be had, or there is nothing to finish.
    """
    import whelp
    from whelp.collect.client import Client
    from whelp.collect.gather import Asking, gather_documents
    from whelp.collect.journal import Journal
    from whelp.collect.output import check_output, write_output

    path = as_path(out)
    check_output(path)
    journal_path = path.with_name(f"{path.name}.journal")
    if finish and not journal_path.exists():
        raise _nothing_to_finish(path, f"no collection was begun ({journal_path.name} is not there)")
    journal = Journal(journal_path, {"source": collector.source, **collector.asked})
    client = Client(
        config=manners,
        agent=f"whelp/{whelp.__version__}",
        hosts=collector.hosts,
        wait=wait or (lambda seconds, reason: time.sleep(seconds)),
    )

    def sum_up(is_finished: bool) -> CollectResult:
        kept, skipped, failed = journal.count()
        traffic = client.traffic
        return CollectResult(
            file=str(path),
            is_finished=is_finished,
            num_documents=kept,
            skipped=skipped,
            failed=failed,
            num_requests=traffic.requests,
            num_retries=traffic.retries,
            num_bytes=traffic.bytes,
            seconds_waited=traffic.seconds_waited,
        )

    try:
        if refresh and journal.is_finished:
            journal.begin_round()
        if not finish:
            known = sum_up(is_finished=False)
            if known.num_documents or known.skipped:
                yield CollectResumed(num_documents=known.num_documents, num_skipped=sum(known.skipped.values()))
            try:
                yield from gather_documents(
                    collector,
                    Asking(client, journal),
                    journal,
                    max_documents=max_documents,
                    max_seconds=None if max_minutes is None else max_minutes * 60,
                )
            except SourceError:
                yield sum_up(is_finished=False)
                raise
        result = sum_up(is_finished=journal.is_finished)
        if finish and not result.num_documents and not result.is_finished:
            raise _nothing_to_finish(path, "no document has been collected so far")
        if result.num_documents:
            write_output(path, journal.iter_lines())
        yield result
        if result.num_documents == 0:
            reasons = ", ".join(f"{reason} ({number})" for reason, number in {**result.skipped, **result.failed}.items())
            raise SourceError(
                f"whelp collect {collector.source}", f"no document was found: {reasons or 'nothing matches'}", "", ""
            )
    finally:
        client.close()
        journal.close()


def _nothing_to_finish(path: Path, found: str) -> SourceError:
    return SourceError(path, found, "documents for --finish to write", "Run the same command without --finish.")


def _collect(collector: Collector, out: str | Path, manners: Mapping[str, Any], **how: Any) -> CollectResult:
    draw = DrawCollecting(collector)
    events = iter_collect(collector, out, make_manners(manners), **how, wait=draw.wait)
    return run_to_end(watch(events, draw), CollectResult)


def collect_wikipedia(
    *,
    out: str | Path,
    search: str | Sequence[str] = (),
    titles: str | Sequence[str] = (),
    categories: str | Sequence[str] = (),
    links_of: str | Sequence[str] = (),
    starter_lists: str | Sequence[str] = (),
    language: str = "en",
    category_depth: int = 0,
    max_per_search: int = 10,
    base_url: str | None = None,
    max_documents: int | None = None,
    max_minutes: float | None = None,
    refresh: bool = False,
    finish: bool = False,
    **manners: Any,
) -> CollectResult:
    """Collect articles of a Wikipedia as plain text with their provenance.

    Args:
        out: The file: `.jsonl`, or `.txt` for text alone.
        search: Search words, each a search of its own.
        titles: Titles; redirects are followed.
        categories: Categories.
        links_of: Articles whose links are followed.
        starter_lists: Lists of ours: nature, people, inventions, places.
        language: Which Wikipedia.
        category_depth: How many levels of subcategories are entered.
        max_per_search: Most results of a search.
        base_url: Another MediaWiki.
        max_documents: Stop after so many.
        max_minutes: Stop after so much time, and write what there is.
        refresh: Ask for everything once more, and replace what has changed.
        finish: Ask for nothing: write what has been collected so far.
        manners: Fields of `MannersConfig`; `contact` must be given.

    Raises:
        ConfigError: When something given cannot be used, or the journal beside `out` is of another request.
        SourceError: When the wiki refuses, or nothing could be had.
    """
    check_packages("wikipedia")
    from whelp.collect.wikipedia import Wikipedia

    collector = Wikipedia(
        search=as_list(search),
        titles=as_list(titles),
        categories=as_list(categories),
        links_of=as_list(links_of),
        starter_lists=as_list(starter_lists),
        language=language,
        category_depth=category_depth,
        max_per_search=max_per_search,
        base_url=base_url,
    )
    return _collect(
        collector, out, manners, max_documents=max_documents, max_minutes=max_minutes, refresh=refresh, finish=finish
    )


def collect_britannica(
    *,
    out: str | Path,
    permission: str,
    search: str | Sequence[str] = (),
    articles: str | Sequence[str] = (),
    max_pages: int = 10,
    base_url: str | None = None,
    max_documents: int | None = None,
    max_minutes: float | None = None,
    refresh: bool = False,
    finish: bool = False,
    **manners: Any,
) -> CollectResult:
    """Collect articles of the Encyclopaedia Britannica, as far as its robots.txt allows.

    Args:
        out: The file: `.jsonl`, or `.txt` for text alone.
        permission: What permits you to collect its texts; it becomes their licence.
        search: Search words, each a search of its own.
        articles: Addresses of articles.
        max_pages: Most pages of results of a search.
        base_url: Another server that answers in the same way.
        max_documents: Stop after so many.
        max_minutes: Stop after so much time, and write what there is.
        refresh: Ask for everything once more, and replace what has changed.
        finish: Ask for nothing: write what has been collected so far.
        manners: Fields of `MannersConfig`; `contact` must be given.

    Raises:
        ConfigError: When something given cannot be used, or the journal beside `out` is of another request.
        SourceError: When the site refuses, or nothing could be had.
    """
    check_packages("britannica")
    from whelp.collect.britannica import Britannica

    collector = Britannica(
        permission=permission, search=as_list(search), articles=as_list(articles), max_pages=max_pages, base_url=base_url
    )
    return _collect(
        collector, out, manners, max_documents=max_documents, max_minutes=max_minutes, refresh=refresh, finish=finish
    )


def collect_youtube(
    *,
    out: str | Path,
    videos: str | Sequence[str] = (),
    playlists: str | Sequence[str] = (),
    channels: str | Sequence[str] = (),
    languages: str | Sequence[str] = ("en",),
    kind: Kind = "any",
    with_times: bool = False,
    only_creative_commons: bool = False,
    api_url: str | None = None,
    site_url: str | None = None,
    max_documents: int | None = None,
    max_minutes: float | None = None,
    refresh: bool = False,
    finish: bool = False,
    **manners: Any,
) -> CollectResult:
    """Collect transcripts of videos, one document a video. The key of the Data API is taken from YOUTUBE_API_KEY.

    Args:
        out: The file: `.jsonl`, or `.txt` for text alone.
        videos: Ids or addresses of videos; they alone can be had without a key.
        playlists: Ids or addresses of playlists.
        channels: Ids, handles or addresses of channels: all of their uploads.
        languages: In order of preference.
        kind: `any` (in each language manual before automatic), `manual` or `automatic`.
        with_times: A line for each snippet, with its time; else running text.
        only_creative_commons: Only videos under a Creative Commons licence.
        api_url: Another server that answers as the Data API.
        site_url: Another server that answers as YouTube.
        max_documents: Stop after so many.
        max_minutes: Stop after so much time, and write what there is.
        refresh: Ask for everything once more, and replace what has changed.
        finish: Ask for nothing: write what has been collected so far.
        manners: Fields of `MannersConfig`; `contact` must be given.

    Raises:
        ConfigError: When something given cannot be used, or the journal beside `out` is of another request.
        SourceError: When the key's quota is used up, YouTube refuses, or nothing could be had.
    """
    check_packages("youtube")
    from whelp.collect.youtube import YouTube

    collector = YouTube(
        videos=as_list(videos),
        playlists=as_list(playlists),
        channels=as_list(channels),
        languages=as_list(languages),
        kind=kind,
        with_times=with_times,
        only_creative_commons=only_creative_commons,
        api_url=api_url,
        site_url=site_url,
    )
    return _collect(
        collector, out, manners, max_documents=max_documents, max_minutes=max_minutes, refresh=refresh, finish=finish
    )


def collect_urls(
    *,
    out: str | Path,
    urls: str | Sequence[str] = (),
    sitemaps: str | Sequence[str] = (),
    sites: str | Sequence[str] = (),
    match: str | None = None,
    max_documents: int | None = None,
    max_minutes: float | None = None,
    refresh: bool = False,
    finish: bool = False,
    **manners: Any,
) -> CollectResult:
    """Collect the articles of pages of the web, as far as the robots.txt of each host allows.

    Args:
        out: The file: `.jsonl`, or `.txt` for text alone.
        urls: Addresses of pages.
        sitemaps: Addresses of sitemaps.
        sites: Addresses of sites: their sitemaps are those that robots.txt names, else /sitemap.xml.
        match: Of sitemaps, only addresses in which this regular expression is found.
        max_documents: Stop after so many.
        max_minutes: Stop after so much time, and write what there is.
        refresh: Ask for everything once more, and replace what has changed.
        finish: Ask for nothing: write what has been collected so far.
        manners: Fields of `MannersConfig`; `contact` must be given.

    Raises:
        ConfigError: When something given cannot be used, or the journal beside `out` is of another request.
        SourceError: When no host is left to ask, or nothing could be had.
    """
    check_packages("urls")
    from whelp.collect.urls import Urls

    collector = Urls(urls=as_list(urls), sitemaps=as_list(sitemaps), sites=as_list(sites), match=match)
    return _collect(
        collector, out, manners, max_documents=max_documents, max_minutes=max_minutes, refresh=refresh, finish=finish
    )
