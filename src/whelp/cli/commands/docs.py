"""`whelp docs`."""

from __future__ import annotations

from typing import Annotated

import typer

from whelp.cli.commands.options import AsJson
from whelp.cli.commands.shared import hand_over


def docs(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PAGE[#SECTION] | WORDS...]", help="A page, or words to look for. Default: all pages.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read the documentation here, without a network: a page, a section, or where words stand.

    Questions are understood, and so are words of other programs.

    Example:
      whelp docs packing
      whelp docs training#checkpoints
      whelp docs gradient accumulation
      whelp docs how do I resume
    """
    from whelp.cli.docs import docs as find
    from whelp.cli.screens.show_docs import show_docs

    hand_over(find(" ".join(words or [])), show_docs, as_json=as_json)
