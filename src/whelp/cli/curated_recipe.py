"""The recipe to go on with after a mixture was curated: the same, but that it reads what was kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from whelp.base.config import map_paths, to_dict
from whelp.cli.mixture import MixtureEntry
from whelp.cli.recipe import Recipe, load_recipe, make_absolute
from whelp.corpus.config import SourceConfig
from whelp.curate.config import CurateConfig

_HEAD = "# What was kept of a mixture, to go on with: whelp prepare THIS_FILE --out store\n"
_OWN = ("weight", "max_repeats", "curate")  # of an entry, which `data` has not
_STILL_MEANT = ("custom_text_key", "on_bad_rows")  # of the options of a source; the others say how its files were read


def write_curated_recipe(recipe: Recipe, ledger: Mapping[str, Any]) -> str:
    """A YAML that means the recipe, of the kept rows beside it, in the folder of the corpus; what is as by default is left out.

    Weights, templates, filters and names are as they were. Rows that a source held out are its test split again.
    """
    from whelp.curate.writing import KEPT, TEST, name_folders

    read_as = _list_reading()
    labels = [entry.label for entry in recipe.data.mixture]
    entries = [
        dataclasses.replace(entry, **{**read_as, "source": label, "name": label, "curate": None})
        for entry, label in zip(recipe.data.mixture, labels, strict=True)
    ]
    data = dataclasses.replace(recipe.data, **read_as, mixture=entries)
    values = map_paths(
        Recipe,
        dataclasses.replace(recipe, data=data, curate=CurateConfig()).to_values(),
        lambda word, _: make_absolute(word),
    )
    short = _leave_out(values, to_dict(Recipe()))
    usual_entry = to_dict(MixtureEntry(source=KEPT))
    written = []
    for entry, label, folder in zip(short["data"]["mixture"], labels, name_folders(labels), strict=True):
        rest = {name: value for name, value in entry.items() if name not in _OWN or value != usual_entry[name]}
        has_test = bool(ledger["sources"][label]["documents_test"])
        files = _name_files(f"{KEPT}/{folder}", f"{TEST}/{folder}", recipe.curate.format, has_test=has_test)
        written.append(
            {"name": label, **files, **{name: value for name, value in rest.items() if name not in {"name", "source"}}}
        )
    short["data"]["mixture"] = written
    return _HEAD + str(yaml.safe_dump(short, sort_keys=False, allow_unicode=True))


def read_curated(recipe: Recipe, folder: Path, ledger: Mapping[str, Any]) -> Recipe:
    """The recipe that goes on with what was kept of it in `folder`, of one source or of a mixture."""
    from whelp.curate.writing import KEPT, TEST

    if recipe.data.mixture:
        return load_recipe(folder / "recipe.yaml")
    has_test = bool(ledger["documents_test"])
    files = _name_files(str(folder / KEPT), str(folder / TEST), recipe.curate.format, has_test=has_test)
    return dataclasses.replace(
        recipe, data=dataclasses.replace(recipe.data, **{**_list_reading(), **files}), curate=CurateConfig()
    )


def _list_reading() -> dict[str, Any]:
    """Options that said how the files of a source were read, as they come: what was kept is read like any rows."""
    usual = SourceConfig()
    return {field.name: getattr(usual, field.name) for field in fields(usual) if field.name not in _STILL_MEANT}


def _name_files(kept: str, test: str, format: str, *, has_test: bool) -> dict[str, Any]:
    """The options of a source that read its kept rows, and those it held out as its test split."""
    if not has_test:
        return {"source": kept}
    kind = {"jsonl": "json"}.get(format, format)
    splits = {"train": f"{kept}/*.{format}", "test": f"{test}/*.{format}"}
    return {"source": kind, "source_dataset_params": {"data_files": splits}}


def _leave_out(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not the defaults."""
    short = {}
    for name, value in values.items():
        if name in defaults and value == defaults[name]:
            continue
        inner = defaults.get(name)
        short[name] = _leave_out(value, inner) if isinstance(value, Mapping) and value and isinstance(inner, Mapping) else value
    return short
