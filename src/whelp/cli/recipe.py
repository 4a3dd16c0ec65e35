"""A recipe: the sections of all rooms in one YAML file."""

from __future__ import annotations

import difflib
import html
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whelp.base.config import (
    load_config,
    make_schema,
    map_paths,
    merge,
    option,
    parse_overrides,
    read_yaml,
    resolve_paths,
    section,
    to_dict,
)
from whelp.base.errors import ConfigError
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.base.result_repr import make_pre
from whelp.cli.infctx import is_infctx, map_infctx
from whelp.cli.mixture import MixtureEntry, fold_defaults, override_entries, spread_defaults
from whelp.cli.scale import describe_scale, lay_scale, take_scales
from whelp.cli.words_elsewhere import OPTIONS
from whelp.corpus.config import SourceConfig
from whelp.curate.config import CurateConfig
from whelp.model.config import ModelConfig
from whelp.prepare.config import PackConfig, PrepareConfig, TemplateConfig
from whelp.tokenizer.config import VocabularyConfig
from whelp.train.config import TrainConfig

_OVERRIDE = re.compile(r"[a-z]+(\.\w+)+=")
_TEXTS = (".txt", ".text", ".md")


@dataclass(frozen=True, kw_only=True)
class DataConfig(PrepareConfig, TemplateConfig, VocabularyConfig, SourceConfig):
    """What the rows are, and how they become tokens."""

    mixture: list[MixtureEntry] = option(
        [],
        "several sources instead of `source`, drawn by weight, each with options of its own",
        known_as=("sources", "datasets", "data_mixture"),
    )

    def __post_init__(self) -> None:
        SourceConfig.__post_init__(self)
        TemplateConfig.__post_init__(self)
        PrepareConfig.__post_init__(self)
        if self.pieces and self.custom_text_key is not None:
            raise ConfigError("data", ["data.pieces and data.custom_text_key are both set. Keep one of them"])
        labels = [entry.label for entry in self.mixture]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ConfigError("data", [f"data.mixture has two sources called {label}. Give each a name" for label in twice])

    @property
    def entries(self) -> dict[str | None, DataConfig | MixtureEntry]:
        """The sources by name; one that is alone has none."""
        return {entry.label: entry for entry in self.mixture} or {None: self}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a run is told."""

    data: DataConfig = section(DataConfig, "what the rows are, and how they become tokens")
    curate: CurateConfig = section(CurateConfig, "what is kept of the rows by `whelp curate`, before they are prepared")
    pack: PackConfig = section(PackConfig, "how tokens become training rows")
    model: ModelConfig = section(ModelConfig, "what is trained")
    train: TrainConfig = section(TrainConfig, "how it is trained")

    def _repr_html_(self) -> str:
        return make_pre(html.escape(self.to_yaml()))

    def to_values(self) -> dict[str, Any]:
        """Every value, as a recipe that is read again gives it."""
        values = to_dict(self)
        return {**values, "data": fold_defaults(values["data"], [entry.label for entry in self.data.mixture])}

    def to_yaml(self) -> str:
        """The recipe with every value written out; paths are absolute, so that it means the same in any folder."""
        values = map_paths(Recipe, self.to_values(), lambda word, _: make_absolute(word))
        return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


_EXPECTED = "a file of YAML, the name of a shipped recipe, or a mapping of sections"


def make_absolute(path: str) -> str:
    """The whole path of what is there; another word stays."""
    return os.path.realpath(path) if os.path.exists(path) else path


def load_recipe(
    recipe: str | Path | Mapping[str, Any] | Recipe, overrides: Sequence[str] = (), scale: str | None = None
) -> Recipe:
    """Read a recipe: a YAML file, the name of a shipped one, or a mapping; then apply `section.field=value` overrides.

    A YAML of RWKV's infctx trainer is read as a recipe that does the same; overrides are of the recipe's own fields.
    Relative paths in a file are relative to the file; in overrides, to the current folder. Overrides of a mixture name the
    source: `data.mixture.code.weight=3`.

    Args:
        scale: One of the recipe's `scales`, laid over it before the overrides; `tiny` is there for every recipe.

    Raises:
        ConfigError: With every problem at once, each naming its key.
    """
    if isinstance(recipe, Recipe):
        if not overrides and scale is None:
            return recipe
        where: object = "recipe"
        values = recipe.to_values()
    elif isinstance(recipe, Mapping):
        where, values = "recipe", _read_infctx(recipe, "recipe")
    elif not isinstance(recipe, str | Path):
        raise ConfigError("recipe", [f"it is a {type(recipe).__name__}, but expected {_EXPECTED}"], "Example: bark")
    else:
        path = find_recipe(recipe)
        where, values = path, _read_infctx(read_yaml(path), path)
    scales = take_scales(values, where)
    if not isinstance(recipe, (Recipe, Mapping)):
        values = _resolve(values, path)
        scales = {name: _resolve(sections, path) for name, sections in scales.items()}
    for name in scales:  # a mistake in a scale is one, asked for or not
        load_config(Recipe, spread_defaults(lay_scale(values, scales, name, where), where), f"{where}, scale {name}", OPTIONS)
    if scale is not None:
        values = lay_scale(values, scales, scale, where)
        log.info("%s", describe_scale(values, scale))
    merged = merge(values, override_entries(values, parse_overrides(overrides)))
    return load_config(Recipe, spread_defaults(merged, where), where, OPTIONS)


def _resolve(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Paths of a file are relative to it; in a shipped recipe, what is not shipped with it is the user's, and stands here."""
    resolved = resolve_paths(Recipe, values, path.parent)
    if path.parent.resolve() != _shipped_folder().resolve():
        return resolved
    beside = f"{path.parent}{os.sep}"
    return map_paths(Recipe, resolved, lambda word, _: word.removeprefix(beside) if not os.path.exists(word) else word)


def _read_infctx(values: Mapping[str, Any], where: object) -> dict[str, Any]:
    """Our sections, whichever trainer the values were written for."""
    if not is_infctx(values):
        return dict(values)
    mapped = map_infctx(values, where)
    for notice in mapped.notices:
        log.info("%s", notice)
    return dict(mapped.values)


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe.

    Raises:
        ConfigError: When there is neither such a file nor such a shipped recipe, or when it is text or rows by its name.
    """
    path = as_path(name)
    as_source = f"project {shlex.quote(f'data.source={name}')}"
    if path.is_file():
        if _is_data(path):
            problem = "is a file of text or rows by its name, but a recipe is expected"
            raise ConfigError(name, [problem], f"Give one, of yours or shipped, and the file as its source: {as_source}")
        return path
    shipped = list_shipped()
    if str(name) in shipped:
        return shipped[str(name)]
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    if path.is_dir():
        advice = f"Give the YAML file; `whelp new NAME` writes one. If it holds your text, it is a source: {as_source}"
        raise ConfigError(name, ["is a folder without a recipe.yaml"], advice)
    if _OVERRIDE.match(str(name)):
        problem = "is an override, but a recipe is expected before it"
        raise ConfigError(name, [problem], f"Give one, of yours or shipped: project {name}")
    nearby = [str(found) for found in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(str(name), [*shipped, *nearby], n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise ConfigError(
        name,
        ["there is no such recipe file"],
        f"{hint}Shipped recipes: {', '.join(shipped)}. `whelp new NAME` writes a new one.",
    )


def _is_data(path: Path) -> bool:
    """Whether a name says that it holds text or rows. A recipe may be JSON, and have a name without a known ending."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return False
    from whelp.corpus.compressed import split_name  # they take long to import
    from whelp.corpus.rows import find_format

    return split_name(path)[0] in _TEXTS or find_format(path) not in (None, "json")


def _shipped_folder() -> Path:
    package = Path(__file__).parents[1]
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def list_shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    return {found.stem: found for found in sorted(_shipped_folder().glob("*.yaml"))}


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe: every section and option, its meaning, default and range."""
    made = make_schema(Recipe)
    scales = {"type": "object", "additionalProperties": {"type": "object", "properties": made["properties"]}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "whelp recipe",
        **made,
        "patternProperties": {"^scales$": scales},
    }
