"""What several commands do alike."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from whelp.cli.recipe import Recipe

Result = TypeVar("Result")


def say_page(html: Path | None) -> None:
    """Say where a page was written, if one was asked for."""
    from rich.markup import escape

    from whelp.cli.screens import show

    if html is not None:
        show.say(f"page: [bold]{escape(str(html))}[/]", wraps=False)


class FormatName(Enum):
    """Formats of token ids."""

    megatron = "megatron"
    nanogpt = "nanogpt"
    llmc = "llmc"
    parquet = "parquet"


def find_free_name(name: str) -> str:
    """A name for a new folder here: this one, or with a number.   'run' -> 'run-2', where there is a run"""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(free for free in names if not os.path.lexists(free))


def hand_over(result: Result, show_it: Callable[[Result], object], *, as_json: bool) -> None:
    """Give the result of a command: as an object on standard output, or in words."""
    from whelp.cli.screens import show

    if as_json:
        show.print_json(result)
    else:
        show_it(result)


def part_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """Names, and `section.field=value` among them; what is a file of that name is a name."""

    def is_override(word: str) -> bool:
        name, equals, _ = word.partition("=")
        return bool(equals) and name.replace(".", "").replace("_", "").isalnum() and "." in name and not Path(word).exists()

    return [word for word in words if not is_override(word)], [word for word in words if is_override(word)]


def load(recipe: str, overrides: list[str] | None, scale: str | None = None) -> Recipe:
    from whelp.cli.recipe import load_recipe

    return load_recipe(recipe, overrides or [], scale)
