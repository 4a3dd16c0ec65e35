"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[section.field=value]...", help="Options that replace the recipe's.", show_default=False),
]
Scale = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Another size of the recipe: tiny (the whole path in seconds), or one that it names."),
]
StorePath = Annotated[Path, typer.Option("--store", metavar="STORE", help="A token store made by `whelp prepare`.")]
ModelPath = Annotated[str, typer.Argument(metavar="MODEL", help="A run folder, a checkpoint, or a Hugging Face model folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


class EngineName(Enum):
    """Where partitions are worked on."""

    local = "local"
    ray = "ray"
