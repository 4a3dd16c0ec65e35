"""What several commands do alike."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from whelp.cli.commands import collect_local as _collect_local  # noqa: F401 (its commands join collect_app)

if TYPE_CHECKING:
    from whelp.cli.recipe import Recipe


def say_page(html: Path | None) -> None:
    from rich.markup import escape

    from whelp.cli import show

    if html is not None:
        show.say(f"page: [bold]{escape(str(html))}[/]")


class FormatName(Enum):
    """Formats of token ids."""

    megatron = "megatron"
    nanogpt = "nanogpt"
    llmc = "llmc"
    parquet = "parquet"


def part_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """Names, and `section.field=value` among them; what is a file of that name is a name."""

    def is_override(word: str) -> bool:
        name, equals, _ = word.partition("=")
        return bool(equals) and name.replace(".", "").replace("_", "").isalnum() and "." in name and not Path(word).exists()

    return [word for word in words if not is_override(word)], [word for word in words if is_override(word)]


def load(recipe: str, overrides: list[str] | None, scale: str | None = None) -> Recipe:
    from whelp.cli.recipe import load_recipe

    return load_recipe(recipe, overrides or [], scale)
