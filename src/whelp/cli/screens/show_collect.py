"""What people see of a collection: a live line, then a table of what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import SpinnerColumn, TextColumn
from rich.table import Table

from whelp.base.counts import say_count
from whelp.cli.collect import CollectResumed
from whelp.cli.screens.show import LINE_SECONDS, can_draw, console, duration, make_bars, megabytes, printable, say

if TYPE_CHECKING:
    from whelp.cli.collect import CollectResult
    from whelp.collect import Collector, Event

_LONG_WAIT_SECONDS = 5.0


class CollectView:
    """A line that changes: counts, the newest title, and what is waited for."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last_line = time.monotonic()
        self._newest = ""
        self._progress = make_bars(SpinnerColumn(), TextColumn("[bold]collect[/]   "), TextColumn("{task.fields[text]}"))
        self._task = self._progress.add_task("collect", text="asking")
        self._progress.start()

    def close(self) -> None:
        """Stop drawing."""
        self._progress.stop()

    def show(self, event: Event | CollectResumed) -> None:
        """Draw what an address came to, or what was known before."""
        if isinstance(event, CollectResumed):
            self._counts.update(kept=event.num_documents, skipped=event.num_skipped)
            say(f"[bold]going on[/]   {say_count(event.num_documents, 'document')} known already")
            return
        self._counts[event.fate] += 1
        self._newest = event.name
        self._draw()
        if event.fate == "failed":
            say(f"[yellow]failed[/]     {escape(printable(event.name))}: {escape(event.reason)}")

    def wait(self, seconds: float, reason: str) -> None:
        """Pass the time; say so when it is long."""
        if reason:
            self._draw(f"waiting {duration(seconds)}: {reason}")
            if not can_draw() and seconds >= _LONG_WAIT_SECONDS:
                say(f"[dim]waiting    {duration(seconds)}: {escape(reason)}[/]")
        time.sleep(seconds)
        if reason:
            self._draw()

    def _draw(self, state: str = "") -> None:
        counts = ", ".join(f"{fate} {self._counts[fate]:,}" for fate in ("kept", "skipped", "failed"))
        text = escape(f"{counts}   {state or printable(self._newest)[:60]}")
        self._progress.update(self._task, text=text)
        now = time.monotonic()
        if not can_draw() and now - self._last_line > LINE_SECONDS:
            self._last_line = now
            say(f"[dim]collect    {text}[/]")


@contextmanager
def collect_view() -> Iterator[CollectView]:
    """A view that is closed whatever happens."""
    view = CollectView()
    try:
        yield view
    finally:
        view.close()


def say_notes(collector: Collector) -> None:
    """What people should know before anything is asked for."""
    say(f"[bold]asks[/]       {escape(', '.join(collector.hosts))} and no other host")
    for note in collector.notes:
        console.print(f"[yellow]note[/]       {escape(note)}", soft_wrap=True)


def show_collect_result(result: CollectResult) -> None:
    """The closing table: what was fetched, kept, skipped and failed, by reason."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    retried = f", {result.num_retries:,} of them again" if result.num_retries else ""
    table.add_row("[bold]fetched[/]", f"{result.num_requests:,}", f"requests{retried}; {megabytes(result.num_bytes)}")
    table.add_row("[bold]kept[/]", f"{result.num_documents:,}", "documents")
    for name, reasons in (("skipped", result.skipped), ("failed", result.failed)):
        table.add_row(f"[bold]{name}[/]", f"{sum(reasons.values()):,}", "")
        for reason, number in reasons.items():
            table.add_row("", f"{number:,}", escape(reason))
    console.print(table)
    if not result.is_finished:
        say("           [yellow]not finished[/]: the same command goes on; one with --finish writes what there is so far")
    if result.failed:
        say("           [yellow]the same command tries again what has failed[/]")
    say(f"[bold]journal[/]    {escape(result.file)}.journal")
