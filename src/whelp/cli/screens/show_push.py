"""What `whelp push` shows: the files that go to a hub, what their card says, and where they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from whelp.base.counts import say_bytes, say_count
from whelp.base.hub_repository import REMOVED, REPLACED, UNCHANGED
from whelp.cli.screens.show import can_draw, console, printable, say

if TYPE_CHECKING:
    from whelp.cli.push import Pushed, PushPlanned, PushResult

_MOST_FILES = 20
_INDENT = 11  # as deep as other lines begin
_SHOWN_SECTIONS = ("What it was trained on", "What is in it", "License", "Licenses")
_STYLES = {REPLACED: "yellow", REMOVED: "yellow", UNCHANGED: "dim"}


def show_push_event(event: PushPlanned | Pushed) -> None:
    """Show the plan, or the end; let the hub's library draw its bars in between, on a terminal."""
    from whelp.cli.push import PushPlanned, show_library_bars

    if isinstance(event, PushPlanned):
        _show_plan(event.plan)
        if can_draw() and not event.plan.is_dry_run:
            show_library_bars(True)
    else:
        _show_end(event.result)


def _show_plan(plan: PushResult) -> None:
    say(f"[bold]{plan.repository:<10}[/] {escape(plan.url)}", wraps=False)
    say(f"           branch {escape(plan.revision)}: {_describe_place(plan)}", wraps=False)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for one in sorted(plan.contents, key=lambda one: one.change == UNCHANGED)[:_MOST_FILES]:
        style = _STYLES.get(one.change, "default")
        change = "" if plan.is_new is None else f"[{style}]{one.change}[/]"
        table.add_row(escape(printable(one.file)), say_bytes(one.num_bytes), change)
    kept = [one for one in plan.contents if one.change != REMOVED]
    sent = sum(one.num_bytes for one in kept if one.change != UNCHANGED)
    part = f"of which {say_bytes(sent)} are to be sent" if sent else "all of it is there already"
    num_bytes = say_bytes(sum(one.num_bytes for one in kept))
    say(f"[bold]files[/]      {say_count(len(kept), 'file')}, {num_bytes}, {part}")
    console.print(Padding(table, (0, 0, 0, _INDENT), expand=False))
    more = len(plan.contents) - _MOST_FILES
    if more > 0:
        say(f"           [dim]and {say_count(more, 'more file')}: all of them with --json[/]")
    if plan.others:
        say(f"           [dim]left as it stands there: {say_count(len(plan.others), 'other file')}[/]")
    if plan.is_dry_run:
        _show_card(plan.card)
    else:
        say(f"[bold]card[/]       license: {escape(plan.license or 'none is named')}")


def _describe_place(plan: PushResult) -> str:
    """Whether it is there, and who sees it."""
    if plan.is_new is None:
        return "the hub was not asked what stands there"
    seen = {None: "public, unless its owner's settings say otherwise", True: "private", False: "public"}[plan.is_private]
    return f"{'new' if plan.is_new else 'there already'}, {seen}"


def _show_card(card: str) -> None:
    """What a stranger reads first: the head, and the sections on the data and the license."""
    _, _, rest = card.partition("---\n")
    head, _, body = rest.partition("\n---")
    say("[bold]card[/]")
    for line in head.splitlines():
        _say_indented(line, style="dim")
    for section in re.split(r"^## ", body, flags=re.MULTILINE)[1:]:
        name, _, text = section.partition("\n")
        if name in _SHOWN_SECTIONS:
            _say_indented(name, style="bold")
            for line in text.strip().splitlines():
                _say_indented(line)
    say("           [dim]all of it is `card` with --json[/]")


def _say_indented(line: str, style: str = "") -> None:
    """A line of the card below the others, wrapped where the terminal ends."""
    console.print(Padding(Text(printable(line), style=style), (0, 0, 0, _INDENT), expand=False))


def _show_end(result: PushResult) -> None:
    if result.is_dry_run:
        counts = {change: sum(one.change == change for one in result.contents) for change in (REPLACED, REMOVED)}
        needs = [f"{say_count(count, 'file')} there would be {change}" for change, count in counts.items() if count]
        say(
            f"[bold]dry run[/]    nothing was sent{'; ' * bool(needs)}{', '.join(needs)}{', which needs --replace' * bool(needs)}"
        )
    elif result.commit is None:
        say(f"[bold]pushed[/]     nothing: all of it is at {escape(result.url)} already", wraps=False)
    else:
        seen = "private" if result.is_private else "public"
        say(f"[bold]pushed[/]     {escape(result.url)} ({seen}, commit {result.commit[:8]})", wraps=False)
