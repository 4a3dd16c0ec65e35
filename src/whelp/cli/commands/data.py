"""`whelp prepare`, `whelp import` and `whelp inspect`."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whelp.base.counts import say_count
from whelp.cli.commands.options import (
    AsJson,
    EngineName,
    Overrides,
    RecipeName,
    Scale,
    need,
)
from whelp.cli.commands.shared import FormatName, find_free_name, load, say_page

if TYPE_CHECKING:
    from whelp.cli.recipe import Recipe


def prepare(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="STORE", help="Where the token store goes. Of an infctx YAML: by default its data_path."),
    ] = None,
    engine: Annotated[
        EngineName, typer.Option(help="Encode on threads here, or on a Ray cluster (the bytes are the same).")
    ] = EngineName.local,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads, or encoders on the cluster. Default: one for each core.")
    ] = None,
    scale: Scale = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn text into a token store: ids, splits, and a ledger of where everything went.

    Killed at any moment, the same command goes on.

    Example:
      whelp prepare recipe.yaml data.source=books/ --out store
    """
    from whelp.base.engines import make_engine
    from whelp.base.last_event import run_to_end
    from whelp.cli.infctx import find_data_path
    from whelp.cli.prepare import StoreReady, iter_prepare
    from whelp.cli.screens import show
    from whelp.cli.screens.draw_events import draw_preparing, drawn

    loaded = load(recipe, overrides, scale)
    if dry_run:
        _dry_run_prepare(loaded, as_json)
        return
    store = need(out or find_data_path(recipe), "--out")
    events = iter_prepare(loaded, store, engine=make_engine(engine.value, workers))
    result = run_to_end(drawn(events, draw_preparing), StoreReady).result
    if as_json:
        show.print_json(result)
        return
    typed = [recipe, *(overrides or []), *(["--scale", scale] if scale is not None else [])]
    place = ["--store", str(out)] if out is not None else []
    show.say_next("train", *typed, *place, "--out", find_free_name(str(store.parent / "run")))


def _dry_run_prepare(recipe: Recipe, as_json: bool) -> None:
    from rich.markup import escape

    from whelp.cli.prepare import OpenedSource, open_recipe_sources
    from whelp.cli.reading_counts import LeftOutNotes, say_marked_up
    from whelp.cli.screens import show
    from whelp.corpus import count_skipped

    notes = LeftOutNotes()

    def describe(one: OpenedSource) -> dict[str, Any]:
        source = one.source
        unreadable = source.look_ahead()
        for _, skipped in unreadable:
            notes.say(skipped)
        say_marked_up(source.files)
        num_bytes = source.num_bytes - sum(file.num_bytes for file, _ in unreadable)
        return {
            "num_files": len(source.files) - len(unreadable),
            "num_bytes": num_bytes,
            "skipped": count_skipped([*source.skipped, *(skipped for _, skipped in unreadable)]),
            "document": source.document,
            "estimated_tokens": num_bytes // 4,
            "columns": source.say_columns(),
        }

    opened = open_recipe_sources(recipe)
    parts = {one.name: describe(one) for one in opened}
    if as_json:
        show.print_json(parts.get(None, {"sources": parts}))
        return
    for one, values in zip(opened, parts.values(), strict=True):
        show.say_file_counts(values["num_files"], values["num_bytes"], one.source.name if one.name is None else one.name)
        show.say_left_out(values["skipped"])
        show.say(
            f"           one document is: {values['document']}; about {say_count(values['estimated_tokens'], 'token')} at 4 bytes each"
        )
        for line in values["columns"]:
            show.say(f"           [dim]columns of text in {escape(line)}[/]")


class RowsName(Enum):
    """What a row of a Parquet file is."""

    auto = "auto"
    documents = "documents"
    packed = "packed"


def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files of token ids; megatron: also the path without .bin.")
    ],
    format: Annotated[FormatName, typer.Option(help="Who has written them; megatron is RWKV's binidx, too.")],
    tokenizer: Annotated[str, typer.Option(metavar="NAME_OR_DIR", help="The vocabulary that made the ids.")],
    out: Annotated[Path, typer.Option(metavar="STORE", help="Where the token store goes.")],
    test: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A file for the test split; may be repeated.")] = None,
    test_split: Annotated[float, typer.Option(metavar="SHARE", help="Or: hold out this share of the documents.")] = 0.0,
    seed: Annotated[int, typer.Option(metavar="S", help="Draws the held-out documents.")] = 0,
    column: Annotated[str, typer.Option(metavar="NAME", help="parquet: the column of ids.")] = "input_ids",
    rows: Annotated[
        RowsName, typer.Option(help="parquet: a row is a document, or rows are packed and cut at the end-of-text id.")
    ] = RowsName.auto,
    as_json: AsJson = False,
) -> None:
    """Make a token store of somebody's files of token ids; then train on it as on any other.

    Example:
      whelp import train.bin --test val.bin --format nanogpt --tokenizer gpt2 \\
        --out store
    """
    from whelp.base.last_event import run_to_end
    from whelp.cli.exchange import ImportRequest, iter_import
    from whelp.cli.prepare import PrepareResult
    from whelp.cli.screens import show
    from whelp.cli.screens.draw_events import draw_importing, drawn

    request = ImportRequest(
        files=files,
        format=format.value,
        tokenizer=tokenizer,
        test=test or [],
        test_split=test_split,
        seed=seed,
        column=column,
        rows=rows.value,
    )
    events = iter_import(request, out)
    result = run_to_end(drawn(events, draw_importing), PrepareResult)
    if as_json:
        show.print_json(result)
        return
    recipe = "recipe.yaml" if os.path.lexists("recipe.yaml") else "project"
    show.say_next("train", recipe, "--store", str(out), "--out", find_free_name(str(out.parent / "run")))


def inspect(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A token store.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[pack.field=value]...", help="Options that replace the recipe's.", show_default=False),
    ] = None,
    rows: Annotated[
        str, typer.Option(metavar="FIRST:STOP", help="Which rows; with --file, --find or --step, which of those found.")
    ] = "0:3",
    tokens: Annotated[bool, typer.Option("--tokens", help="Show position, id and spelling of every token.")] = False,
    file: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only rows with a piece of this source file: a name, a path's end, or a pattern."),
    ] = None,
    find: Annotated[str | None, typer.Option(metavar="TEXT", help="Only rows that hold this text.")] = None,
    step: Annotated[
        int | None, typer.Option(metavar="N", help="With --recipe RUN: only rows that the run read in this step, in its order.")
    ] = None,
    split: Annotated[str, typer.Option(help="train or test.")] = "train",
    recipe: Annotated[str | None, typer.Option(metavar="RECIPE", help="Pack rows as this recipe (or run) does.")] = None,
    plan: Annotated[
        str | None,
        typer.Option(metavar="PLAN", help="concat (without a recipe), best_fit, none or stream."),
    ] = None,
    context_tokens: Annotated[int | None, typer.Option(metavar="N", help="Tokens in a row; without a recipe, 256.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one page with pictures, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show rows as they are trained: text or tokens, what is masked, where documents begin, which file and line they are from.

    On a terminal trained text is green, masked text magenta; without colours masked text stands in ⟦ ⟧.

    Example:
      whelp inspect store --plan best_fit --context-tokens 512 --rows 0:2 \\
        --html rows.html

    What a run read just before its loss jumped:
      whelp inspect store --recipe run --step 1200 --rows 0:64
    """
    from whelp.cli import inspect as looking
    from whelp.cli.screens import show
    from whelp.cli.tokenizer_report import find_page_place

    find_page_place(html)
    config = looking.choose_packing(recipe, overrides or [], context_tokens=context_tokens, plan=plan)
    opened = looking.open_split(store, split, config, run=recipe, step=step)
    with show.waiting("looking"):
        views = list(opened.iter_views(rows, file=file, find=find))
        if html is not None:
            looking.write_page(opened, views, html)
    if recipe is None and context_tokens is None:
        looking.say_how_cut(opened)
    if as_json:
        show.print_json({"rows": [vars(looking.describe_row(view, opened)) for view in views]})
        return
    from whelp.cli.row_report import show_row
    from whelp.cli.screens.show_rows import print_rows

    shown = (show_row(view, opened.packed, opened.store, opened.vocabulary) for view in views)
    print_rows(shown, opened, as_tokens=tokens, find=find)
    say_page(html)
