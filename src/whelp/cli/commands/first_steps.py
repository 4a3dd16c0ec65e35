"""`whelp demo` and `whelp new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whelp.cli.commands.options import AsJson
from whelp.cli.commands.shared import hand_over


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Gets tokenizer/, store/ and run/.")] = Path("whelp-demo"),
    corpus: Annotated[
        str | None, typer.Option(metavar="PATH", help="Your own text: a file or a folder. Default: Python's standard library.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="N", help="Minutes of training. Default: 2.")] = None,
    as_json: AsJson = False,
) -> None:
    """The whole path in a few minutes: text, vocabulary, training, and a model that talks. No download, no account.

    Run it again and it goes on where it stopped. Nothing outside DIR is touched.

    Example:
      whelp demo --corpus books/ --minutes 5
    """
    from whelp.base.last_event import run_to_end
    from whelp.cli.demo import DemoResult, iter_demo, make_demo_recipe
    from whelp.cli.screens.draw_events import draw_training, drawn
    from whelp.cli.screens.show_demo import show_demo

    recipe = make_demo_recipe(corpus, minutes)
    result = run_to_end(drawn(iter_demo(recipe, out), draw_training), DemoResult)
    hand_over(result, lambda made: show_demo(made, out), as_json=as_json)


def new(name: Annotated[str, typer.Argument(metavar="NAME", help="The folder to make.")], as_json: AsJson = False) -> None:
    """Write a project folder: a commented recipe and a README of the commands.

    Example:
      whelp new my-model
    """
    from rich.markup import escape

    from whelp.cli.new import new as make_new
    from whelp.cli.screens import show

    result = make_new(name)
    if as_json:
        show.print_json(result)
        return
    show.say(f"[bold]{escape(result.folder)}/[/] holds {', '.join(result.files)}")
    show.say(f"Next: put text into {escape(result.folder)}/text, then read {escape(result.folder)}/README.md")
