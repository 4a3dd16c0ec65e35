"""`whelp collect wikipedia|britannica|youtube|urls`: wiring of the collectors of the network.

A collection is one file of documents and, beside it, its journal: `x.jsonl` and `x.jsonl.journal`. The same command goes on
where a killed one stopped, tries again what has failed, and does nothing where nothing is left to do.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.config import load_config
from whelp.base.errors import MissingExtraError, SourceError

if TYPE_CHECKING:
    from whelp.collect import Collector, Event, MannersConfig
    from whelp.collect.client import Wait


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


@dataclass(frozen=True, kw_only=True)
class CollectResult:
    """What a collection came to.

    Attributes:
        out: The file; it is written when the collection is finished.
        is_finished: Whether everything was asked for.
        kept: Documents.
        skipped: What gave no document and never will, counted by reason.
        failed: What may be had another time, counted by reason: the same command tries again.
        requests: Requests of this run; none where all was known.
        retries: How many of them were asked again.
        bytes: What was received.
        seconds_waited: Time between requests.
    """

    out: str
    is_finished: bool
    kept: int
    skipped: dict[str, int]
    failed: dict[str, int]
    requests: int
    retries: int
    bytes: int
    seconds_waited: float


def make_manners(values: Mapping[str, Any]) -> MannersConfig:
    """Read the manners from keyword arguments; what is None has its default."""
    from whelp.collect.config import MannersConfig

    given = {name: value for name, value in values.items() if value is not None}
    return load_config(MannersConfig, {"contact": "", **given}, "collect")


def iter_collect(
    plan: CollectPlan,
    out: str | Path,
    manners: MannersConfig,
    *,
    max_documents: int | None = None,
    refresh: bool = False,
    finish: bool = False,
    wait: Wait | None = None,
) -> Iterator[Event | CollectResult]:
    """Collect; yield what each address comes to, at the end (also one that an error makes) the result.

    Args:
        max_documents: Stop after so many documents.
        refresh: Ask for everything once more, and replace what has changed.
        finish: Ask for nothing: write what has been collected so far.
        wait: Passes the time between requests: called with seconds and a reason.

    Raises:
        ConfigError: When the journal beside `out` is of another request.
        SourceError: When no host is left to ask, or nothing at all could be had.
    """
    import whelp

    try:
        from whelp.collect.client import Client
        from whelp.collect.gather import Asking, gather_documents
        from whelp.collect.journal import Journal
        from whelp.collect.output import check_output, write_output
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"whelp collect {plan.source}", str(error.name), "collect") from None

    path = Path(out)
    check_output(path)
    journal = Journal(path.with_name(f"{path.name}.journal"), {"source": plan.source, **plan.asked})
    client = Client(
        config=manners,
        agent=f"whelp/{whelp.__version__}",
        hosts=plan.hosts,
        wait=wait or (lambda seconds, reason: time.sleep(seconds)),
    )

    def sum_up(is_finished: bool) -> CollectResult:
        kept, skipped, failed = journal.count()
        traffic = dataclasses.asdict(client.traffic)
        return CollectResult(out=str(path), is_finished=is_finished, kept=kept, skipped=skipped, failed=failed, **traffic)

    try:
        if refresh and journal.is_finished:
            journal.begin_round()
        if not finish:
            try:
                yield from gather_documents(plan.collector, Asking(client, journal), journal, max_documents=max_documents)
            except SourceError:
                yield sum_up(is_finished=False)
                raise
        result = sum_up(is_finished=journal.is_finished)
        if result.kept:
            write_output(path, journal.iter_lines())
        yield result
        if result.kept == 0:
            reasons = ", ".join(f"{reason} ({number})" for reason, number in {**result.skipped, **result.failed}.items())
            raise SourceError(f"whelp collect {plan.source}", f"no document was found: {reasons or 'nothing matches'}", "", "")
    finally:
        client.close()
        journal.close()


def read_list(path: Path) -> list[str]:
    """The lines of a file that are neither empty nor comments (`# ...`)."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(path, f"not UTF-8 text (byte {error.start})", "a list, one entry a line") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _collect(plan: CollectPlan, out: str | Path, manners: Mapping[str, Any], **how: Any) -> CollectResult:
    result = None
    for event in iter_collect(plan, out, make_manners(manners), **how):
        if isinstance(event, CollectResult):
            result = event
    assert result is not None, "a collection ends with its result"
    return result


def plan_wikipedia(
    *,
    search: Sequence[str] = (),
    titles: Sequence[str] = (),
    categories: Sequence[str] = (),
    links_of: Sequence[str] = (),
    starter_lists: Sequence[str] = (),
    language: str = "en",
    category_depth: int = 0,
    max_per_search: int = 10,
    base_url: str | None = None,
) -> CollectPlan:
    """Plan a collection of articles.

    Raises:
        ConfigError: When nothing is asked for, or values cannot be used.
    """
    import re

    from whelp.base.errors import ConfigError
    from whelp.collect.addresses import host_of
    from whelp.collect.starter_lists import STARTER_LISTS
    from whelp.collect.wikipedia import Wikipedia

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
    listed = [title for name in starter_lists for title in STARTER_LISTS[name]]
    asked = {
        "base_url": base_url,
        "language": language,
        "search": list(search),
        "titles": [*titles, *listed],
        "categories": list(categories),
        "category_depth": category_depth,
        "links_of": list(links_of),
        "max_per_search": max_per_search,
    }
    collector = Wikipedia(**asked)  # type: ignore[arg-type]
    return CollectPlan(source="wikipedia", collector=collector, hosts=[host_of(base_url)], asked=asked)


def collect_wikipedia(
    *,
    out: str | Path,
    search: Sequence[str] = (),
    titles: Sequence[str] = (),
    categories: Sequence[str] = (),
    links_of: Sequence[str] = (),
    starter_lists: Sequence[str] = (),
    language: str = "en",
    category_depth: int = 0,
    max_per_search: int = 10,
    base_url: str | None = None,
    max_documents: int | None = None,
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
        refresh: Ask for everything once more, and replace what has changed.
        finish: Ask for nothing: write what has been collected so far.
        manners: Fields of `MannersConfig`; `contact` must be given.

    Raises:
        ConfigError: When something given cannot be used, or the journal beside `out` is of another request.
        SourceError: When the wiki refuses, or nothing could be had.
    """
    plan = plan_wikipedia(
        search=search,
        titles=titles,
        categories=categories,
        links_of=links_of,
        starter_lists=starter_lists,
        language=language,
        category_depth=category_depth,
        max_per_search=max_per_search,
        base_url=base_url,
    )
    return _collect(plan, out, manners, max_documents=max_documents, refresh=refresh, finish=finish)
