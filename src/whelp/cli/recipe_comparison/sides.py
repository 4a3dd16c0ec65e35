"""The recipes that `whelp compare-recipes` sets against each other."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from whelp.artifacts.output_place import refuse_place
from whelp.base.as_list import as_list
from whelp.base.config import read_yaml
from whelp.base.errors import ArtifactError, ConfigError, PlanError, say_first_line
from whelp.base.files import read_json, write_json
from whelp.cli.recipe import Recipe, find_recipe, load_recipe
from whelp.cli.recipe_comparison.events import SideStarted

ASKED_FILE = "asked.json"
_SAME_FOR_ALL = ("num_steps", "num_epochs", "minutes", "seed")  # options of train that one recipe says for all

Equal = Literal["tokens", "bytes", "compute", "minutes"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One recipe."""

    name: str
    recipe: Recipe
    is_curated: bool

    @property
    def data_key(self) -> str:
        """The same for sides whose data is: they share a store."""
        values = self.recipe.to_values()
        return json.dumps([values["data"], self.is_curated and values["curate"], self.recipe.train.seed], default=str)


def load_sides(
    recipes: Sequence[str | Path | Mapping[str, Any] | Recipe] | Mapping[str, Any],
    overrides: Sequence[str] = (),
    scale: str | None = None,
    vary: str | Sequence[str] = (),
) -> list[Side]:
    """Read the recipes; overrides and the scale are laid on each.

    Args:
        vary: `section.field=value,value`: each recipe once with each value; of several, with each combination. In order: the
            first value of each, on the first recipe, is what the others are compared with.

    Raises:
        ConfigError: When that makes fewer than two.
    """
    given = list(recipes.values()) if isinstance(recipes, Mapping) else as_list(recipes)
    names = _check_names(list(recipes)) if isinstance(recipes, Mapping) else _name(given)
    variants = _list_variants(as_list(vary))
    if len(given) * len(variants) < 2:
        found = f"{len(given)} given, but expected 2 at least: the first one is what the others are compared with"
        example = "Example: whelp compare-recipes a.yaml b.yaml, or whelp compare-recipes a.yaml --vary train.learning_rate=0.001,0.003"
        raise ConfigError("compare-recipes: recipes", [found], example)
    sides = []
    for (name, source), variant in itertools.product(zip(names, given, strict=True), variants):
        changes = [*overrides, *variant]
        recipe = load_recipe(source, changes, scale)
        words = [_write_folder_name(change) for change in variant]
        whole_name = "-".join([name] * (len(given) > 1 or not words) + words)
        sides.append(Side(name=whole_name, recipe=recipe, is_curated=_has_curate(source, changes)))
    if len({side.name for side in sides}) < len(sides):
        raise ConfigError("compare-recipes: --vary", ["a value is there twice"], "Name each value once.")
    return sides


def _list_variants(vary: Sequence[str]) -> list[tuple[str, ...]]:
    """["a.b=1,2", "c.d=x,y"] -> [("a.b=1", "c.d=x"), ("a.b=1", "c.d=y"), ("a.b=2", ...), ...]; of none, one without changes."""
    axes, problems = list[list[str]](), list[str]()
    for one in vary:
        field, _, values = one.partition("=")
        try:
            listed = yaml.safe_load(f"[{values}]")
        except yaml.YAMLError:
            listed = []
        if "." not in field or not listed:
            problems.append(f"{one!r} is not section.field=value,value")
            continue
        if field in [f"train.{name}" for name in _SAME_FOR_ALL]:
            problems.append(f"{field} cannot be varied: length and seeds are the same for all (--equal, --seeds)")
        texts = [json.dumps(value) if isinstance(value, (dict, list)) else _write_scalar(value) for value in listed]
        axes.append([f"{field}={text}" for text in texts])
    if problems:
        raise ConfigError("compare-recipes: --vary", problems, "Example: --vary train.learning_rate=0.001,0.003,0.01")
    return list(itertools.product(*axes))


def _write_scalar(value: Any) -> str:
    return str(yaml.safe_dump(value, width=10_000)).removesuffix("\n").removesuffix("\n...")


def _write_folder_name(change: str) -> str:
    """train.learning_rate=0.003 -> learning_rate 0.003; data.tokenizer={"learn": "bpe", "vocab_size": 512} -> tokenizer learn bpe ..."""
    field, _, value = change.partition("=")
    return " ".join([field.rpartition(".")[2], *re.findall(r"[\w.-]+", value)])


def _has_curate(recipe: Any, overrides: Sequence[str]) -> bool:
    """Whether a recipe has a section `curate`, if only in the entries of its mixture."""
    if any(override.startswith("curate.") for override in overrides):
        return True
    if isinstance(recipe, Recipe):
        return recipe.curate != Recipe().curate or any(entry.curate is not None for entry in recipe.data.mixture)
    values = recipe if isinstance(recipe, Mapping) else read_yaml(find_recipe(recipe))
    data = values.get("data")
    mixture = data.get("mixture") if isinstance(data, Mapping) else None
    entries = mixture if isinstance(mixture, list) else []
    return "curate" in values or any(isinstance(entry, Mapping) and entry.get("curate") is not None for entry in entries)


def _name(recipes: Sequence[Any]) -> list[str]:
    """The shortest ends of their paths that tell them apart, as names of folders: a.yaml, b.yaml -> a, b."""
    paths = [
        Path(recipe).with_suffix("").parts if isinstance(recipe, (str, os.PathLike)) else (f"recipe-{number}",)
        for number, recipe in enumerate(recipes, 1)
    ]
    num_different = len(set(paths))
    names = [parts[-1] for parts in paths]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["-".join(part.strip(os.sep) for part in parts[-length:] if part.strip(os.sep)) for parts in paths]
        if len(set(names)) == num_different:
            break
    counts, numbered = Counter[str](), list[str]()
    for name in names:  # the same recipe twice
        counts[name] += 1
        numbered.append(name if counts[name] == 1 else f"{name}-{counts[name]}")
    return numbered


def _check_names(names: Sequence[str]) -> list[str]:
    problems = [f"{name!r} cannot be the name of a folder" for name in names if not re.fullmatch(r"\w[\w. -]*", name)]
    if problems:
        raise ConfigError("compare-recipes: recipes", problems, "Use letters, digits, - and _.")
    return list(names)


def check_lengths(sides: Sequence[Side], equal: Equal) -> None:
    """Refuse lengths in minutes where something else is to be equal.

    Raises:
        ConfigError: Naming the recipe.
    """
    for side in sides:
        if side.recipe.train.minutes is not None and equal != "minutes":
            problem = (
                f"train.minutes is set, and equal {equal} asked for: how many there are in a minute differs from day to day"
            )
            advice = "Give it steps (train.minutes=null train.num_steps=1000), or compare at equal minutes (--equal minutes)."
            raise ConfigError(f"compare-recipes: {side.name}", [problem], advice)


def check_asked(out: Path, sides: Sequence[Side], equal: Equal) -> None:
    """Write down what is compared; refuse to go on with something else.

    Raises:
        PlanError: Naming what differs from what the comparison was begun with.
        ArtifactError: When something else stands at `out`.
    """
    values = {side.name: {**yaml.safe_load(side.recipe.to_yaml()), "is_curated": side.is_curated} for side in sides}
    asked: dict[str, Any] = {"equal": equal, "sides": json.loads(json.dumps(values))}  # as it is read again
    path = out / ASKED_FILE
    if not path.is_file():
        if any(found.name != f".{ASKED_FILE}.tmp" for found in out.iterdir()):
            raise refuse_place(out, "a comparison")
        write_json(path, asked)
        return
    try:
        kept = read_json(path)
        before, equal_before = dict(kept["sides"]), kept["equal"]
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(
            path, f"cannot be read ({say_first_line(error)})", "what was compared", "Choose another --out."
        ) from None
    now = asked["sides"]
    changes = [f"equal: {equal_before} -> {equal}"] if equal_before != equal else []
    changes += [f"recipes: {', '.join(before)} -> {', '.join(now)}"] if list(before) != list(now) else []
    for name in now:
        changes += _list_changes(before.get(name, now[name]), now[name], f"{name}: ")
    if changes:
        found = f"this comparison was begun with other settings ({'; '.join(changes[:6])})"
        raise PlanError(out, found, "", "Choose another --out for another comparison, or go on with the old settings.")


def _list_changes(before: Any, now: Any, where: str) -> list[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        dot = "" if where.endswith(" ") else "."
        return [
            change for key in {**before, **now} for change in _list_changes(before.get(key), now.get(key), f"{where}{dot}{key}")
        ]
    return [] if before == now else [f"{where}: {before!r} -> {now!r}"]


def iter_ready(sides: Sequence[Side], out: Path) -> Iterator[object]:
    """Make the data of each side, and share it with those that would have the same; the last event is all sides with their stores."""
    made: dict[str, tuple[Side, Path]] = {}  # by data
    ready: list[tuple[Side, Path]] = []
    for side in sides:
        if side.data_key not in made:
            for event in _iter_made(side, out / side.name):
                if isinstance(event, Side):
                    made[side.data_key] = event, out / side.name / "store"
                else:
                    yield event
        as_made, store = made[side.data_key]
        recipe = dataclasses.replace(side.recipe, data=as_made.recipe.data)
        ready.append((dataclasses.replace(side, recipe=recipe), store))
    yield ready


def _iter_made(side: Side, folder: Path) -> Iterator[object]:
    """Curate where the recipe asks for it, then prepare; the last event is the side as it is trained."""
    from whelp.cli.curate import CorpusReady, iter_curate
    from whelp.cli.curated_recipe import read_curated
    from whelp.cli.prepare import iter_prepare

    yield SideStarted(name=side.name)
    if side.is_curated:
        for event in iter_curate(side.recipe, folder / "curated"):
            yield event
            if isinstance(event, CorpusReady):
                recipe = read_curated(side.recipe, folder / "curated", event.result.ledger)
                side = dataclasses.replace(side, recipe=dataclasses.replace(side.recipe, data=recipe.data))
    yield from iter_prepare(side.recipe, folder / "store")
    yield side
