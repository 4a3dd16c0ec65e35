"""The commands `whelp collect ...` of sources on the network: names, options and help."""

from __future__ import annotations

import typer

collect_app = typer.Typer(
    help="Collect text from the web and from files into JSON lines that say where each document is from.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@collect_app.callback()
def _group() -> None:
    """Collect text from the web and from files into JSON lines that say where each document is from."""
