"""`whelp trace`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from whelp.base.counts import say_count
from whelp.cli.commands.options import AsJson


def trace(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file (known by its contents, too), a folder, a pattern of file names, the name of a source in a mixture, "
            "or a dataset as the recipe calls it.",
        ),
    ],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="Where to look, with all below; a GGUF file, too. Default: ."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Which stores, runs, checkpoints and exports did a text go into? For when it must be taken out, or its licence changes.

    Only reads. Sees through `whelp curate`, and finds a file that was renamed since.

    Example:
      whelp trace books/dracula.txt projects/

    A source of a mixture:
      whelp trace wikipedia projects/ --json
    """
    from whelp.cli.screens import show
    from whelp.cli.trace import trace as find

    result = find(source, folders or [Path()])
    if as_json:
        show.print_json(result)
        return
    for store in result.stores:
        counts = ", ".join(
            f"{name} {say_count(store.num_documents[name], 'document')}, {say_count(store.num_tokens[name], 'token')}"
            for name in store.num_documents
            if store.num_documents[name]
        )
        through = f" (through {', '.join(store.through)})" if store.through else ""
        sys.stdout.write(f"store {store.folder}: {counts}; {store.share:.2%} of its training tokens{through}\n")
        shown = ", ".join(store.files[:5]) + (f" and {len(store.files) - 5:,} more" if len(store.files) > 5 else "")
        sys.stdout.write(f"  files: {show.printable(shown)}\n")
        if store.named_licences:
            sys.stdout.write(f"  licence: {show.printable(', '.join(store.named_licences))}\n")
    for run in result.runs:
        own = f"{run.share:.2%} of what it trains on, from {run.store}" if run.store is not None else "its store is not here"
        before = (
            f"; about {say_count(run.inherited_tokens, 'token')} in the weights it began with" if run.inherited_tokens else ""
        )
        sys.stdout.write(f"run {run.folder}: {own}{before}\n")
        for name, tokens in run.checkpoints.items():
            sys.stdout.write(f"  {name}: about {say_count(tokens, 'token')} of it trained\n")
    for export in result.exports:
        said = f"{say_count(export.num_tokens, 'token')} of it trained by step {export.step:,}"
        before = f", {export.inherited_tokens:,} of them before its run" if export.inherited_tokens else ""
        origin = f"its run's store is {export.store}" if export.store is not None else "its run's store is not here"
        sys.stdout.write(f"export {export.folder}: about {said}{before}; {origin}\n")
    kinds = (("store", result.num_stores), ("run", result.num_runs), ("export", result.num_exports))
    looked = " and ".join(say_count(count, kind) for kind, count in kinds if count or kind != "export")
    if not result.stores:
        sys.stdout.write(f"{show.printable(source)} is in none of {looked}\n")
    for untold in result.untold:
        show.say_plain(
            f"note  {untold}: its store, or one of the weights it began with, is not in these folders, so not all can be said"
        )
    for step in result.next_steps:
        show.say_plain(f"next  {step}")
