"""What may come next where a recipe or its options are asked for, at the press of Tab; shells offer files where it is nothing of ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MOST_HELP = 60  # letters beside a word
_SECTIONS = ("data", "curate", "pack", "model", "train")
_RECIPES = (".yaml", ".yml")
Words = list[tuple[str, str] | str]  # with what they mean, where that is known


def complete_recipe(incomplete: str) -> Words:
    """Recipes: files, in folders, and those that are shipped by their name."""
    from whelp.cli.recipe import list_shipped

    folder, begun = os.path.split(incomplete)
    places = sorted(Path(folder or ".").glob("*")) if os.path.isdir(folder or ".") else []
    there = [
        os.path.join(folder, place.name) + ("/" if place.is_dir() else "")
        for place in places
        if place.name.startswith(begun) and not place.name.startswith(".") and (place.is_dir() or place.suffix in _RECIPES)
    ]
    return [*there, *((name, "a shipped recipe") for name in list_shipped() if name.startswith(incomplete))]


def complete_override(incomplete: str) -> Words:
    """`section.field=`, then what may stand there, of an option that has a choice.   'train.learning_r' -> ['train.learning_rate=']"""
    name, equals, begun = incomplete.partition("=")
    before = _find_option_before()
    if before is not None:  # of bash, `name`, `=` and the value are words of their own
        return [value for value in _list_values(before) if value.startswith(incomplete)]
    if equals:
        return [f"{name}={value}" for value in _list_values(name) if value.startswith(begun)]
    if not incomplete or not any(section.startswith(name.partition(".")[0]) for section in _SECTIONS):
        return []
    return [(f"{place}=", about) for place, about, _ in _iter_options() if place.startswith(incomplete)]


def _find_option_before() -> str | None:
    """The option whose value bash asks for; None where it asks for something else, or another shell does."""
    words, place = os.environ.get("COMP_WORDS", "").split("\n"), int(os.environ.get("COMP_CWORD", "0"))
    return words[place - 2] if 2 <= place < len(words) and words[place - 1] == "=" else None


def _list_values(option: str) -> list[str]:
    return next((values for place, _, values in _iter_options() if place == option), [])


def _iter_options() -> Iterator[tuple[str, str, list[str]]]:
    """Every option of a recipe: its place, what it is, and the words that it may be, where there is a choice."""
    from whelp.cli.recipe import schema

    yield from _iter_fields(schema(), "")


def _iter_fields(entry: dict[str, Any], path: str) -> Iterator[tuple[str, str, list[str]]]:
    for name, field in entry["properties"].items():
        kinds = field.get("anyOf", [field])
        inner = next((kind for kind in kinds if "properties" in kind), None)
        if inner is not None:
            yield from _iter_fields(inner, f"{path}{name}.")
        if "properties" in field:  # it is nothing but a section
            continue
        values = [str(value) for kind in kinds for value in kind.get("enum", [])]
        values += ["true", "false"] if any(kind.get("type") == "boolean" for kind in kinds) else []
        about = field.get("description", "").partition(";")[0]
        yield f"{path}{name}", about if len(about) <= _MOST_HELP else f"{about[:_MOST_HELP].rpartition(' ')[0]} ...", values
