"""`whelp push`."""

from __future__ import annotations

from typing import Annotated

import typer

from whelp.cli.commands.models import ModelFormat
from whelp.cli.commands.options import AsJson


def push(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|DATA",
            help="A run, a checkpoint, a model folder, or a folder of `whelp export`, which goes as it stands. With --dataset: a "
            "token store, a curated corpus, a file or a folder of rows or text.",
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="What it is called on the hub; it is made where it is not there.")
    ],
    dataset: Annotated[bool, typer.Option("--dataset", help="Push a data set, not a model.")] = False,
    format: Annotated[
        ModelFormat | None,
        typer.Option(help="Of a run: as `whelp export` writes it. Default: hf, which transformers opens by OWNER/NAME."),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Of a run: f32, f16, bf16; gguf also q8_0, onnx f32. Default: as stored (hf, pth), f16 (gguf)."),
    ] = None,
    license: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of the weights, or of the texts, for the card: mit, cc-by-4.0, ...")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make it for you and your organization alone.")] = False,
    revision: Annotated[
        str | None,
        typer.Option("--revision", "--branch", metavar="BRANCH", help="Another branch; it is made where it is not there."),
    ] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="Of the commit.")] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace files that stand there with other bytes, and remove weights and rows of an earlier push that would be "
            "read with these; the history keeps the old ones.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only say which files would go, how large they are, and what the card says. Needs no login."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hand a model on through a hub of models, with a card of its data, recipe and numbers; or a data set.

    The hub is that of `huggingface_hub`: log in once with `hf auth login`, or set HF_TOKEN. HF_ENDPOINT names another hub.
    Nothing that stands there is replaced or removed without --replace. Stopped, the same command sends what has not arrived.

    First look, then push:
      whelp push run ada/my-model --license mit --dry-run
      whelp push run ada/my-model --license mit --private

    One file for llama.cpp:
      whelp push run ada/my-model-gguf --format gguf --dtype q8_0

    An export whose card was edited:
      whelp push my-model ada/my-model

    A corpus:
      whelp push clean ada/my-corpus --dataset --license cc-by-sa-4.0
    """
    from whelp.base.last_event import run_to_end
    from whelp.cli.push import Pushed, iter_push
    from whelp.cli.screens import show
    from whelp.cli.screens.draw_events import draw_pushing

    events = iter_push(
        source,
        name,
        dataset=dataset,
        format=None if format is None else format.value,
        dtype=dtype,
        license=license,
        private=private,
        revision=revision,
        message=message,
        replace=replace,
        dry_run=dry_run,
    )
    result = run_to_end(draw_pushing(events), Pushed).result
    if as_json:
        show.print_json(result)
