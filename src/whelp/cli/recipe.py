"""A recipe: the sections of all rooms in one YAML file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whelp.base.config import load_config, make_schema, merge, parse_overrides, read_yaml, resolve_paths, section, to_dict
from whelp.base.errors import ConfigError
from whelp.corpus.config import SourceConfig
from whelp.model.config import ModelConfig
from whelp.prepare.config import PackConfig, PrepareConfig
from whelp.tokenizer.config import VocabularyConfig
from whelp.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig(PrepareConfig, VocabularyConfig, SourceConfig):
    """What the rows are, and how they become tokens."""

    def __post_init__(self) -> None:
        SourceConfig.__post_init__(self)
        PrepareConfig.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a run is told."""

    data: DataConfig = section(DataConfig, "what the rows are, and how they become tokens")
    pack: PackConfig = section(PackConfig, "how tokens become training rows")
    model: ModelConfig = section(ModelConfig, "what is trained")
    train: TrainConfig = section(TrainConfig, "how it is trained")

    def to_yaml(self) -> str:
        """The recipe with every value written out; paths are absolute, so that it means the same in any folder."""
        values = to_dict(self)
        source, tokenizer = values["data"]["source"], values["data"]["tokenizer"]
        values["data"]["source"] = [_absolute(item) for item in source] if isinstance(source, list) else _absolute(source)
        if isinstance(tokenizer, str):
            values["data"]["tokenizer"] = _absolute(tokenizer)
        elif tokenizer["retrain"]:
            tokenizer["retrain"] = _absolute(tokenizer["retrain"])
        return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _absolute(path: str) -> str:
    return str(Path(path).resolve()) if Path(path).exists() else path


def load_recipe(recipe: str | Path | Mapping[str, Any] | Recipe, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe: a YAML file, the name of a shipped one, or a mapping; then apply `section.field=value` overrides.

    Relative paths in a file are relative to the file; in overrides, to the current folder.

    Raises:
        ConfigError: With every problem at once, each naming its key.
    """
    if isinstance(recipe, Recipe):
        if not overrides:
            return recipe
        where: object = "recipe"
        values = to_dict(recipe)
    elif isinstance(recipe, Mapping):
        where, values = "recipe", dict(recipe)
    else:
        path = find_recipe(recipe)
        where, values = path, resolve_paths(Recipe, read_yaml(path), path.parent)
    return load_config(Recipe, merge(values, parse_overrides(overrides)), where)


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe.

    Raises:
        ConfigError: When there is neither such a file nor such a shipped recipe.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {found.stem: found for found in sorted(_shipped_folder().glob("*.yaml"))}
    if str(name) in shipped:
        return shipped[str(name)]
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    nearby = [str(found) for found in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(str(name), [*shipped, *nearby], n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise ConfigError(
        name,
        ["there is no such recipe file"],
        f"{hint}Shipped recipes: {', '.join(shipped)}. `whelp new NAME` writes a new one.",
    )


def _shipped_folder() -> Path:
    package = Path(__file__).parents[1]
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe: every section and option, its meaning, default and range."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "whelp recipe", **make_schema(Recipe)}
