"""What people see of preparing: the sources, the vocabulary, and where every token went."""

from __future__ import annotations

from whelp.base.counts import say_count
from whelp.cli.exchange import FilesOpened
from whelp.cli.prepare import PrepareResult, SourceOpened, StoreReady, VocabularyReady
from whelp.cli.screens import show


def show_prepare_event(event: object) -> None:
    """Draw one event; others than those of preparing are passed over."""
    if isinstance(event, SourceOpened):
        show.say_file_counts(event.num_files, event.num_bytes, event.name)
    elif isinstance(event, VocabularyReady):
        show.say(f"[bold]vocabulary[/] {event.kind}, {event.vocab_size:,} ids, {'learned' if event.is_learned else 'loaded'}")
    elif isinstance(event, StoreReady):
        _show_store(event.result)


def show_import_event(event: object) -> None:
    """Draw one event of `whelp import`."""
    if isinstance(event, FilesOpened):
        show.say(
            f"[bold]ids[/]        {say_count(event.num_files, 'file')} of {event.format}, {show.megabytes(event.num_bytes)}"
        )
    elif isinstance(event, PrepareResult):
        _show_store(event)


def _show_store(result: PrepareResult) -> None:
    if result.is_reused:
        show.say("           [dim]the store is finished and up to date[/]")
    show.show_ledger(result.ledger, result.splits, result.vocab_size)
