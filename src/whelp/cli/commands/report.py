"""`whelp report` and `whelp schema`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from whelp.cli.commands.options import AsJson
from whelp.cli.commands.shared import hand_over


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, finished or not.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page. Default: report.html, of one run in its folder, of several here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw runs into one page that opens offline: what differs in their recipes, curves over each other, samples, plans.

    Example:
      whelp report run-1 run-2 --out compared.html
    """
    from whelp.cli.report import report as draw
    from whelp.cli.screens import show_training

    result = draw(runs, out=out)
    hand_over(result, show_training.show_runs, as_json=as_json)


def schema(
    as_json: Annotated[bool, typer.Option("--json", help="Accepted as everywhere: a schema is always JSON.")] = False,
) -> None:
    """Print the JSON schema of a recipe: every option, its meaning, default and range.

    Example:
      whelp schema > recipe.schema.json

    Your editor then completes recipe.yaml, if its first line is:
      # yaml-language-server: $schema=recipe.schema.json
    """
    import json

    from whelp.cli.recipe import schema as make_schema

    sys.stdout.write(json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n")
