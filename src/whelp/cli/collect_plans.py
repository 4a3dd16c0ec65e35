"""What `whelp collect ...` is to collect: its collectors, made of what the user asks for, all mistakes said at once."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.errors import ConfigError, MissingExtraError, SourceError
from whelp.base.listed import listed

if TYPE_CHECKING:
    from whelp.collect import Collector


@dataclass(frozen=True, kw_only=True)
class CollectPlan:
    """What is to be collected.

    Attributes:
        source: The collector's name.
        collector: Finds and reads.
        hosts: Which hosts it may ask.
        asked: What the journal is of; another request may not go on with it.
        notes: What people should know before anything is asked for.
    """

    source: str
    collector: Collector
    hosts: Sequence[str]
    asked: Mapping[str, Any]
    notes: Sequence[str] = ()


def _check_extra(source: str, *packages: str) -> None:
    for package in ("httpx", "protego", *packages):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"whelp collect {source}", package, "collect")


def read_list(path: Path) -> list[str]:
    """The lines of a file that are neither empty nor comments (`# ...`)."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(path, f"not UTF-8 text (byte {error.start})", "a list, one entry a line") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def plan_wikipedia(
    *,
    search: str | Sequence[str] = (),
    titles: str | Sequence[str] = (),
    categories: str | Sequence[str] = (),
    links_of: str | Sequence[str] = (),
    starter_lists: str | Sequence[str] = (),
    language: str = "en",
    category_depth: int = 0,
    max_per_search: int = 10,
    base_url: str | None = None,
) -> CollectPlan:
    """Plan a collection of articles.

    Raises:
        ConfigError: When nothing is asked for, or values cannot be used.
    """
    _check_extra("wikipedia")
    from whelp.collect.addresses import host_of
    from whelp.collect.starter_lists import STARTER_LISTS
    from whelp.collect.wikipedia import Wikipedia

    search, titles, categories = listed(search), listed(titles), listed(categories)
    links_of, starter_lists = listed(links_of), listed(starter_lists)
    problems = [
        f"there is no starter list {name!r}: {', '.join(STARTER_LISTS)}" for name in starter_lists if name not in STARTER_LISTS
    ]
    if not re.fullmatch(r"[a-z][a-z0-9-]{1,30}", language):
        problems.append(f"language is {language!r}, but the code of a Wikipedia is expected: en, de, simple, zh-yue")
    if not (search or titles or categories or links_of or starter_lists):
        problems.append("nothing is asked for: give search words, titles, categories, links_of or starter_lists")
    if category_depth < 0 or max_per_search < 1:
        problems.append(
            f"category_depth is {category_depth}, max_per_search is {max_per_search}: at least 0 and 1 are expected"
        )
    if problems:
        raise ConfigError("whelp collect wikipedia", problems, "`whelp collect wikipedia --help` shows examples.")
    base_url = base_url or f"https://{language}.wikipedia.org"
    starters = [title for name in starter_lists for title in STARTER_LISTS[name]]
    asked = {
        "base_url": base_url,
        "language": language,
        "search": search,
        "titles": [*titles, *starters],
        "categories": categories,
        "category_depth": category_depth,
        "links_of": links_of,
        "max_per_search": max_per_search,
    }
    collector = Wikipedia(**asked)  # type: ignore[arg-type]  # of several types
    return CollectPlan(source="wikipedia", collector=collector, hosts=[host_of(base_url)], asked=asked)


def plan_britannica(
    *,
    permission: str,
    search: str | Sequence[str] = (),
    articles: str | Sequence[str] = (),
    max_pages: int = 10,
    base_url: str | None = None,
) -> CollectPlan:
    """Plan a collection of articles of the Encyclopaedia Britannica.

    Raises:
        ConfigError: When nothing is asked for, or nothing permits it.
    """
    _check_extra("britannica", "lxml")
    from whelp.collect.addresses import host_of
    from whelp.collect.britannica import SITE, TERMS, Britannica

    search, articles = listed(search), listed(articles)
    problems = []
    if not permission.strip():
        problems.append(
            f"permission is missing: the site's texts are under copyright, and its terms ({TERMS}) bind who collects them"
        )
    if not (search or articles):
        problems.append("nothing is asked for: give search words or articles")
    if max_pages < 1:
        problems.append(f"max_pages is {max_pages}, but at least 1 is expected")
    if problems:
        raise ConfigError("whelp collect britannica", problems, "`whelp collect britannica --help` shows an example.")
    base_url = (base_url or SITE).rstrip("/")
    asked = {
        "base_url": base_url,
        "search": search,
        "articles": articles,
        "max_pages": max_pages,
        "permission": permission,
    }
    notes = [
        f"robots.txt of {host_of(base_url)} is obeyed: what it closes is skipped, and counted.",
        f"The texts are under copyright, and the site's terms bind you: {TERMS}",
        f"You say that this permits the collection: {permission}",
    ]
    collector = Britannica(**asked)  # type: ignore[arg-type]  # of several types
    return CollectPlan(source="britannica", collector=collector, hosts=[host_of(base_url)], asked=asked, notes=notes)


def plan_youtube(
    *,
    videos: str | Sequence[str] = (),
    playlists: str | Sequence[str] = (),
    channels: str | Sequence[str] = (),
    languages: str | Sequence[str] = ("en",),
    kind: str = "any",
    with_times: bool = False,
    only_creative_commons: bool = False,
    api_url: str | None = None,
    site_url: str | None = None,
) -> CollectPlan:
    """Plan a collection of transcripts; the key is taken from the environment.

    Raises:
        ConfigError: When nothing is asked for, or a key is needed.
        MissingExtraError: When a package is missing.
    """
    _check_extra("youtube", "youtube_transcript_api")
    from whelp.collect.addresses import host_of
    from whelp.collect.transcripts import SITE
    from whelp.collect.youtube import API, KEY_NAME, YouTube, find_id

    videos, playlists, channels, languages = listed(videos), listed(playlists), listed(channels), listed(languages)
    key = os.environ.get(KEY_NAME) or None
    problems = []
    if not (videos or playlists or channels):
        problems.append("nothing is asked for: give videos, playlists or channels")
    if videos and not (playlists or channels) and not any(len(find_id(video, "v")) == 11 for video in videos):
        problems.append(f"{videos[0]!r} is no video: give its address, or the 11 letters of its id")
    if key is None and (playlists or channels or only_creative_commons):
        problems.append(f"{KEY_NAME} is not set, and only videos that are named can be collected without a key of the Data API")
    if kind not in ("any", "manual", "automatic"):
        problems.append(f"kind is {kind!r}, but any, manual or automatic is expected")
    if not languages:
        problems.append("languages is empty: give at least one, such as en")
    if problems:
        next_step = "`whelp collect youtube --help` shows examples."
        if any(KEY_NAME in problem for problem in problems):
            next_step = "A key is free: https://developers.google.com/youtube/v3/getting-started"
        raise ConfigError("whelp collect youtube", problems, next_step)
    asked = {
        "videos": videos,
        "playlists": playlists,
        "channels": channels,
        "languages": languages,
        "kind": kind,
        "with_times": with_times,
        "only_creative_commons": only_creative_commons,
        "api_url": api_url or API,
        "site_url": site_url or SITE,
    }
    collector = YouTube(**asked, key=key)  # type: ignore[arg-type]  # of several types
    notes = [
        "Transcripts come from the interface of YouTube's player. It is not offered to programs: YouTube's terms "
        "(https://www.youtube.com/t/terms) ask for permission, and its robots.txt closes it to crawlers. Collect what you may use.",
    ]
    if key is None:
        notes.append(f"Without {KEY_NAME} titles, channels, dates and licences stay unknown.")
    hosts = [host_of(str(asked["site_url"])), *([host_of(str(asked["api_url"]))] if key else [])]
    return CollectPlan(source="youtube", collector=collector, hosts=hosts, asked=asked, notes=notes)


def plan_urls(
    *,
    urls: str | Sequence[str] = (),
    sitemaps: str | Sequence[str] = (),
    sites: str | Sequence[str] = (),
    match: str | None = None,
) -> CollectPlan:
    """Plan a collection of pages. Hosts are those of the addresses, the sitemaps and the sites.

    Raises:
        ConfigError: When nothing is asked for, or no address is one.
    """
    _check_extra("urls", "trafilatura")
    from whelp.collect.addresses import host_of, normalise_url
    from whelp.collect.urls import Urls

    urls, sitemaps, sites = listed(urls), listed(sitemaps), listed(sites)
    problems = []
    if not (urls or sitemaps or sites):
        problems.append("nothing is asked for: give urls, sitemaps or sites")
    if match is not None:
        try:
            re.compile(match)
        except re.error as error:
            problems.append(f"match {match!r} is no regular expression: {error}")
    hosts: dict[str, None] = {}
    for url in [*urls, *sitemaps, *sites]:
        try:
            hosts[host_of(normalise_url(url))] = None
        except ValueError:
            if url in sitemaps or url in sites:
                problems.append(f"{url!r} is no address of the web")
    if urls and not hosts and not problems:
        problems.append("none of what is given is an address of the web (https://...)")
    if problems:
        raise ConfigError("whelp collect urls", problems, "`whelp collect urls --help` shows examples.")
    asked = {"urls": urls, "sitemaps": [normalise_url(url) for url in sitemaps], "match": match}
    if sites:
        asked["sites"] = [normalise_url(url) for url in sites]
    notes = [
        "robots.txt of each host is obeyed: what it closes is skipped, and counted. Whether you may use a text, its site says."
    ]
    collector = Urls(**asked)  # type: ignore[arg-type]  # of several types
    return CollectPlan(source="urls", collector=collector, hosts=list(hosts), asked=asked, notes=notes)
