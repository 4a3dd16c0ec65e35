"""What people see: everything for them goes to standard error; standard output is for results."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from whelp.base.counts import say_bytes, say_count, say_duration
from whelp.base.interactive import is_notebook
from whelp.base.log import log
from whelp.cli.screens.live_drawing import Bars, SignOfLife
from whelp.cli.screens.notebook_drawing import NotebookBars
from whelp.cli.screens.reading_pace import FindPosition, ReadingPace
from whelp.cli.screens.result_tables import open_output
from whelp.cli.screens.stream_encodings import is_unicode

if TYPE_CHECKING:
    from whelp.cli.compare import Comparison
    from whelp.generate import TokenLogprob

# In a notebook all goes into one stream, as plain lines: rich would make an output of each, or take it for a terminal.
console = Console(
    stderr=not is_notebook(),
    highlight=False,
    emoji=False,  # or words of a text, such as :bug:, would become pictures
    force_jupyter=False,
    force_terminal=False if is_notebook() else None,
)
_BLOCKS, _PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
Advance = Callable[[float, float, str], None]  # how much is done, of how much, what to say
megabytes, duration = say_bytes, say_duration
_NARROWEST = 20  # columns beside a label
LINE_SECONDS = 10.0  # without a terminal to draw on: one line so often


def print_json(value: Any) -> None:
    """Write one JSON object, the result, on standard output."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    sys.stdout.write(json.dumps(value, ensure_ascii=not is_unicode(sys.stdout), default=str) + "\n")


def say(text: str, *, wraps: bool = True) -> None:
    """Lines for people; `text` may hold markup. What is longer than the terminal goes on below itself, beside its label.

    Lines with a path do not wrap: it is to be copied.
    """
    for line in Text.from_markup(text, emoji=False).split("\n", allow_blank=True):
        indent = _find_indent(line) if wraps else 0
        label, rest = line.divide([indent])
        room = max(console.width - indent, _NARROWEST)
        parts = _wrap(rest, room) if wraps else [rest]
        for part in parts or [rest]:
            part.rstrip()
            console.print(label + part, soft_wrap=True)
            label = Text(" " * indent)


def _wrap(text: Text, room: int) -> list[Text]:
    """Lines of so many columns; a path that is longer has one of its own, whole, since it is to be copied."""
    if not any(os.sep in word and cell_len(word) > room for word in text.plain.split()):
        return list(text.wrap(console, room))
    begins = [0]
    for word in re.finditer(r"\S+", text.plain):
        if word.start() > begins[-1] and cell_len(text.plain[begins[-1] : word.end()]) > room:
            begins.append(word.start())
    return list(text.divide(begins[1:]))


def say_next(*words: str) -> None:
    """The command that most people give after this one, to be copied."""
    say(f"[bold]next[/]       whelp {escape(shlex.join(words))}", wraps=False)


def _find_indent(line: Text) -> int:
    """Where what a line says begins: after its label, which has a style of its own, or after spaces."""
    label = max((span.end for span in line.spans if span.start == 0 and span.end < len(line)), default=0)
    rest = line.plain[label:]
    return len(line.plain) - len(rest.lstrip(" ")) if rest.startswith(" ") and rest.strip() else 0


def squeeze(text: str) -> str:
    """A text of a model without its end of blank lines, and with one where there are several.   squeeze("a\\n \\n\\nb\\n") -> 'a\\n\\nb'"""
    return re.sub(r"\n(?:[^\S\n]*\n){2,}", "\n\n", text.rstrip())


def say_plain(text: str) -> None:
    """A line for people that holds no markup, however it looks."""
    console.print(printable(text), markup=False, soft_wrap=True)


def say_note(record: logging.LogRecord) -> None:
    """What is logged, for people: beside its label on a terminal, elsewhere one line, to be searched for."""
    say(f"[yellow]note[/]  {escape(record.getMessage())}", wraps=console.is_terminal)


@contextmanager
def said_notes() -> Iterator[None]:
    """Inside, what is logged is said, unless a program has set up logging: then it goes where that wants it."""
    if log.hasHandlers():
        yield
        return
    notes, level = logging.Handler(), log.level
    notes.emit = say_note  # type: ignore[method-assign]
    log.addHandler(notes)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(notes)
        log.setLevel(level)


def say_file_counts(num_files: int, num_bytes: int, name: str) -> None:
    """How much text there is. `from`, as a folder may be called anything: '20 kB of t' would be no size of a text."""
    say(f"[bold]corpus[/]     {say_count(num_files, 'file')}, {megabytes(num_bytes)}, from {escape(name)}")


def say_left_out(skipped: dict[str, int]) -> None:
    """Which files were left out, and why."""
    if skipped:
        say(f"           [dim]left out: {escape(', '.join(f'{reason} {count:,}' for reason, count in skipped.items()))}[/]")


def can_draw() -> bool:
    """Whether lines can change in place: in a notebook, and on a terminal that is not too dumb for it.

    Elsewhere there is a new line now and then.
    """
    return is_notebook() or _is_able_terminal()


def _is_able_terminal() -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def make_bars(*columns: ProgressColumn, is_transient: bool = True) -> Bars:
    """Bars to draw on where it can be drawn. Transient ones go from a terminal when the work is done; in a notebook all stay."""
    if is_notebook():
        return NotebookBars(*columns, console=console)
    return Bars(*columns, console=console, transient=is_transient, disable=not can_draw())


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A sign of life while nothing can be counted; nothing where it could not move, or where a notebook itself gives one."""
    if not _is_able_terminal() or is_notebook():
        yield
        return
    with SignOfLife(text, console=console):
        yield


def printable(text: str) -> str:
    """Text that a terminal can only show, not obey: control characters become a sign.   printable("a\\x1b[2J") -> 'a·[2J'"""
    return "".join(character if character.isprintable() or character in "\n\t" else "·" for character in text)


def write_logprobs(entries: Sequence[TokenLogprob] | None) -> None:
    """One line for each token on standard output: its log-probability, itself, and what was likeliest in its place."""
    for entry in entries or ():
        others = "  ".join(f"{other.logprob:.3f} {other.text!r}" for other in entry.top)
        sys.stdout.write(f"{entry.logprob:8.3f}  {entry.text!r:<16}  {others}".rstrip() + "\n")


def sparkline(values: list[float], width: int = 24) -> str:
    """A curve of bars, lowest to highest.   [3, 2, 1] -> '█▅▁'"""
    if len(values) > width:
        step = len(values) / width
        values = [values[int(index * step)] for index in range(width - 1)] + [values[-1]]
    low, high = min(values), max(values)
    blocks = _BLOCKS if is_unicode(sys.stderr) and is_unicode(sys.stdout) else _PLAIN_BLOCKS
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((value - low) * scale)] for value in values)


def show_comparison(result: Comparison) -> None:
    """Numbers, then texts, one column for each model; on standard output, as they are the result."""
    output = open_output()
    names = list(dict.fromkeys(name for model in result.models for name in model.numbers))
    if names:
        table = Table("", *(escape(model.name) for model in result.models), box=None, padding=(0, 2, 0, 0))
        for name in names:
            values = [model.numbers.get(name) for model in result.models]
            table.add_row(name.removeprefix("num_").replace("_", " "), *map(_describe_number, values))
        output.print(table)
    for place, prompt in enumerate(result.prompts):
        table = Table(title=escape(printable(prompt)), title_justify="left", show_lines=True, expand=True)
        for model in result.models:
            table.add_column(escape(model.name), ratio=1, overflow="fold")
        for sample in range(len(result.models[0].texts[place])):
            table.add_row(*(escape(printable(model.texts[place][sample])) for model in result.models))
        output.print(table)


def _describe_number(value: float | None) -> str:
    """1234567 -> '1,234,567'; 3.14159 -> '3.1416'; 430.3345 -> '430.3'; None -> ''"""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.1f}"


class EventView:
    """Draws the events of a piece of work: one of the type `Planned` by a method `_on_planned`; those without one are passed over."""

    _progress: Bars | None = None
    _task: Any = None

    def show(self, event: object) -> None:
        """Draw one event."""
        handler = getattr(self, f"_on_{type(event).__name__.lower()}", None)
        if handler is not None:
            handler(event)

    def close(self) -> None:
        """Stop drawing."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


@contextmanager
def bar(title: str) -> Iterator[Advance]:
    """A bar with a text beside it; where none can be drawn, a line now and then."""
    columns = SpinnerColumn(), TextColumn(f"[bold]{title}[/]"), BarColumn(24), TextColumn("{task.fields[text]}")
    last_line = time.monotonic()
    with make_bars(*columns) as progress:
        task = progress.add_task(title, total=1, text="")

        def advance(done: float, total: float, text: str) -> None:
            nonlocal last_line
            progress.update(task, completed=done, total=max(total, 1), text=text)
            now = time.monotonic()
            if not can_draw() and now - last_line > LINE_SECONDS:
                last_line = now
                say(f"[dim]{title:<10} {min(done / max(total, 1), 1):4.0%}  {escape(text)}[/]", wraps=False)

        yield advance
        if progress.tasks[0].completed:
            progress.update(task, completed=progress.tasks[0].total)  # text may be smaller than the files it is of


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], object]]:
    """A bar for each kind of work, once it begins; nothing where none can be drawn.

    Yields:
        A function that is told what is done, how much of it, and how much there is.
    """
    columns = SpinnerColumn(), TextColumn("[bold]{task.description}[/]"), BarColumn(24), MofNCompleteColumn()
    with make_bars(*columns, TimeRemainingColumn()) as progress:
        bars: dict[str, Any] = {}

        def update(title: str, done: int, total: int) -> None:
            if title not in bars:
                bars[title] = progress.add_task(title, total=total)
            progress.update(bars[title], completed=done, total=total)

        yield update


def say_model(name: str, number: int, total: int) -> None:
    """Which of several models is asked now; they are counted from 0."""
    say_plain(f"model      {name} ({number + 1:,} of {total:,})")


def track(
    events: Iterable[Any], file_bytes: Sequence[int], title: str, find_position: FindPosition = lambda number: None
) -> Iterator[Any]:
    """Pass events on, drawing a bar over those that count bytes (`num_bytes`, `num_documents`, and maybe `num_tokens`, `last_file`)."""
    pace = ReadingPace(file_bytes, now=time.monotonic(), find_position=find_position)
    documents = tokens = 0
    with bar(title) as advance:
        for event in events:
            now = time.monotonic()
            if hasattr(event, "num_documents") and hasattr(event, "num_bytes"):
                documents, tokens = documents + event.num_documents, tokens + getattr(event, "num_tokens", 0)
                last_file, is_reused = getattr(event, "last_file", None), getattr(event, "is_reused", False)
                pace.count(event.num_bytes, last_file, now, is_reused=is_reused)
                said = [say_count(documents, "document"), *([say_count(tokens, "token")] if tokens else [])]
                speed, left = pace.find_bytes_per_second(now), pace.find_seconds_left(now)
                said += [f"{megabytes(speed)}/s"] if speed is not None else []
                said += [f"{duration(left)} left"] if left is not None else []
                advance(pace.done, pace.total, ", ".join(said))
            else:
                pace.wait(now)
            yield event


def show_ledger(ledger: dict[str, Any], splits: dict[str, dict[str, int]], vocab_size: int) -> None:
    """Where the documents and tokens went."""
    masked = ledger.get("masked", {})
    parts = [
        f"{name} {say_count(count['documents'], 'document')}, {say_count(count['tokens'], 'token')}"
        + (f" ({masked[name]:,} not trained)" if masked.get(name) else "")
        for name, count in splits.items()
    ]
    dropped = {fate: count for fate, count in ledger["documents"].items() if fate.startswith("dropped") and count}
    parts += [f"{fate} {say_count(count, 'document')}" for fate, count in dropped.items()]
    say(f"[bold]store[/]      {'; '.join(parts)}")
    for source, entry in ledger.get("sources", {}).items():
        counts = [
            f"{name} {say_count(entry['documents'].get(name, 0), 'document')}, {say_count(entry['tokens'].get(name, 0), 'token')}"
            for name in splits
        ]
        say(f"           {escape(source)}: {'; '.join(counts)}")
    if ledger["text_bytes"]:
        ratio = ledger["text_bytes"] / max(ledger["tokens_in"], 1)
        say(f"           {megabytes(ledger['text_bytes'])} of text, {ratio:.2f} bytes a token, vocabulary {vocab_size:,}")
    say_left_out({fate.removeprefix("skipped: "): count for fate, count in ledger["files"].items() if fate != "read"})
    for name, count in ledger["notes"].items():
        say(f"           {escape(name)}: [yellow]{count:,}[/]")


def show_side_by_side(title_left: str, title_right: str, pairs: list[tuple[str, str, str]]) -> None:
    """A table of (prompt, left, right) texts."""
    table = Table(title=None, show_lines=True, expand=True)
    table.add_column(title_left, ratio=1, overflow="fold")
    table.add_column(title_right, ratio=1, overflow="fold")
    for prompt, left, right in pairs:
        row = [f"[bold]{escape(prompt)}[/]{escape(printable(squeeze(text)))}" for text in (left, right)]
        table.add_row(*row)
    console.print(table)
