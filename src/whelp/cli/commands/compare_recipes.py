"""`whelp compare-recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from whelp.base.last_event import run_to_end
from whelp.cli.commands.options import AsJson, Scale
from whelp.cli.commands.shared import hand_over


def compare_recipes(
    recipes: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE",
            help="Two recipes or more, or one with --vary; the first one is what the others are compared with. "
            "section.field=value among them is laid on all.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Gets report.html, and of each recipe its store and its runs.")
    ] = Path("compared"),
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--held-out",
            metavar="[NAME=]SOURCE",
            help="Texts to measure on, as data.source names them; may be repeated. Default: the test splits of all recipes.",
            show_default=False,
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="section.field=A,B",
            help="Each recipe once with each value; may be repeated, for all combinations.",
            show_default=False,
        ),
    ] = None,
    equal: Annotated[
        Literal["tokens", "bytes", "compute", "minutes"],
        typer.Option(
            help="Of what each recipe has as much as the first: tokens, bytes of text, floating-point operations, or minutes of "
            "training, timed before the first run."
        ),
    ] = "tokens",
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Compare all with each other, not only with the first; intervals are wider.")
    ] = False,
    jobs: Annotated[
        int, typer.Option(metavar="N", help="Runs at once: on GPUs one each, on a CPU each with its part of the threads.")
    ] = 1,
    seeds: Annotated[int, typer.Option(metavar="N", help="Runs of each recipe. More, later, keep those that are done.")] = 3,
    confidence: Annotated[float, typer.Option(metavar="C", help="Of the intervals: 0.95 misses once in twenty.")] = 0.95,
    held_out_bytes: Annotated[
        int, typer.Option(metavar="N", help="Of each held-out source take about so much, from all over it.")
    ] = 1_000_000,
    scale: Scale = None,
    as_json: AsJson = False,
) -> None:
    """Which recipe is better? Train a small model of each, several seeds, and measure on the same texts, in bits per byte.

    Recipes may differ in anything: data, vocabulary, model, training. Only the length is the first one's for all, in --equal:
    tokens for other data or training, bytes for other vocabularies, compute for other models, minutes for what is faster. The
    answer has a confidence interval, over seeds and texts, and says what would decide it when it cannot be told. Stopped or
    killed, the same command goes on.

    Example:
      whelp compare-recipes all.yaml filtered.yaml --held-out good.jsonl

    Learning rates:
      whelp compare-recipes a.yaml --vary train.learning_rate=0.001,0.003,0.01

    Each with each, on four GPUs:
      whelp compare-recipes a.yaml --vary model.n_layer=2,4,8 --pairs --jobs 4

    Vocabularies:
      whelp compare-recipes a.yaml b.yaml --equal bytes --held-out good.jsonl

    More seeds:
      whelp compare-recipes all.yaml filtered.yaml --out compared --seeds 6

    Several kinds of text:
      whelp compare-recipes a.yaml b.yaml --held-out news/ --held-out code=src/
    """
    from whelp.cli.compare_recipes import iter_compare_recipes
    from whelp.cli.recipe_comparison.events import RecipeComparison
    from whelp.cli.recipe_comparison.sides import load_sides
    from whelp.cli.screens.draw_events import draw_comparing_recipes, drawn
    from whelp.cli.screens.show_compare_recipes import show_recipe_comparison

    overrides = [word for word in recipes if "=" in word and not Path(word).exists()]
    sides = load_sides([word for word in recipes if word not in overrides], overrides, scale, vary or [])
    events = iter_compare_recipes(
        sides,
        out,
        held_out=held_out or [],
        num_seeds=seeds,
        equal=equal,
        pairs=pairs,
        jobs=jobs,
        confidence=confidence,
        held_out_bytes=held_out_bytes,
    )
    result = run_to_end(drawn(events, draw_comparing_recipes), RecipeComparison)
    hand_over(result, show_recipe_comparison, as_json=as_json)
