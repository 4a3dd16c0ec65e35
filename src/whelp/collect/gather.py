"""The loop of every collector on the network: find items, read each once, write down what it came to."""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from whelp.base.errors import SourceError, say_first_line
from whelp.collect.answers import Answer, HostRefusesError, Look, NotFetched
from whelp.collect.client import Client
from whelp.collect.document import Document
from whelp.collect.journal import Fate, Journal, Validators
from whelp.collect.many_hosts import Readings


@dataclass(frozen=True, kw_only=True)
class Item:
    """Something to read.

    Attributes:
        key: Its one name; what is found twice under it is read once.
        name: What people are shown.
        host: Whom it is asked of, where a collector has several.
        values: What the collector wants to know again when it reads the item.
    """

    key: str
    name: str
    host: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What reading an item gives.

    Attributes:
        document: The document.
        key: What is the same when another address gives the same document.
        validators: For the next round's conditional request.
    """

    document: Document
    key: str
    validators: Validators = field(default_factory=Validators)


class Unchanged(Exception):
    """The server says that the document of the earlier round still stands."""


class Collector(Protocol):
    """A source of documents, made of what is asked of it.

    Attributes:
        source: Its name.
        is_of_many_hosts: Whether one that refuses leaves others to ask.
        hosts: Which hosts it may ask.
        asked: What its journal is of, as plain values; another request may not go on with it.
        notes: What people should know before anything is asked for.
    """

    @property
    def source(self) -> str: ...
    @property
    def is_of_many_hosts(self) -> bool: ...
    @property
    def hosts(self) -> Sequence[str]: ...
    @property
    def asked(self) -> Mapping[str, Any]: ...
    @property
    def notes(self) -> Sequence[str]: ...

    def iter_items(self, asking: Asking) -> Iterator[Item | NotFound]:
        """Find items, in an order that depends on the answers alone."""
        ...

    def read(self, item: Item, asking: Asking) -> Found:
        """Read one item; several at once, on threads, where there are many hosts.

        Raises:
            NotFetched: When it gives no document.
            Unchanged: When the document of the earlier round still stands.
        """
        ...


@dataclass(frozen=True)
class NotFound:
    """Something that was asked for and cannot be had: no item, or a list whose items remain unknown.

    Attributes:
        is_final: Whether asking again is in vain.
        is_refused: Whether our manners are why: a later run, with other manners, decides anew.
    """

    key: str
    name: str
    reason: str
    is_final: bool = True
    is_refused: bool = False

    @property
    def fate(self) -> Fate:
        """How it is counted."""
        return "skipped" if self.is_final or self.is_refused else "failed"


@dataclass(frozen=True)
class Event:
    """What an item came to, for the display."""

    name: str
    fate: Fate
    reason: str = ""
    num_characters: int = 0


class Asking:
    """What a collector asks with: the client, and the journal's memory of lists that were answered.

    Args:
        client: Asks hosts.
        journal: Remembers.
    """

    def __init__(self, client: Client, journal: Journal) -> None:
        self.client, self._journal = client, journal
        self._validators: dict[str, Validators] = {}

    def list(
        self, url: str, *, look: Look | None = None, obey_robots: bool = True, headers: dict[str, str] | None = None
    ) -> Answer:
        """Ask for a list: once in a round, so a collection that goes on finds the same items in the same order."""
        known = self._journal.find_answer(url)
        if known is not None and known[2]:
            return Answer(url=url, status=200, headers={}, body=known[0])
        conditions = known[1].headers() if known is not None else {}
        answer = self.client.fetch(url, look=look, obey_robots=obey_robots, headers={**(headers or {}), **conditions})
        if answer.status == 304 and known is not None:
            answer = Answer(url=url, status=200, headers=answer.headers, body=known[0])
        self._journal.keep_answer(url, answer.body, read_validators(answer))
        return answer

    def begin(self, item: Item) -> None:
        """Look up what `page` needs of the journal, which one thread alone may open."""
        self._validators[item.key] = self._journal.find_validators(item.key)

    def page(self, item: Item, url: str, *, look: Look | None = None, obey_robots: bool = True) -> Answer:
        """Ask for a page of an item, unless it is still as it was in the round before.

        Raises:
            Unchanged: When it is.
        """
        conditions = self._validators.pop(item.key, Validators()).headers()
        answer = self.client.fetch(url, headers=conditions, look=look, obey_robots=obey_robots)
        if answer.status == 304:
            raise Unchanged
        return answer


def read_validators(answer: Answer) -> Validators:
    """What an answer gives for the next conditional request."""
    return Validators(answer.headers.get("etag"), answer.headers.get("last-modified"))


def gather_documents(
    collector: Collector,
    asking: Asking,
    journal: Journal,
    *,
    max_documents: int | None = None,
    max_seconds: float | None = None,
    clock: Callable[[], float] = time.time,
) -> Iterator[Event]:
    """Collect; yield what each item comes to, as it is written down. Items of an earlier run are not read again.

    Where there are several hosts, one page of each is asked for at once; what the journal knows in the end does not depend on
    who answers first.

    Items that have failed before are tried again. After `max_seconds` it stops unfinished. Whatever ends the loop, the journal
    knows all that was yielded.

    Raises:
        HostRefusesError: When no host is left to ask.
    """
    latest = None if max_seconds is None else time.monotonic() + max_seconds
    window = _WINDOW if collector.is_of_many_hosts and max_documents is None else 1  # the first N are the first N found
    readings: Readings[_Reading] = Readings(asking.client.config.max_hosts_at_once if window > 1 else 1)
    numbered = _number(collector, asking)
    waiting: list[tuple[int, Item]] = []
    num_kept, is_more, is_late = 0, True, False
    journal.mark("begun")
    journal.forget_failures()
    while max_documents is None or num_kept < max_documents:
        while is_more and len(waiting) < window:
            position, entry = next(numbered, (-1, None))
            if entry is None:
                is_more = False
            elif (done := journal.find_fate(entry.key)) is not None:
                journal.place(entry.key, position)
                num_kept += done == "kept"
            elif isinstance(entry, NotFound):
                journal.record(entry.key, position, entry.fate, entry.reason, is_final=entry.is_final)
                yield Event(entry.name, entry.fate, entry.reason)
            else:
                waiting.append((position, entry))
            if max_documents is not None and num_kept >= max_documents:
                waiting.clear()
                is_more = False
        is_late = latest is not None and time.monotonic() > latest
        if not readings.hosts and (is_late or not waiting):
            break
        place, seconds = _find_next(waiting, readings.hosts, asking.client)
        if place is None or is_late or not readings.has_room or (readings.hosts and seconds > 0):
            reading = readings.next_result(None if place is None or is_late or not readings.has_room else seconds)
        else:
            position, item = waiting.pop(place)
            asking.begin(item)
            work = functools.partial(_read, collector, item, position, asking)
            if window == 1:
                reading = work()
            else:
                readings.start(item.host, work)
                continue
        if reading is not None:
            event = _settle(reading, collector, asking, journal, clock)
            num_kept += event.fate == "kept"
            yield event
    if not (is_late and (waiting or is_more)):
        journal.mark("finished")


_WINDOW = 256  # items among which one is looked for whose host need not be waited for


@dataclass(frozen=True)
class _Reading:
    """What reading an item came to."""

    item: Item
    position: int
    outcome: Found | Exception


def _find_next(waiting: list[tuple[int, Item]], busy: set[str], client: Client) -> tuple[int | None, float]:
    """The first item whose host is free soonest, of those that are not asked right now; and how soon that is."""
    seconds = {item.host: 0.0 for _, item in waiting if item.host not in busy}
    seconds = {host: client.seconds_until_free(host) for host in seconds}
    if not seconds:
        return None, 0.0
    host = min(seconds, key=seconds.__getitem__)  # of several, the one that was found first
    return next(place for place, (_, item) in enumerate(waiting) if item.host == host), seconds[host]


def _read(collector: Collector, item: Item, position: int, asking: Asking) -> _Reading:
    """Read an item, perhaps on another thread: nothing is written down here."""
    try:
        found = collector.read(item, asking)
        _check_types(found.document)
    except (Unchanged, NotFetched, HostRefusesError, *_ODD) as problem:
        return _Reading(item, position, problem)
    return _Reading(item, position, found)


def _number(collector: Collector, asking: Asking) -> Iterator[tuple[int, Item | NotFound]]:
    """Number what is found, each once."""
    seen: set[str] = set()
    for entry in _iter_entries(collector, asking):
        if entry.key not in seen:
            seen.add(entry.key)
            yield len(seen) - 1, entry


_ODD = (LookupError, TypeError, AttributeError, ValueError)  # what answers of another form than known end in


def _iter_entries(collector: Collector, asking: Asking) -> Iterator[Item | NotFound]:
    """Find items; a list of another form than known is said to be one."""
    entries = collector.iter_items(asking)
    while True:
        try:
            entry = next(entries, None)
        except _ODD as error:
            raise SourceError(
                "a list", f"the answer is not understood ({say_first_line(error, with_kind=True)})", "", "Has the site changed?"
            ) from error
        if entry is None:
            return
        key = entry.key.encode("utf-8", "replace").decode()  # JSON may hold halves of characters, which no file can
        yield entry if key == entry.key else replace(entry, key=key)


def _settle(reading: _Reading, collector: Collector, asking: Asking, journal: Journal, clock: Callable[[], float]) -> Event:
    """Write down what reading an item came to."""
    entry, position, found = reading.item, reading.position, reading.outcome
    if isinstance(found, Unchanged):
        journal.keep_earlier(entry.key, position)
        return Event(entry.name, "kept")
    if isinstance(found, NotFetched):
        return _miss(entry, position, found, journal)
    if isinstance(found, HostRefusesError):
        if not collector.is_of_many_hosts or asking.client.is_given_up():
            raise found
        return _miss(entry, position, NotFetched(found.found, is_final=False), journal)
    if isinstance(found, Exception):
        odd = NotFetched(f"the answer is not understood ({type(found).__name__})", is_final=False)
        return _miss(entry, position, odd, journal)
    fetched = datetime.datetime.fromtimestamp(clock(), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = replace(found.document, fetched=fetched)
    fate = journal.record(entry.key, position, "kept", document=document, document_key=found.key, validators=found.validators)
    return Event(document.title or entry.name, fate, "", len(document.text))


def _check_types(document: Document) -> None:
    """A column of a file holds one type: what an answer gave of another is odd."""
    for name, value in vars(document).items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} is {value!r}")


def _miss(item: Item, position: int, problem: NotFetched, journal: Journal) -> Event:
    """Write down that an item gives no document now; one that it gave in an earlier round stays, unless it is gone for good."""
    if not problem.is_final and journal.keep_earlier(item.key, position, problem.reason):
        return Event(item.name, "failed", problem.reason)
    journal.record(item.key, position, problem.fate, problem.reason, is_final=problem.is_final)
    return Event(item.name, problem.fate, problem.reason)


def list_problem(url: str, name: str, problem: NotFetched) -> NotFound:
    """A list that could not be had: what it would have named is missing, which is counted."""
    return NotFound(
        f"list {url}", name, f"list: {problem.reason}", is_final=problem.is_final, is_refused=problem.fate == "skipped"
    )
