"""What people see of curating: where every document went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from whelp.base.counts import say_count
from whelp.cli.screens import show

if TYPE_CHECKING:
    from whelp.cli.curate import CurateResult

_MOST_REASONS = 20
_MUCH = 0.25  # of the text: more than this from one rule may be meant, or not


def show_event(event: object) -> None:
    """What is being read, and what goes on after that."""
    from whelp.cli.prepare import SourceOpened
    from whelp.curate.run import StageStarted

    if isinstance(event, SourceOpened):
        show.say_file_counts(event.num_files, event.num_bytes, event.name)
    elif isinstance(event, StageStarted):
        show.say(f"[dim]{event.stage} {say_count(event.num_documents, 'document')}[/]")


def show_curated(result: CurateResult) -> None:
    """A table of reasons, then what was changed, then where it is."""
    ledger = result.ledger
    if result.is_reused:
        show.say("           [dim]the corpus is finished and up to date[/]")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "documents", "", "text"):
        table.add_column(name, justify="left" if not name else "right")
    total = max(ledger["documents_in"], 1)

    def add(name: str, count: int, num_bytes: int, of: int = total) -> None:
        table.add_row(name, f"{count:,}", f"{count / of:.1%}", show.megabytes(num_bytes))

    add("[bold]read[/]", ledger["documents_in"], ledger["bytes_in"])
    shown = list(ledger["dropped"].items())
    for reason, count in shown[:_MOST_REASONS]:
        add(escape(reason), count, ledger["dropped_bytes"][reason])
    rest = shown[_MOST_REASONS:]
    if rest:
        add(f"{len(rest)} more reasons", sum(count for _, count in rest), sum(ledger["dropped_bytes"][key] for key, _ in rest))
    add("[bold]kept[/]", ledger["documents_kept"], ledger["bytes_kept"])
    for name, one in ledger.get("sources", {}).items():
        add(f"  of {escape(name)}", one["documents_kept"], one["bytes_kept"], max(one["documents_in"], 1))
    show.console.print(table)
    if ledger["documents_test"]:
        show.say(f"[bold]test[/]       {say_count(ledger['documents_test'], 'row')} that the source holds out, as they are")
    for title, name in (("changed", "changes"), ("note", "notes")):
        for what, count in ledger[name].items():
            show.say(f"[bold]{title:10}[/] {escape(what)} {count:,}")
    for reason, num_bytes in ledger["dropped_bytes"].items():
        if num_bytes >= _MUCH * ledger["bytes_in"]:
            rule = reason.partition(":")[0]
            show.say(
                f"[bold]note[/]       {num_bytes / ledger['bytes_in']:.0%} of the text was dropped by one rule, {escape(rule)}: look at it in "
                f"{escape(str(Path(result.folder) / 'dropped'))}; other numbers: curate.{escape(rule)}"
            )
    show.say(f"[bold]corpus[/]     {escape(result.source)}")
    show.say(f"[bold]report[/]     {escape(result.html)}")
