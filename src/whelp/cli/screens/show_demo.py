"""How the demo ends: before and after side by side, the numbers, what to try next."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from whelp.cli.demo import DemoResult
from whelp.cli.screens.show import console, say, show_side_by_side
from whelp.cli.screens.show_result import say_result


def show_demo(result: DemoResult, out: Path) -> None:
    """Draw the end of the demo."""
    console.print()
    show_side_by_side(
        "before training", "after training", [(example.prompt, example.before, example.after) for example in result.examples]
    )
    if result.nats_per_token_before is not None:
        say(f"[bold]untrained[/]  {result.nats_per_token_before:.3f} nats/token on held-out text")
    say_result(result.train)
    prompt = result.examples[0].prompt.splitlines()[0]
    folder = escape(str(out))
    say(f"[bold]picture[/]    {folder}/run/report.html")
    say("\n[bold]Try next[/]")
    say(f'  whelp generate {folder}/run --prompt "{escape(prompt)}" --n 3')
    say(f"  whelp evaluate {folder}/run --store {folder}/store")
    say("  whelp new my-model          [dim]# a project with a recipe of your own[/]")
