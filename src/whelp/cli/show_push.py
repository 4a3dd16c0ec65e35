"""What `whelp push` shows: the files that go to a hub, what their card says, and where they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from whelp.base.counts import say_bytes, say_count
from whelp.cli.push_hub import REPLACED, UNCHANGED
from whelp.cli.show import console, printable, say

if TYPE_CHECKING:
    from whelp.cli.push import Pushed, PushPlanned, PushResult

_MOST_FILES = 20
_SHOWN_SECTIONS = ("What it was trained on", "What is in it", "License", "Licenses")
_STYLES = {REPLACED: "yellow", UNCHANGED: "dim"}


def show_push_event(event: PushPlanned | Pushed) -> None:
    """Show the plan, or the end; let the hub's library draw its bars in between, on a terminal."""
    from whelp.cli.push import PushPlanned, show_library_bars

    if isinstance(event, PushPlanned):
        _show_plan(event.plan)
        if console.is_terminal and not event.plan.is_dry_run:
            show_library_bars(True)
    else:
        _show_end(event.result)


def _show_plan(plan: PushResult) -> None:
    say(
        f"[bold]{plan.repository:<10}[/] {escape(plan.url)}, branch {escape(plan.revision)}: {_describe_place(plan)}",
        wraps=False,
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    title = "[bold]files[/]     "
    for one in plan.contents[:_MOST_FILES]:
        style = _STYLES.get(one.change, "default")
        table.add_row(title, escape(printable(one.file)), say_bytes(one.num_bytes), f"[{style}]{one.change}[/]")
        title = ""
    console.print(table)
    more = len(plan.contents) - _MOST_FILES
    if more > 0:
        say(f"           [dim]... {more:,} more with --json[/]")
    total = sum(one.num_bytes for one in plan.contents)
    sent = sum(one.num_bytes for one in plan.contents if one.change != UNCHANGED)
    say(f"           {say_count(len(plan.contents), 'file')}, {say_bytes(total)}, of which {say_bytes(sent)} are to be sent")
    if plan.others:
        say(f"           [dim]left as it stands there: {say_count(len(plan.others), 'other file')}[/]")
    if plan.is_dry_run:
        _show_card(plan.card)
    else:
        say(f"[bold]card[/]       license: {escape(plan.license or 'none is named')}")


def _describe_place(plan: PushResult) -> str:
    """Whether it is there, and who sees it."""
    there = {None: "not asked", True: "new", False: "there already"}[plan.is_new]
    seen = {None: "public, unless its owner's settings say otherwise", True: "private", False: "public"}[plan.is_private]
    return f"{there}, {seen}"


def _show_card(card: str) -> None:
    """What a stranger reads first: the head, and the sections on the data and the license."""
    _, _, rest = card.partition("---\n")
    head, _, body = rest.partition("\n---")
    say("[bold]card[/]")
    for line in head.splitlines():
        say(f"           [dim]{escape(printable(line))}[/]", wraps=False)
    for section in re.split(r"^## ", body, flags=re.MULTILINE)[1:]:
        name, _, text = section.partition("\n")
        if name in _SHOWN_SECTIONS:
            say(f"           [bold]{name}[/]")
            for line in text.strip().splitlines():
                say(f"           {escape(printable(line))}", wraps=False)
    say("           [dim]all of it is `card` with --json[/]")


def _show_end(result: PushResult) -> None:
    if result.is_dry_run:
        replaced = sum(one.change == REPLACED for one in result.contents)
        needs = f"; {say_count(replaced, 'file')} there would be replaced, which needs --replace" if replaced else ""
        say(f"[bold]dry run[/]    nothing was sent{needs}")
    elif result.commit is None:
        say(f"[bold]pushed[/]     nothing: all of it is at {escape(result.url)} already", wraps=False)
    else:
        seen = "private" if result.is_private else "public"
        say(f"[bold]pushed[/]     {escape(result.url)} ({seen}, commit {result.commit[:8]})", wraps=False)
