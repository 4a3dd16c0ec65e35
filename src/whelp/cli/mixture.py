"""The entries of `data.mixture`: each a source with a weight, and with a template and filters of its own.

What an entry does not say is as in `data`: `spread_defaults` writes that into the entries before they are read, and
`fold_defaults` takes it out again, so that a recipe written out is what its author would have written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any

from whelp.base.config import option
from whelp.base.errors import ConfigError
from whelp.corpus.config import SourceConfig
from whelp.curate.config import CurateConfig
from whelp.prepare.config import PrepareConfig, TemplateConfig

_GLOB_SIGNS = "*?["
# Of the section curate: how rows are written and compared, which a source cannot have to itself.
OF_ALL_SOURCES = (
    *("format", "shard_megabytes", "keep_columns", "examples"),
    *("decontaminate", "exact_duplicates", "near_duplicates"),
)


@dataclass(frozen=True, kw_only=True)
class MixtureEntry(PrepareConfig, TemplateConfig, SourceConfig):
    """One source of a mixture."""

    source: str | list[str] = option("", "as `data.source`; every entry has its own", is_path=True)
    name: str | None = option(
        None, "what it is called in ledgers and reports; nothing: the end of its source, without suffixes"
    )
    weight: float = option(1.0, "its share of the training rows, beside the weights of the others; above 0")
    max_repeats: float | None = option(
        None, "train each of its rows at most so many times in a run, on average; nothing: as often as the weight wants"
    )
    curate: CurateConfig | None = option(
        None,
        "a preset and rules of its own for `whelp curate`; nothing: as the section curate says, which alone says how rows are "
        "written and compared",
    )

    def __post_init__(self) -> None:
        problems = []
        if not self.source:
            problems.append("source is missing")
        if not (self.weight > 0 and math.isfinite(self.weight)):
            problems.append(f"weight is {self.weight:g}, but expected a number above 0")
        if self.max_repeats is not None and not self.max_repeats > 0:
            problems.append(f"max_repeats is {self.max_repeats:g}, but expected a number above 0")
        if self.name is not None and not self.name.strip():
            problems.append("name is empty")
        if self.curate is not None:
            problems += [
                f"curate.{name} is set, but it is the same for all sources. Set it in the section curate"
                for name in OF_ALL_SOURCES
                if getattr(self.curate, name) != getattr(CurateConfig(), name)
            ]
        if self.pieces and self.custom_text_key is not None:
            problems.append("pieces and custom_text_key are both set. Keep one of them")
        for part in (SourceConfig, TemplateConfig, PrepareConfig) if self.source else (TemplateConfig, PrepareConfig):
            try:
                part.__post_init__(self)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError("data", [f"data.mixture, {self.label}: {problem.removeprefix('data.')}" for problem in problems])

    @property
    def label(self) -> str:
        """What it is called."""
        if self.name is not None:
            return self.name
        first = self.source if isinstance(self.source, str) else next(iter(self.source), "")
        parts = [part for part in PurePath(self.source_data_dir or first).parts if not set(part) & set(_GLOB_SIGNS)]
        last = parts[-1] if parts else first
        return last.partition(".")[0] or last or "an entry"


_OWN = {"source", "name", "weight", "max_repeats", "curate"}
_SHARED = {field.name for field in fields(MixtureEntry)} - _OWN


def spread_defaults(values: Mapping[str, Any], where: object) -> dict[str, Any]:
    """The values of a recipe, those of `data` laid below those of every entry of its mixture.

    Raises:
        ConfigError: When there is a source beside the mixture.
    """
    data = values.get("data")
    if not isinstance(data, Mapping) or not isinstance(data.get("mixture"), list) or not data["mixture"]:
        return dict(values)
    if "source" in data:
        raise ConfigError(
            where,
            ["data.source and data.mixture are both set"],
            "Keep one of them: every entry of a mixture has its own source.",
        )
    shared = {name: value for name, value in data.items() if name in _SHARED}
    entries = [{**shared, **entry} if isinstance(entry, Mapping) else entry for entry in data["mixture"]]
    return {**values, "data": {**data, "mixture": entries}}


def fold_defaults(data: Mapping[str, Any], labels: list[str]) -> dict[str, Any]:
    """The reverse, for the values of `data` with everything in them: each entry keeps what is its own, and its name."""
    if not data["mixture"]:
        return dict(data)
    entries = [
        {
            **{name: value for name, value in entry.items() if name in _OWN or value != data[name]},
            "name": label,
        }
        for entry, label in zip(data["mixture"], labels, strict=True)
    ]
    return {**{name: value for name, value in data.items() if name != "source"}, "mixture": entries}


def override_entries(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn overrides of entries by name, `data.mixture.NAME.field=value`, into the whole list with those changes.

    Raises:
        ConfigError: When there is no entry of that name.
    """
    data = overrides.get("data")
    changes = data.get("mixture") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(changes, Mapping):
        return dict(overrides)
    before = values.get("data")
    entries = list((before.get("mixture") or []) if isinstance(before, Mapping) else [])
    names = [_name_of(entry) for entry in entries]
    unknown = [name for name in changes if name not in names]
    if unknown:
        known = ", ".join(names) or "none"
        raise ConfigError("overrides", [f"data.mixture.{name}: there is no such source (known: {known})" for name in unknown])
    changed = [
        {**entry, **changes[name]} if isinstance(changes.get(name), Mapping) else entry
        for name, entry in zip(names, entries, strict=True)
    ]
    return {**overrides, "data": {**data, "mixture": changed}}


def _name_of(entry: Any) -> str:
    """The label of an entry that is not read yet."""
    if not isinstance(entry, Mapping):
        return ""
    given = {name: entry[name] for name in ("name", "source", "source_data_dir") if entry.get(name)}
    try:
        return MixtureEntry(**given).label
    except (ConfigError, TypeError, AttributeError):  # reading the recipe says what is wrong with it
        return ""
