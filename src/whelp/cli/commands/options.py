"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from whelp.cli.commands.complete_words import complete_override, complete_recipe

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]
RecipeName = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.", autocompletion=complete_recipe),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[section.field=value]...",
        help="Options that replace the recipe's.",
        show_default=False,
        autocompletion=complete_override,
    ),
]
Scale = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Another size of the recipe: tiny (64 documents, 4 steps: the whole path in seconds), or one that it names.",
    ),
]
StorePath = Annotated[Path, typer.Option("--store", metavar="STORE", help="A token store made by `whelp prepare`.")]
ModelPath = Annotated[str, typer.Argument(metavar="MODEL", help="A run folder, a checkpoint, or a Hugging Face model folder.")]
StateFile = Annotated[
    Path | None,
    typer.Option("--state", metavar="FILE", help="RWKV: go on from what `whelp state` has read.", show_default=False),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[
    str,
    typer.Option(
        metavar="P",
        help="auto: numbers as they are stored, on a CPU float32; bf16: rounded and quicker, on a GPU or a CPU that computes with it.",
    ),
]

MaxTokens = Annotated[int, typer.Option(metavar="N", help="Most tokens to add.")]
Temperature = Annotated[float, typer.Option(metavar="T", help="0: always the likeliest token.")]
TopK = Annotated[int, typer.Option(metavar="K", help="Choose among the K likeliest; 0: all.")]
TopP = Annotated[float, typer.Option(metavar="P", help="Choose among the likeliest that together have P.")]
MinP = Annotated[float, typer.Option(metavar="P", help="Leave out what is less likely than P x the likeliest.")]
RepetitionPenalty = Annotated[float, typer.Option(metavar="R", help="Above 1: repeat less.")]
Stop = Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before this text; may be repeated.")]
Regex = Annotated[
    str | None, typer.Option(metavar="REGEX", help="The whole continuation matches this regular expression of Python.")
]
Choice = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT,...", help="The continuation is one of these; commas part them, or it is repeated."),
]
JsonSchema = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The continuation is JSON, valid by the JSON schema in this file.")
]
Grammar = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The continuation follows the grammar in this file: Lark's form, or llama.cpp's (GBNF)."),
]


def need(value: Path | None, name: str) -> Path:
    """Ask for an option that only a dry run can do without."""
    if value is None:
        raise typer.BadParameter("is needed (unless you ask for --dry-run).", param_hint=f"'{name}'")
    return value


class EngineName(Enum):
    """Where partitions are worked on."""

    local = "local"
    ray = "ray"
