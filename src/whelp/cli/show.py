"""What people see: everything for them goes to standard error; standard output is for results."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from whelp.base.counts import say_bytes, say_count, say_duration
from whelp.base.log import log
from whelp.base.looking_on import is_notebook
from whelp.cli.encodings import is_unicode
from whelp.cli.live_panel import LivePanel, NotebookLive, TerminalLive
from whelp.cli.result_tables import open_output, print_records

if TYPE_CHECKING:
    from whelp.cli.compare import Comparison
    from whelp.cli.costs import Costs
    from whelp.cli.report import RunsReport
    from whelp.cli.train_events import Planned
    from whelp.cli.verify_resume import VerifyResult
    from whelp.generate import TokenLogprob
    from whelp.train import TrainPlan

# In a notebook all goes into one stream, as plain lines: rich would make an output of each, or take it for a terminal.
console = Console(
    stderr=not is_notebook(), highlight=False, force_jupyter=False, force_terminal=False if is_notebook() else None
)
_BLOCKS = "▁▂▃▄▅▆▇█"
megabytes, duration = say_bytes, say_duration
_LINE_SECONDS = 10.0  # without a terminal to draw on: one line so often


def print_json(value: Any) -> None:
    """Write one JSON object, the result, on standard output."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    sys.stdout.write(json.dumps(value, ensure_ascii=not is_unicode(sys.stdout), default=str) + "\n")


def say(text: str, *, wraps: bool = True) -> None:
    """One line for people; `text` may hold markup. Lines with a path do not wrap: it is to be copied."""
    console.print(text, soft_wrap=not wraps)


def say_plain(text: str) -> None:
    """A line for people that holds no markup, however it looks."""
    console.print(printable(text), markup=False, soft_wrap=True)


def say_note(record: logging.LogRecord) -> None:
    """What is logged, as a line for people."""
    console.print(f"[yellow]note[/]  {escape(record.getMessage())}", soft_wrap=True)


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


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A sign of life while nothing can be counted; nothing at all where there is no terminal."""
    if not console.is_terminal:
        yield
        return
    with console.status(text):
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
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * scale)] for value in values)


def show_plan(plan: TrainPlan, ledger: dict[str, Any] | None = None, costs: Costs | None = None) -> None:
    """The plan as a table, its doubts below."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    together = f"{say_count(plan.num_processes, 'process')} x " if plan.num_processes > 1 else ""
    rows = [
        ("parameters", f"{plan.num_parameters:,}"),
        ("rows", f"{say_count(plan.context_tokens, 'token')} each, {plan.batch_rows:,} a step"),
        (
            "batch",
            f"{say_count(plan.batch_tokens, 'token')} = {together}{plan.accumulation} x {say_count(plan.micro_batch_rows, 'row')}",
        ),
    ]
    if plan.smaller_batch_rows:
        sizes = ", ".join(f"{rows:,}" for rows in plan.smaller_batch_rows)
        rows.append(("before", f"{sizes} rows a step over the first {min(plan.batch_ramp_share, 1.0):.0%} of the run"))
    if ledger is not None:
        rows[1:1] = [
            ("tokens", f"{ledger['tokens']:,} in {say_count(ledger['rows'], 'row')} ({describe_packing(ledger)})"),
            ("documents", f"{ledger['documents']:,}, {ledger['cut_documents']:,} of them cut"),
        ]
    about = "about " if plan.budget_seconds is not None else ""
    rows.append(
        ("steps", f"{about}{plan.num_steps:,} = {say_count(plan.total_tokens, 'token')} = {plan.num_epochs:.2f} epochs")
    )
    rows += _describe_sources(plan, ledger or {})
    rows.append(("memory", f"about {megabytes(plan.estimated_bytes)}"))
    if plan.estimated_seconds is not None:
        rows.append(("time", f"about {duration(plan.estimated_seconds)}"))
    if costs is not None:
        of = f"{say_count(costs.most_checkpoints, 'checkpoint')} of {megabytes(costs.checkpoint_bytes)}"
        rows.append(("disk", f"about {megabytes(costs.disk_bytes)}: at most {of}"))
        if costs.price is not None:
            rows.append(("price", f"about {costs.price:,.2f}, of the time above"))
    threads = f", {say_count(plan.threads, 'thread')}" if plan.device == "cpu" else ""
    rows.append(("device", f"{plan.device}, {plan.precision}{threads}{', compiled' if plan.compile else ''}"))
    for name, value in rows:
        table.add_row(f"[bold]{name}[/]", value)
    console.print(Panel(table, title="plan", title_align="left", border_style="dim", expand=False))
    for doubt in plan.warnings:
        console.print(f"[yellow]note[/]  {escape(doubt)}")


def _describe_sources(plan: TrainPlan, ledger: dict[str, Any]) -> list[tuple[str, str]]:
    """Of each source of a mixture: its share of the run, and how often its rows come."""
    described: list[tuple[str, str]] = []
    for name, epochs in plan.source_epochs.items():
        entry = ledger.get("sources", {}).get(name)
        share = (
            "" if entry is None else f"{entry['share']:.1%} of the rows, from {say_count(entry['ledger']['tokens'], 'token')}"
        )
        described.append(
            ("" if described else "sources", f"{escape(name)}: {epochs:.1f} epochs{f' ({share})' if share else ''}")
        )
    return described


def describe_packing(ledger: dict[str, Any]) -> str:
    """Where tokens go in a pass over the rows; fates that no token has are left out, but for the two that all ask for."""
    names = {
        "trained": "trained",
        "masked": "masked",
        "first": "first of their document",
        "cut": "cut off",
        "dropped": "dropped",
    }
    shares = [
        f"{ledger[f'{fate}_share']:.2%} {name}"
        for fate, name in names.items()
        if fate in ("trained", "dropped") or ledger[f"{fate}_share"] >= 0.00005
    ]
    return f"{', '.join(shares)}; padding {ledger['padding_share']:.2%}"


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

    _progress: Progress | None = None
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


class TrainingView(EventView):
    """A live panel of a run: loss, speed, memory, time left, and the newest sample above it."""

    def __init__(self) -> None:
        self._panel = LivePanel("train")
        self._live: TerminalLive | NotebookLive | None = None
        self.losses: list[float] = []
        self.planned: Planned | None = None
        self.test = ""
        self._started: float | None = None  # of the first step: what comes before it says nothing about the others
        self._last_line = time.monotonic()
        self._tokens, self._seconds = 0, 0.0
        self._ceiling = 0.0  # flops a second of the GPU; without one, nothing to compare with
        self._token_flops = 0

    def _on_planned(self, event: Planned) -> None:
        self.planned = event
        if event.resumed_step:
            more = f"nothing is left to do ({event.more}, for example, trains on)"
            done = "" if event.more is None else f", which was the last: {more}"
            say(f"[bold]going on[/]   from step {event.resumed_step:,}{done}")
        show_plan(event.plan, event.ledger)
        if event.plan.device.startswith("cuda"):
            self._measure_ceiling(event)
        if console.is_terminal:
            self._live = TerminalLive(self._panel, console=console, refresh_per_second=4)
        elif is_notebook():
            self._live = NotebookLive(self._panel)
        if self._live is not None:
            self._live.start()

    def close(self) -> None:
        """Stop drawing; what was drawn last stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _measure_ceiling(self, event: Planned) -> None:
        import torch

        from whelp.model.build import count_token_flops
        from whelp.train.device import get_product_type, measure_ceiling

        self._ceiling = measure_ceiling(torch.device(event.plan.device), get_product_type(event.plan.precision))
        self._token_flops = count_token_flops(event.spec)

    def _describe_machine(self, device: str) -> list[str]:
        """Share of the measured ceiling (on a GPU), and memory."""
        import torch

        from whelp.train.device import used_memory

        speed = self._tokens / max(self._seconds, 1e-9)
        share = [f"MFU {speed * self._token_flops / self._ceiling:.0%}"] if self._ceiling else []
        used = used_memory(torch.device(device))
        return [*share, megabytes(used)] if used else share

    def _on_stepreport(self, event: Any) -> None:
        self._tokens, self._seconds = self._tokens + event.num_tokens, self._seconds + event.seconds
        if event.loss is not None and math.isfinite(event.loss):  # a batch that was passed over has no place in a curve
            self.losses.append(event.loss)
        if self._seconds > 5:  # a moving window
            self._tokens, self._seconds = self._tokens // 2, self._seconds / 2
        now = time.monotonic()
        if self._started is None:
            self._started = now - event.seconds
        is_line_due = event.is_last or now - self._last_line > _LINE_SECONDS
        if self._live is None and not is_line_due:
            return
        facts = self._describe(event, now)
        if self._live is not None:
            self._panel.share_done, self._panel.facts = event.share_done, facts
            self._live.touch()
        else:
            self._last_line = now
            line = "  ".join(facts)
            say(f"[bold]train[/]      {event.share_done:4.0%}  {line}", wraps=False)  # a record of one line, in a log

    def _describe(self, event: Any, now: float) -> list[str]:
        assert self.planned is not None, "a run starts with its plan"
        assert self._started is not None, "a step comes before its description"
        plan = self.planned.plan
        spent = now - self._started
        is_timed = plan.budget_seconds is not None and plan.most_rows is None
        done_before = 0.0 if is_timed else self.planned.resumed_step / plan.num_steps
        share = max(event.share_done - done_before, 1e-9)
        if is_timed:
            left = plan.budget_seconds * (1 - event.share_done)
        else:
            left = spent / share * (1 - event.share_done)
        recent = self.losses[-20:]
        curve = f" {sparkline(self.losses, 16)}" if len(self.losses) > 1 else ""
        loss = [f"loss {sum(recent) / len(recent):.3f}{curve}"] if recent else []
        speed = f"{self._tokens / max(self._seconds, 1e-9):,.0f} tokens/s"
        test = [self.test] if self.test else []
        return [f"step {event.step:,}", *loss, *test, speed, *self._describe_machine(plan.device), f"{duration(left)} left"]

    def _on_evaluated(self, event: Any) -> None:
        self.test = f"test {event.result.nats_per_token:.3f}"
        bits = event.result.bits_per_byte
        if self._live is None or event.result.sources:
            tail = f", {bits:.3f} bits/byte" if bits is not None else ""
            if event.average is not None:
                tail += f"; averaged weights {event.average.nats_per_token:.3f}"
            say(
                f"[bold]test[/]       step {event.step:,}: {event.result.nats_per_token:.3f} nats/token{tail}{self._parts(event)}"
            )

    def _parts(self, event: Any) -> str:
        """The losses of the sources of a mixture, in brackets."""
        parts = ", ".join(f"{name} {part.nats_per_token:.3f}" for name, part in event.result.sources.items())
        return f" ({escape(parts)})" if parts else ""

    def _on_sampled(self, event: Any) -> None:
        first_lines = printable(event.prompt + event.text).strip("\n").split("\n")[:6]
        body = "\n           ".join(escape(line[:100]) for line in first_lines)
        say(f"[dim]step {event.step:<5,}[/] [green]{body}[/]")

    def _on_finished(self, event: Any) -> None:
        self.close()


@contextmanager
def training_view() -> Iterator[TrainingView]:
    """A view that is closed whatever happens."""
    view = TrainingView()
    try:
        yield view
    finally:
        view.close()


def make_bar(title: str) -> Progress:
    """A bar with a text beside it, on a terminal only; it goes when the work is done."""
    return Progress(
        SpinnerColumn(),
        TextColumn(f"[bold]{title}[/]"),
        BarColumn(24),
        TextColumn("{task.fields[text]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def track(events: Iterable[Any], total_bytes: int, title: str) -> Iterator[Any]:
    """Pass events on, drawing a bar over those that count bytes (`num_bytes`, `num_documents`, and maybe `num_tokens`)."""
    started = time.monotonic()
    done = documents = tokens = 0
    with make_bar(title) as progress:
        task = progress.add_task(title, total=max(total_bytes, 1), text="")
        for event in events:
            if hasattr(event, "num_documents") and hasattr(event, "num_bytes"):
                done, documents = done + event.num_bytes, documents + event.num_documents
                tokens += getattr(event, "num_tokens", 0)
                seconds = time.monotonic() - started
                left = seconds / max(done, 1) * max(total_bytes - done, 0)
                counts = say_count(documents, "document") + (f", {say_count(tokens, 'token')}" if tokens else "")
                text = f"{counts}, {megabytes(done / max(seconds, 1e-9))}/s, {duration(left)} left"
                progress.update(task, completed=done, text=text)
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
        row = [f"[bold]{escape(prompt)}[/]{escape(printable(text))}" for text in (left, right)]
        table.add_row(*row)
    console.print(table)


def show_runs(result: RunsReport) -> None:
    """The table of the runs, and what is to be known of them."""
    for warning in result.warnings:
        console.print(f"[yellow]note[/]  {escape(warning)}")
    print_runs(result)


def print_runs(result: RunsReport) -> None:
    """A row for each run, and below what differs in their recipes; on standard output, as it is the result."""
    output = open_output()
    names = "tokens_per_second", "test_nats_per_token", "test_bits_per_byte", "best_test_nats_per_token"
    records = []
    for run in result.runs:
        numbers = (
            "" if run[name] is None else f"{run[name]:,.0f}" if run[name] > 100 else f"{run[name]:.4f}" for name in names
        )
        records.append((run["name"], f"{run['step']:,}", f"{run['tokens']:,}", *numbers))
    print_records(output, ("run", "steps", "tokens", "tokens/s", "test loss", "bits/byte", "best test loss"), records)
    if result.differences:
        output.print("what differs, run by run")
    for name, values in result.differences.items():
        output.print(f"{escape(name)}: {escape(', '.join('not set' if value is None else str(value) for value in values))}")


def show_verify_result(result: VerifyResult) -> None:
    """What was compared with a run that was left alone, as a table on standard output."""
    asked = {"bits": "same bits", "close": f"within {result.tolerance:g}", "free": "free (dropout)"}
    lines = [("check", "processes", "rows", "largest difference", "asked", "")]
    lines += [
        (
            check.name,
            " then ".join(map(str, check.num_processes)),
            "same" if check.same_rows else "NOT THE SAME",
            "none, to the bit" if check.same_bits else f"{check.largest_difference:.2g} nats/token",
            asked[check.losses],
            "holds" if check.holds else "DOES NOT HOLD",
        )
        for check in result.checks
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    verdict = "runs of this recipe go on exactly" if result.holds else "runs of this recipe do NOT go on exactly"
    unjudged = "; losses of other numbers of processes were not judged, as each draws its own dropout"
    is_free = any(check.losses == "free" for check in result.checks)
    sys.stdout.write(f"{say_count(result.num_steps, 'step')} on {result.device}: {verdict}{unjudged if is_free else ''}\n")
