"""What people see of a run: its plan, a live panel or lines, and tables of runs and of what went on exactly."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from whelp.base.counts import say_count
from whelp.base.interactive import is_notebook
from whelp.cli.screens.live_panel import LivePanel, TerminalLive
from whelp.cli.screens.notebook_drawing import NotebookLive
from whelp.cli.screens.result_tables import open_output, print_records
from whelp.cli.screens.show import (
    LINE_SECONDS,
    EventView,
    can_draw,
    console,
    duration,
    megabytes,
    printable,
    say,
    sparkline,
    squeeze,
)

if TYPE_CHECKING:
    from whelp.cli.costs import Costs
    from whelp.cli.report import RunsReport
    from whelp.cli.training.events import Planned
    from whelp.cli.verify_resume import VerifyResult
    from whelp.train import TrainPlan


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
        of = f"{say_count(costs.num_checkpoints, 'checkpoint')} of {megabytes(costs.checkpoint_bytes)}"
        rows.append(("disk", f"about {megabytes(costs.disk_bytes)}: at most {of}"))
        if costs.price is not None:
            rows.append(("price", f"about {costs.price:,.2f}, of the time above"))
    threads = f", {say_count(plan.threads, 'thread')}" if plan.device == "cpu" else ""
    rows.append(("device", f"{plan.device}, {plan.precision}{threads}{', compiled' if plan.compile else ''}"))
    for name, value in rows:
        table.add_row(f"[bold]{name}[/]", value)
    console.print(Panel(table, title="plan", title_align="left", border_style="dim", expand=False))
    for doubt in plan.warnings:
        say(f"[yellow]note[/]  {escape(doubt)}")


_LOST = {"cut": "cut off", "dropped": "dropped"}


def _describe_sources(plan: TrainPlan, ledger: dict[str, Any]) -> list[tuple[str, str]]:
    """Of each source of a mixture: its share of the run, how often its rows come, and what of it no row has."""
    described: list[tuple[str, str]] = []
    for name, epochs in plan.source_epochs.items():
        entry = ledger.get("sources", {}).get(name)
        share = ""
        if entry is not None:
            packed = entry["ledger"]
            lost = [f"{packed[f'{fate}_share']:.1%} of them {said}" for fate, said in _LOST.items() if packed[fate]]
            share = ", ".join([f"{entry['share']:.1%} of the rows, from {say_count(packed['tokens'], 'token')}", *lost])
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
        if is_notebook():
            self._live = NotebookLive(self._panel)
        elif can_draw():
            self._live = TerminalLive(self._panel, console=console, refresh_per_second=4)
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
        is_line_due = event.is_last or now - self._last_line > LINE_SECONDS
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
        first_lines = printable(squeeze(event.prompt + event.text)).strip("\n").split("\n")[:6]
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


def show_runs(result: RunsReport) -> None:
    """The table of the runs, what is to be known of them, and where the page is."""
    print_runs(result)
    for warning in result.warnings:
        say(f"[yellow]note[/]  {escape(warning)}")
    say(f"page: [bold]{escape(result.html)}[/]", wraps=False)


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
