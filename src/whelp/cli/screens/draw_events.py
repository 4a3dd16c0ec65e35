"""Events of long work, drawn as they pass: always by the commands, and by the calls of Python where somebody looks on."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from whelp.base.interactive import shows_progress

if TYPE_CHECKING:
    from whelp.cli.screens.show_collect import CollectView
    from whelp.collect import Collector

Events = Generator[Any] | Iterator[Any]
Draw = Callable[[Events], Iterator[Any]]
Progress = Callable[[str, int, int], object]  # what is done, how much of it, and how much there is


def drawn(events: Events, draw: Draw) -> Generator[Any]:
    """Pass events on, drawn. However the drawing ends, the work behind it ends, too."""
    with contextlib.ExitStack() as stack:
        close = getattr(events, "close", None)
        if close is not None:
            stack.callback(close)
        yield from draw(events)


def watch(events: Events, draw: Draw) -> Generator[Any]:
    """Pass events on, drawn where somebody looks on; what is logged on the way is then shown, too."""
    if not shows_progress():
        yield from events
        return
    from whelp.cli.screens.show import said_notes

    with said_notes():
        yield from drawn(events, draw)


@contextlib.contextmanager
def watch_counts(on_progress: Progress | None) -> Iterator[Progress]:
    """Whom work that counts as it goes on tells: who asks for it, bars where somebody looks on, else nobody."""
    if on_progress is not None or not shows_progress():
        yield on_progress or (lambda *_: None)
        return
    from whelp.cli.screens.show import progress_bars, said_notes

    with said_notes(), progress_bars() as update:
        yield update


@contextlib.contextmanager
def watch_waiting(text: str) -> Iterator[None]:
    """Work that counts nothing: a sign of life where somebody looks on, and what is logged on the way."""
    if not shows_progress():
        yield
        return
    from whelp.cli.screens.show import said_notes, waiting

    with said_notes(), waiting(text):
        yield


def watch_models(on_progress: Progress | None) -> Progress:
    """Whom work on one model after another tells: who asks for it, people where somebody looks on, else nobody."""
    if on_progress is not None or not shows_progress():
        return on_progress or (lambda *_: None)
    from whelp.cli.screens.show import say_model

    return say_model


def draw_preparing(events: Events) -> Iterator[Any]:
    """Draw what is read, the vocabulary, a bar, and the ledger of a store."""
    from whelp.cli.screens.show_prepare import show_prepare_event

    return _draw_counted(events, "prepare", show_prepare_event)


def draw_importing(events: Events) -> Iterator[Any]:
    """Draw which files of ids are read, a bar, and the ledger of the store."""
    from whelp.cli.screens.show_prepare import show_import_event

    return _draw_counted(events, "import", show_import_event)


def draw_curating(events: Events) -> Iterator[Any]:
    """Draw what is read, the rules, and a bar."""
    from whelp.cli.screens.show_curate import show_event

    return _draw_counted(events, "curate", show_event)


def _draw_counted(events: Events, title: str, show_event: Callable[[Any], None]) -> Iterator[Any]:
    """The first event has the sizes of what is read, `file_bytes` or `num_bytes`; a finished result has none to read."""
    from whelp.cli.screens.show import track

    first = next(events)
    show_event(first)
    yield first
    sizes = getattr(first, "file_bytes", None) or [getattr(first, "num_bytes", 0)]
    known = {"find_position": first.find_position} if hasattr(first, "find_position") else {}
    for event in track(events, sizes, title, **known):
        show_event(event)
        yield event


def draw_training(events: Events) -> Iterator[Any]:
    """Draw a run, and the preparing before it where there is such."""
    from whelp.cli.screens.show_prepare import show_prepare_event
    from whelp.cli.screens.show_training import training_view

    with training_view() as view:
        for event in events:
            show_prepare_event(event)
            view.show(event)
            yield event


def draw_comparing_recipes(events: Events) -> Iterator[Any]:
    """Draw the runs of a comparison."""
    from whelp.cli.screens.show_compare_recipes import compare_recipes_view

    with compare_recipes_view() as view:
        for event in events:
            view.show(event)
            yield event


def draw_bytes(title: str, counted: str | None = None) -> Draw:
    """Draw a bar over the bytes of files.

    Args:
        counted: What is counted on the way, in the singular.
    """

    def draw(events: Events) -> Iterator[Any]:
        from whelp.base.counts import say_count
        from whelp.cli.given_files import FileProgress
        from whelp.cli.screens.show_file_work import bar_of_bytes

        with bar_of_bytes(title) as advance:
            for event in events:
                if isinstance(event, FileProgress):
                    advance(event.position, event.total, "" if counted is None else say_count(event.count, counted))
                yield event

    return draw


class DrawCollecting:
    """Draws what is asked of whom, a line that changes with every address, what came of it; waits said by `wait`."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._view: CollectView | None = None

    def wait(self, seconds: float, reason: str) -> None:
        """Pass the time; say so where events are drawn."""
        if self._view is None:
            time.sleep(seconds)
        else:
            self._view.wait(seconds, reason)

    def __call__(self, events: Events) -> Iterator[Any]:
        """Draw events of `iter_collect`."""
        from whelp.cli.collect import CollectResult
        from whelp.cli.screens.show_collect import collect_view, say_notes, show_collect_result

        say_notes(self._collector)
        with collect_view() as self._view:
            for event in events:
                if isinstance(event, CollectResult):
                    self._view.close()
                    show_collect_result(event)
                else:
                    self._view.show(event)
                yield event


def draw_pushing(events: Events) -> Iterator[Any]:
    """Draw what goes to a hub, and what came of it; in between the bars are those of the hub's library."""
    from whelp.cli.screens.show import waiting
    from whelp.cli.screens.show_push import show_push_event

    with waiting("laying out"):
        first = next(events)
    for event in itertools.chain([first], events):
        show_push_event(event)
        yield event


def draw_verifying(events: Events) -> Iterator[Any]:
    """Draw that runs are trained."""
    from whelp.cli.screens.show import waiting

    with waiting("training"):
        yield from events
