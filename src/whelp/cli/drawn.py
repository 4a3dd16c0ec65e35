"""Events of long work, drawn as they pass: always by the commands, and by the calls of Python where somebody looks on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

from whelp.base.looking_on import is_looked_on

Events = Generator[Any] | Iterator[Any]
Draw = Callable[[Events], Iterator[Any]]


def watch(events: Events, draw: Draw) -> Generator[Any]:
    """Pass events on, drawn where somebody looks on; what is logged on the way is then shown, too."""
    with contextlib.ExitStack() as stack:
        close = getattr(events, "close", None)
        if close is not None:
            stack.callback(close)
        if is_looked_on():
            from whelp.cli.show import said_notes

            stack.enter_context(said_notes())
            events = draw(events)
        yield from events


def draw_preparing(events: Events) -> Iterator[Any]:
    """Draw what is read, the vocabulary, a bar, and the ledger of a store."""
    from whelp.cli import show
    from whelp.cli.show_prepare import show_prepare_event

    return _draw_counted(events, "prepare", show_prepare_event, show.track)


def draw_importing(events: Events) -> Iterator[Any]:
    """Draw which files of ids are read, a bar, and the ledger of the store."""
    from whelp.cli import show
    from whelp.cli.show_prepare import show_import_event

    return _draw_counted(events, "import", show_import_event, show.track)


def draw_curating(events: Events) -> Iterator[Any]:
    """Draw what is read, the rules, and a bar."""
    from whelp.cli import show
    from whelp.cli.show_curate import show_event

    return _draw_counted(events, "curate", show_event, show.track)


def _draw_counted(
    events: Events, title: str, show_event: Callable[[Any], None], track: Callable[[Events, int, str], Iterator[Any]]
) -> Iterator[Any]:
    """The first event has the size of what is read, `num_bytes`; a finished result has none to read."""
    first = next(events)
    show_event(first)
    yield first
    for event in track(events, getattr(first, "num_bytes", 0), title):
        show_event(event)
        yield event


def draw_training(events: Events) -> Iterator[Any]:
    """Draw a run, and the preparing before it where there is such."""
    from whelp.cli.show_prepare import show_prepare_event
    from whelp.cli.show_training import training_view

    with training_view() as view:
        for event in events:
            show_prepare_event(event)
            view.show(event)
            yield event


def draw_comparing_recipes(events: Events) -> Iterator[Any]:
    """Draw the runs of a comparison."""
    from whelp.cli.show_compare_recipes import compare_recipes_view

    with compare_recipes_view() as view:
        for event in events:
            view.show(event)
            yield event


def draw_bytes(title: str, counted: str | None = None) -> Draw:
    """Draw a bar over events with a `position` in a `total` of bytes.

    Args:
        counted: What lies before that place, in the singular: documents, or the rows of a file under a name of its own.
    """

    def draw(events: Events) -> Iterator[Any]:
        from whelp.base.counts import say_count
        from whelp.cli.show_file_work import bar

        with bar(title) as advance:
            for event in events:
                if hasattr(event, "position"):
                    count = getattr(event, "documents" if counted == "document" else "rows")
                    advance(event.position, event.total, "" if counted is None else say_count(count, counted))
                yield event

    return draw


def draw_collecting(events: Events) -> Iterator[Any]:
    """Draw a line that changes with every address."""
    from whelp.cli.collect import CollectResumed
    from whelp.cli.show_collect import collect_view
    from whelp.collect import Event

    with collect_view() as view:
        for event in events:
            if isinstance(event, (Event, CollectResumed)):
                view.show(event)
            yield event
