"""The recipes that `whelp compare-data` sets against each other: what is each one's own, and what is the same for all."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whelp.base.config import read_yaml
from whelp.base.errors import ArtifactError, ConfigError, PlanError
from whelp.base.files import read_json, write_json
from whelp.cli.compare_data_events import SideStarted
from whelp.cli.recipe import Recipe, find_recipe, load_recipe

ASKED_FILE = "asked.json"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One recipe. `recipe` has its own data, and the rest of the first recipe; `notes` say what of it does not count."""

    name: str
    recipe: Recipe
    is_curated: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What the first recipe's plan decided for all runs: these change the numbers, so no run may choose for itself."""

    num_steps: int
    micro_batch_rows: int
    threads: int
    learning_rate: float
    precision: str
    seen_tokens: int
    estimated_seconds: float | None


def load_sides(
    recipes: Sequence[str | Path | dict[str, Any] | Recipe] | Mapping[str, Any],
    overrides: Sequence[str] = (),
    scale: str | None = None,
) -> list[Side]:
    """Read the recipes; overrides and the scale are laid on each.

    Raises:
        ConfigError: When there are fewer than two, or the first one gives its length in minutes.
    """
    given = list(recipes.values()) if isinstance(recipes, Mapping) else list(recipes)
    if len(given) < 2:
        found = f"{len(given)} given, but expected 2 at least: the first one is what the others are compared with"
        raise ConfigError("compare-data: recipes", [found], "Example: whelp compare-data all.yaml filtered.yaml --out compared")
    names = _check_names(list(recipes)) if isinstance(recipes, Mapping) else _name(given)
    loaded = [load_recipe(recipe, overrides, scale) for recipe in given]
    first = loaded[0]
    if first.train.minutes is not None:
        problem = "train.minutes is set: runs of equal time would not see equally many tokens"
        raise ConfigError(f"compare-data: {names[0]}", [problem], "Override it: train.minutes=null train.num_steps=1000.")
    sides = []
    for name, recipe, source in zip(names, loaded, given, strict=True):
        same = {section: getattr(first, section) for section in ("pack", "model", "train")}
        sides.append(
            Side(
                name=name,
                recipe=dataclasses.replace(recipe, **same),
                is_curated=_has_curate(source, overrides),
                notes=tuple(_find_ignored(name, recipe, names[0], first)),
            )
        )
    return sides


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
        raise ConfigError("compare-data: recipes", problems, "Use letters, digits, - and _.")
    return list(names)


def _find_ignored(name: str, recipe: Recipe, first_name: str, first: Recipe) -> Iterator[str]:
    """What a recipe says that is not its own to say here; what it leaves as it comes, it does not say."""
    usual = Recipe()
    for section in ("pack", "model", "train"):
        theirs, ours, default = (getattr(one, section) for one in (recipe, first, usual))
        for field in dataclasses.fields(theirs):
            there, here, unsaid = (getattr(one, field.name) for one in (theirs, ours, default))
            if there not in (here, unsaid):
                yield f"{section}.{field.name}: {name} says {there!r}, but all are trained with {here!r}, as {first_name} says"


def check_asked(out: Path, sides: Sequence[Side]) -> None:
    """Write down what is compared; refuse to go on with something else.

    Raises:
        PlanError: Naming what differs from what the comparison was begun with.
        ArtifactError: When something else stands at `out`.
    """
    values = {side.name: {**yaml.safe_load(side.recipe.to_yaml()), "is_curated": side.is_curated} for side in sides}
    asked = json.loads(json.dumps(values))  # as it is read again
    path = out / ASKED_FILE
    if not path.is_file():
        if any(found.name != f".{ASKED_FILE}.tmp" for found in out.iterdir()):
            expected = "an empty place or a comparison"
            raise ArtifactError(out, "something else stands there", expected, "Choose another --out; nothing was changed.")
        write_json(path, asked)
        return
    try:
        before = dict(read_json(path))
    except (ValueError, TypeError) as error:
        raise ArtifactError(path, f"cannot be read ({error})", "what was compared", "Choose another --out.") from None
    changes = [f"recipes: {', '.join(before)} -> {', '.join(asked)}"] if list(before) != list(asked) else []
    for name in asked:
        changes += _list_changes(before.get(name, asked[name]), asked[name], f"{name}: ")
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


def iter_ready(side: Side, folder: Path) -> Iterator[object]:
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


def settle(side: Side, store: Path, path: Path) -> Settled:
    """Decide once what is the same for all runs; kept in a file, as another day's plan might decide otherwise."""
    from whelp.cli.train import plan_training

    if path.is_file():
        return Settled(**read_json(path))
    plan, session = plan_training(side.recipe, store)
    settled = Settled(
        num_steps=plan.num_steps,
        micro_batch_rows=plan.micro_batch_rows,
        threads=plan.threads,
        learning_rate=session.recipe.train.peak_learning_rate,
        precision=plan.precision,
        seen_tokens=plan.total_tokens,
        estimated_seconds=plan.estimated_seconds,
    )
    write_json(path, dataclasses.asdict(settled))
    return settled


def make_run_recipe(side: Side, settled: Settled, seed: int) -> Recipe:
    """The recipe of one run: settled, and without what is not asked of it here."""
    train = side.recipe.train
    changes: dict[str, Any] = {
        "num_steps": settled.num_steps,
        "num_epochs": None,
        "micro_batch_rows": settled.micro_batch_rows,
        "threads": settled.threads,
        "learning_rate": settled.learning_rate,
        "precision": settled.precision,
        "seed": seed,
        "keep_checkpoints": 1,
        "evaluate_rows": train.evaluate_rows or 64,  # its own test split: only to see how the run goes
        "sample_prompts": [],
    }
    return dataclasses.replace(side.recipe, train=dataclasses.replace(train, **changes))
