"""What people see of `whelp compare-recipes`: which run it is at, how long it takes, and what came out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, TextColumn

from whelp.base.counts import say_bytes, say_count, say_duration
from whelp.cli.screens import show
from whelp.cli.screens.result_tables import open_output, print_records

if TYPE_CHECKING:
    from whelp.cli.recipe_comparison.events import RecipeComparison, RunAdvanced, RunMeasured, RunsPlanned, RunStarted

_FILE_WIDTH = 200  # columns where no terminal says how many it has


class CompareRecipesView(show.EventView):
    """A bar over all runs: the share of the steps that are done, the run it is at, and the time that is left."""

    def __init__(self) -> None:
        self._plan: RunsPlanned | None = None
        self._going: dict[int, tuple[RunStarted, RunAdvanced | None]] = {}  # by number of the run
        self._started = 0.0
        self._done = 0  # runs
        self._done_before = 0

    def _on_sidestarted(self, event: Any) -> None:
        show.say(f"[bold]data[/]       {escape(event.name)}")

    def _on_sourceopened(self, event: Any) -> None:
        show.say_file_counts(event.num_files, event.num_bytes, event.name)

    def _on_corpusready(self, event: Any) -> None:
        ledger = event.result.ledger
        show.say(f"[bold]curated[/]    {ledger['documents_kept']:,} of {say_count(ledger['documents_in'], 'document')} kept")

    def _on_storeready(self, event: Any) -> None:
        show.show_ledger(event.result.ledger, event.result.splits, event.result.vocab_size)

    def _on_runsplanned(self, event: RunsPlanned) -> None:
        self._plan = event
        texts = event.held_out
        left_out = ", ".join(f"{reason} {count:,}" for reason, count in texts.left_out.items())
        left_out = f"; left out: {left_out}" if left_out else ""
        show.say(
            f"[bold]held out[/]   {say_count(len(texts.texts), 'text')}, {say_bytes(int(texts.num_bytes.sum()))}, from "
            f"{escape(', '.join(texts.names))}{escape(left_out)}"
        )
        done = f", {event.num_done} of them done" if event.num_done else ""
        time_left = f", about {say_duration(event.seconds_left)}" if event.seconds_left else ""
        least, most = min(event.num_steps), max(event.num_steps)
        steps = say_count(most, "step") if least == most else f"{least:,} to {say_count(most, 'step')}"
        show.say(f"[bold]runs[/]       {event.num_runs} of {steps}{done}{time_left}")
        if event.num_jobs > 1:
            show.say(f"           {event.num_jobs} at once")
        self._started = time.monotonic()
        if show.can_draw():
            columns = TextColumn("[bold]train[/]      "), BarColumn(24), TextColumn("{task.fields[text]}")
            self._progress = show.make_bars(*columns, is_transient=False)
            self._task = self._progress.add_task("runs", total=event.num_runs, text="starting")
            self._progress.start()

    def _on_runstarted(self, event: RunStarted) -> None:
        self._going[event.number] = (event, None)

    def _on_runadvanced(self, event: RunAdvanced) -> None:
        self._going[event.number] = (self._going[event.number][0], event)
        self._update()

    def _update(self) -> None:
        if self._progress is None or self._plan is None:
            return
        done = self._done + sum(advanced.share for _, advanced in self._going.values() if advanced is not None)
        new = done - self._done_before
        left = (time.monotonic() - self._started) / new * (self._plan.num_runs - done) if new > 0.02 else None
        tail = f"  {say_duration(left)} left" if left is not None else ""
        self._progress.update(self._task, completed=done, text=f"{escape(self._say_going(self._plan.num_runs))}{tail}")

    def _say_going(self, num_runs: int) -> str:
        """'run 2 of 6: a, seed 0  step 12', or 'runs 2, 3 of 6: a, seed 0 40%; b, seed 0 35%'"""
        if len(self._going) == 1:
            ((started, advanced),) = self._going.values()
            doing = f"  {advanced.doing}" if advanced is not None else ""
            return f"run {started.number} of {num_runs}: {started.name}, seed {started.seed}{doing}"
        numbers = ", ".join(str(number) for number in self._going)
        each = "; ".join(
            f"{started.name}, seed {started.seed} {0 if advanced is None else advanced.share:.0%}"
            for started, advanced in self._going.values()
        )
        return f"runs {numbers} of {num_runs}: {each}"

    def _on_runmeasured(self, event: RunMeasured) -> None:
        self._done += 1
        self._done_before += event.is_reused
        self._going.pop(event.number, None)
        done = ", from before" if event.is_reused else ""
        show.say(f"[bold]run[/]        {escape(event.name)}, seed {event.seed}: {event.bits_per_byte:.4f} bits/byte{done}")


@contextmanager
def compare_recipes_view() -> Iterator[CompareRecipesView]:
    """A view that is closed whatever happens."""
    view = CompareRecipesView()
    try:
        yield view
    finally:
        view.close()


def show_recipe_comparison(result: RecipeComparison) -> None:
    """The tables, then what is to be known of them, and where the page is."""
    print_recipe_comparison(result)
    for note in result.notes:
        show.say(f"[yellow]note[/]  {escape(note)}")
    show.say(f"page: [bold]{escape(result.html)}[/]", wraps=False)


def print_recipe_comparison(result: RecipeComparison) -> None:
    """A row for each recipe, then the differences, then in words; on standard output, as it is the result."""
    import dataclasses

    from whelp.report import say_difference

    output = open_output(_FILE_WIDTH)
    columns = ["", "bits/byte", "by seed", "parameters", "steps", "tokens seen", "text seen", "epochs", "FLOP"]
    has_minutes = result.equal == "minutes"  # of other comparisons they stand on the page
    columns += ["minutes"] if has_minutes else []
    sides = [
        [
            side.name,
            f"{side.bits_per_byte:.4f}",
            " ".join(f"{bits:.4f}" for bits in side.by_seed),
            f"{side.num_parameters:,}",
            f"{side.num_steps:,}",
            f"{side.seen_tokens:,}",
            say_bytes(side.seen_bytes),
            f"{side.num_epochs:.2f}",
            f"{side.compute_flops:.3g}",
            *([_say_minutes(side.training_minutes)] if has_minutes else []),
        ]
        for side in result.sides
    ]
    print_records(output, columns, sides, right=set(columns) - {"", "by seed"})
    first, has_pairs = result.sides[0].name, len(result.differences) > len(result.sides) - 1
    columns = ["recipe" if has_pairs else f"against {first}", "measured on", "difference", "both", "by seeds", "by texts"]
    measured: list[list[str]] = []
    for one in result.differences:
        name = f"{one.name} against {one.baseline}" if has_pairs else one.name
        for source, values in (("all texts", one.whole), *one.sources.items()):
            intervals = (f"{kind.low:+.4f} to {kind.high:+.4f}" for kind in (values.both, values.seeds, values.texts))
            measured.append([name, source, f"{values.difference:+.4f}", *intervals])
    print_records(output, columns, measured)
    for one in result.differences:
        output.print(escape(say_difference(dataclasses.asdict(one))), soft_wrap=True)


def _say_minutes(minutes: float | None) -> str:
    return "" if minutes is None else f"{minutes:.3g}"
