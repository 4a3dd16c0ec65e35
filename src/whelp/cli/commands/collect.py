"""The commands `whelp collect ...` of sources on the network: names, options and help.

Annotations are not put off here, as in other files: `collecting` builds the signature that typer reads.
"""

import functools
import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whelp.cli.commands.options import AsJson
from whelp.cli.usage import Commands

if TYPE_CHECKING:
    from whelp.collect import Collector

collect_app = Commands(help="Collect text from the web and from files into JSON lines that say where each document is from.")

_MANNERS = "Manners"
Out = Annotated[Path, typer.Option(metavar="FILE", help="Where it goes: .jsonl, or .txt for text alone.")]
Contact = Annotated[
    str | None,
    typer.Option(
        metavar="MAIL|URL", help="Where site owners reach you; part of every request. Needed.", envvar="WHELP_CONTACT"
    ),
]
MaxDocuments = Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after so many documents.")]
MaxMinutes = Annotated[
    float | None, typer.Option(metavar="N", min=0, help="Stop after so much time, and write what there is; run again to go on.")
]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Ask once more for what was collected, and replace what has changed since.")
]
Finish = Annotated[bool, typer.Option("--finish", help="Ask for nothing: write what has been collected so far.")]
BaseUrl = Annotated[str | None, typer.Option(metavar="URL", help="Another server that answers in the same way.")]
Delay = Annotated[
    float | None,
    typer.Option(metavar="S", help="Least time between two requests to a host. Default: 1.", rich_help_panel=_MANNERS),
]
MaxRetries = Annotated[
    int | None,
    typer.Option(metavar="N", help="How often a request is tried again. Default: 5.", rich_help_panel=_MANNERS),
]
BackOff = Annotated[
    float | None,
    typer.Option(metavar="S", help="Wait before the first retry; it doubles with each. Default: 2.", rich_help_panel=_MANNERS),
]
MaxWait = Annotated[
    float | None,
    typer.Option(metavar="S", help="Longest wait that a host may ask for. Default: 300.", rich_help_panel=_MANNERS),
]
Timeout = Annotated[
    float | None, typer.Option(metavar="S", help="Longest silence of a host. Default: 30.", rich_help_panel=_MANNERS)
]
MaxHosts = Annotated[
    int | None,
    typer.Option(metavar="N", help="Hosts asked at once, each for one page at a time. Default: 8.", rich_help_panel=_MANNERS),
]
MaxPageBytes = Annotated[
    int | None,
    typer.Option(metavar="N", help="Largest answer, after unpacking. Default: 10000000.", rich_help_panel=_MANNERS),
]
MaxPageSeconds = Annotated[
    float | None,
    typer.Option(metavar="S", help="Longest time to find the text of a page. Default: 60.", rich_help_panel=_MANNERS),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST", help="A further host that redirects may lead to; repeatable.", rich_help_panel=_MANNERS),
]
AllowPrivate = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST", help="A host that may have a private address (your own server); repeatable.", rich_help_panel=_MANNERS
    ),
]


@collect_app.callback()
def _group() -> None:
    """Collect text from the web and from files into JSON lines that say where each document is from."""


def collecting(make: Callable[..., "Collector"]) -> Callable[..., None]:
    """Make a command of a function that makes a collector: it gets the options that all collections share, those of `_run`."""
    own = inspect.signature(make)
    shared = [parameter for name, parameter in inspect.signature(_run).parameters.items() if name != "collector"]

    @functools.wraps(make)
    def command(**values: Any) -> None:
        given = {parameter.name: values.pop(parameter.name) for parameter in shared}
        _run(make(**values), **given)

    needed = [parameter for parameter in shared if parameter.default is inspect.Parameter.empty]
    others = [parameter for parameter in shared if parameter.default is not inspect.Parameter.empty]
    parameters = [*needed, *own.parameters.values(), *others]
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # read by `inspect`
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _run(
    collector: "Collector",
    out: Out,
    contact: Contact = None,
    max_documents: MaxDocuments = None,
    max_minutes: MaxMinutes = None,
    refresh: Refresh = False,
    finish: Finish = False,
    delay_seconds: Delay = None,
    max_retries: MaxRetries = None,
    back_off_seconds: BackOff = None,
    max_wait_seconds: MaxWait = None,
    timeout_seconds: Timeout = None,
    max_hosts_at_once: MaxHosts = None,
    max_page_bytes: MaxPageBytes = None,
    max_page_seconds: MaxPageSeconds = None,
    allow_host: AllowHost = None,
    allow_private: AllowPrivate = None,
    as_json: AsJson = False,
) -> None:
    from whelp.base.last_event import run_to_end
    from whelp.cli.collect import CollectResult, iter_collect, make_manners
    from whelp.cli.screens import show
    from whelp.cli.screens.draw_events import DrawCollecting, drawn

    manners = make_manners(
        {
            "contact": contact,
            "delay_seconds": delay_seconds,
            "max_retries": max_retries,
            "back_off_seconds": back_off_seconds,
            "max_wait_seconds": max_wait_seconds,
            "timeout_seconds": timeout_seconds,
            "max_hosts_at_once": max_hosts_at_once,
            "max_page_bytes": max_page_bytes,
            "max_page_seconds": max_page_seconds,
            "allow_hosts": allow_host,
            "allow_private": allow_private,
        }
    )
    draw = DrawCollecting(collector)
    limits: dict[str, Any] = {"max_documents": max_documents, "max_minutes": max_minutes}
    events = iter_collect(collector, out, manners, **limits, refresh=refresh, finish=finish, wait=draw.wait)
    result = run_to_end(drawn(events, draw), CollectResult)
    if as_json:  # not where an error ends it: then standard output stays empty
        show.print_json(result)


@collect_app.command()
@collecting
def wikipedia(
    search: Annotated[list[str] | None, typer.Option(metavar="WORDS", help="Articles that a search finds; repeatable.")] = None,
    title: Annotated[
        list[str] | None, typer.Option(metavar="TITLE", help="An article; redirects are followed; repeatable.")
    ] = None,
    titles_from: Annotated[Path | None, typer.Option(metavar="LIST", help="A file with a title on each line.")] = None,
    category: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Articles of a category; repeatable.")] = None,
    category_depth: Annotated[int, typer.Option(metavar="N", min=0, help="Enter so many levels of subcategories.")] = 0,
    links_of: Annotated[
        list[str] | None, typer.Option(metavar="TITLE", help="Articles that an article links to; repeatable.")
    ] = None,
    starter_list: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A list of ours: nature, people, inventions, places; repeatable.")
    ] = None,
    language: Annotated[str, typer.Option(metavar="CODE", help="Which Wikipedia: en, de, ja, simple, ...")] = "en",
    max_per_search: Annotated[int, typer.Option(metavar="N", min=1, help="Most results of each search.")] = 10,
    base_url: BaseUrl = None,
) -> "Collector":
    """Articles of Wikipedia as plain text, through its API, one at a time. Killed or interrupted, the same command goes on.

    Example:
      whelp collect wikipedia --search "sled dog" --title Wolf \\
        --contact me@example.org --out dogs.jsonl

    Another:
      whelp collect wikipedia --category Hunde --language de \\
        --contact me@example.org --out hunde.jsonl
    """
    from whelp.cli.collect import check_packages
    from whelp.cli.given_files import read_list

    check_packages("wikipedia")
    from whelp.collect.wikipedia import Wikipedia

    return Wikipedia(
        search=search or [],
        titles=[*(title or []), *(read_list(titles_from) if titles_from else [])],
        categories=category or [],
        links_of=links_of or [],
        starter_lists=starter_list or [],
        language=language,
        category_depth=category_depth,
        max_per_search=max_per_search,
        base_url=base_url,
    )


@collect_app.command()
@collecting
def britannica(
    permission: Annotated[
        str, typer.Option(metavar="TEXT", help="What permits you to collect its texts; becomes their licence. Needed.")
    ] = "",
    search: Annotated[list[str] | None, typer.Option(metavar="WORDS", help="Articles that a search finds; repeatable.")] = None,
    article: Annotated[list[str] | None, typer.Option(metavar="URL", help="An article; repeatable.")] = None,
    max_pages: Annotated[int, typer.Option(metavar="N", min=1, help="Most pages of results of each search.")] = 10,
    base_url: BaseUrl = None,
) -> "Collector":
    """Articles of the Encyclopaedia Britannica, as far as its robots.txt allows. They are under copyright.

    Example:
      whelp collect britannica --search whales \\
        --permission "letter of 3 May 2026" --contact me@example.org \\
        --out whales.jsonl
    """
    from whelp.cli.collect import check_packages

    check_packages("britannica")
    from whelp.collect.britannica import Britannica

    return Britannica(
        permission=permission, search=search or [], articles=article or [], max_pages=max_pages, base_url=base_url
    )


class TranscriptName(Enum):
    """Who has written a transcript."""

    any = "any"
    manual = "manual"
    automatic = "automatic"


@collect_app.command()
@collecting
def youtube(
    video: Annotated[list[str] | None, typer.Option(metavar="ID|URL", help="A video; repeatable.")] = None,
    playlist: Annotated[list[str] | None, typer.Option(metavar="ID|URL", help="Videos of a playlist; repeatable.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(metavar="ID|@HANDLE|URL", help="All uploads of a channel; repeatable.")
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Of the transcript; repeatable, in order of preference. Default: en."),
    ] = None,
    kind: Annotated[
        TranscriptName, typer.Option(help="In each language: manual before automatic (any), or only one of them.")
    ] = TranscriptName.any,
    times: Annotated[
        bool, typer.Option("--times", help="A line for each snippet, with its time. Default: running text.")
    ] = False,
    only_creative_commons: Annotated[
        bool, typer.Option("--only-creative-commons", help="Only videos under a Creative Commons licence.")
    ] = False,
    api_url: Annotated[str | None, typer.Option(metavar="URL", help="Another server that answers as the Data API.")] = None,
    site_url: Annotated[str | None, typer.Option(metavar="URL", help="Another server that answers as YouTube.")] = None,
) -> "Collector":
    """Transcripts of videos, one document a video. Channels and playlists need a key of the Data API in YOUTUBE_API_KEY.

    Example:
      whelp collect youtube --video GJLlxj_dtq8 --language de --language en \\
        --contact me@example.org --out talk.jsonl

    Another:
      whelp collect youtube --channel @somebody --only-creative-commons \\
        --contact me@example.org --out talks.jsonl
    """
    from whelp.cli.collect import check_packages

    check_packages("youtube")
    from whelp.collect.youtube import YouTube

    return YouTube(
        videos=video or [],
        playlists=playlist or [],
        channels=channel or [],
        languages=language or ["en"],
        kind=kind.value,
        with_times=times,
        only_creative_commons=only_creative_commons,
        api_url=api_url,
        site_url=site_url,
    )


@collect_app.command()
@collecting
def urls(
    url: Annotated[list[str] | None, typer.Option(metavar="URL", help="A page; repeatable.")] = None,
    urls_from: Annotated[Path | None, typer.Option(metavar="LIST", help="A file with an address on each line.")] = None,
    sitemap: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Pages of a sitemap, or of a sitemap of sitemaps; repeatable.")
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="Pages of the sitemaps that the robots.txt of a site names, else of /sitemap.xml; repeatable."
        ),
    ] = None,
    match: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Of sitemaps, only addresses in which this is found.")
    ] = None,
) -> "Collector":
    """Articles of pages of the web, without menus and adverts, as far as the robots.txt of each host allows.

    Example:
      whelp collect urls --urls-from addresses.txt --contact me@example.org \\
        --out pages.jsonl

    Another:
      whelp collect urls --site https://example.org --match /blog/ \\
        --contact me@example.org --out blog.jsonl
    """
    from whelp.cli.collect import check_packages
    from whelp.cli.given_files import read_list

    check_packages("urls")
    from whelp.collect.urls import Urls

    listed = read_list(urls_from) if urls_from else []
    return Urls(urls=[*(url or []), *listed], sitemaps=sitemap or [], sites=site or [], match=match)
