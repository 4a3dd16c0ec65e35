"""`whelp curate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whelp.base.last_event import run_to_end
from whelp.cli.commands.options import AsJson, EngineName, Overrides, Scale
from whelp.cli.commands.shared import find_free_name, hand_over

_OF_ROWS = ("data.custom_", "data.multi_column_", "data.conversation_")  # what the rows that are kept are read by, too


def curate(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Gets kept/, dropped/, report.html and a ledger.")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="S", help="In place of the recipe's: a file, a folder, a glob, ...; may be repeated."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="The rules: prose, web, code, rows or none. Default: the recipe's, else prose.")
    ] = None,
    engine: Annotated[
        EngineName, typer.Option(help="Judge on threads here, or on a Ray cluster (the bytes are the same).")
    ] = EngineName.local,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads, or workers on the cluster. Default: one for each core.")
    ] = None,
    scale: Scale = None,
    as_json: AsJson = False,
) -> None:
    r"""Keep what is worth training on: rules, duplicates, personal data; all that is dropped is kept aside with its reason.

    Killed at any moment, the same command goes on. DIR/kept is a source for the next step: data.source=DIR/kept. Of a recipe with
    a mixture each source is DIR/kept/NAME, and DIR/recipe.yaml goes on with all of them.

    Example:
      whelp curate --source books/ --out clean

    Code:
      whelp curate --source src/ --preset code --out clean

    Other numbers:
      whelp curate recipe.yaml curate.near_duplicates.jaccard=0.7 \
        curate.repetition=false --out clean

    A mixture:
      whelp curate mixture.yaml --out clean
      whelp prepare clean/recipe.yaml --out store

    Keep evaluations out:
      whelp curate recipe.yaml 'curate.decontaminate.against=[gsm8k_test.jsonl]' \
        --out clean
    """
    from whelp.base.engines import make_engine
    from whelp.cli.curate import CorpusReady, iter_curate, load_curate_recipe
    from whelp.cli.screens import show
    from whelp.cli.screens.draw_events import draw_curating, drawn
    from whelp.cli.screens.show_curate import show_curated

    if out is None:
        raise typer.BadParameter("is needed.", param_hint="'--out'")
    given = list(overrides or [])
    if recipe is not None and "=" in recipe and not Path(recipe).exists():  # with --source, there need not be a recipe
        given = [recipe, *given]
        recipe = None
    given += [f"curate.preset={preset}"] if preset is not None else []
    sources = None if not source else source if len(source) > 1 else source[0]
    loaded = load_curate_recipe(recipe, sources, given, scale)
    events = iter_curate(loaded, out, engine=make_engine(engine.value, workers))
    result = run_to_end(drawn(events, draw_curating), CorpusReady).result
    hand_over(result, show_curated, as_json=as_json)
    if not as_json:
        of_rows = [override for override in given if override.startswith(_OF_ROWS)]
        kept = [recipe or "project", f"data.source={result.source}", *of_rows] if result.recipe is None else [result.recipe]
        show.say_next("prepare", *kept, "--out", find_free_name("store"))
