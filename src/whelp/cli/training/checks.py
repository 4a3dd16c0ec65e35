"""Whether a run may begin, or go on, at a place; and what is written down about where it began."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from whelp.artifacts.checkpoint import find_checkpoints
from whelp.artifacts.output_place import is_free, refuse_place
from whelp.artifacts.run_folder import RunFolder
from whelp.artifacts.token_store import TokenStore
from whelp.base.config import to_dict
from whelp.base.counts import say_count
from whelp.base.errors import ArtifactError, PlanError
from whelp.base.machine import count_cores
from whelp.cli.recipe import Recipe

LENGTHS = ("num_steps", "num_epochs", "minutes", "max_epochs")  # another length is met by `whelp.train.length_change`
# options of where and when, to which the plan of a run is adapted; `device` is found out by itself, too
ADAPTED = ("device", "threads", "compile", "micro_batch_rows", "evaluate_every_steps", "save_every_steps")
_MAY_CHANGE = {  # options that do not change what is computed, but for rounding
    *LENGTHS,
    "decay_from_step",  # likewise
    *ADAPTED,
    "log_every_steps",
    "keep_checkpoints",
    "keep_every_steps",
    "keep_best",
    "early_stopping_patience",
    "precision",  # said, and written down with the step
    "on_bad_loss",  # what was computed so far would have been the same, or not at all
    "spike_factor",
    "sample_prompts",
    "sample_tokens",
    "track",
    "record_rows",
    "checkpoint_activations",
    "save_in_background",
    "shard",
    "timeout_minutes",
}


def check_place(run: RunFolder) -> None:
    """Refuse to begin where something else stands, or a run that has lost its plan.

    Raises:
        ArtifactError: Saying so.
    """
    if find_checkpoints(run.checkpoints):
        raise run.lack_plan("is missing, and there are checkpoints of a run")
    if not is_free(run.folder) and not run.is_half_started():
        raise refuse_place(run.folder, "a run")


def check_targets(ledger: dict[str, Any]) -> None:
    """Refuse a run whose rows have nothing to predict: it would train on nothing, and its loss would be zero.

    Raises:
        PlanError: Saying where the tokens went.
    """
    if not ledger["trained"]:
        raise PlanError(
            "the training rows",
            f"none of {say_count(ledger['tokens'], 'token')} is trained ({ledger['masked']:,} masked, {ledger['cut']:,} cut)",
            "something to predict",
            "Raise pack.context_tokens, set pack.long=split where documents are cut, or mask less; `whelp inspect` shows the rows.",
        )


def check_plan(started: dict[str, Any], run: RunFolder) -> None:
    """Refuse a `plan.json` that this version cannot go on with: damaged, or of another version.

    Raises:
        ArtifactError: Naming what is missing or unknown.
    """
    from whelp.train import TrainPlan

    plan, recipe = started.get("plan"), started.get("recipe")
    known = {field.name: field for field in dataclasses.fields(TrainPlan)}
    needed = {name for name, field in known.items() if field.default is field.default_factory is dataclasses.MISSING}
    problems = [f"{name} is missing" for name in ("store", "plan", "recipe") if name not in started]
    if isinstance(recipe, dict):
        problems += [f"recipe.{name} is missing" for name in ("data", "pack", "model", "train") if name not in recipe]
    if isinstance(plan, dict):
        problems += [f"plan.{name} is missing" for name in sorted(needed - plan.keys())]
        problems += [f"plan.{name} is unknown" for name in sorted(plan.keys() - known.keys())]
    if problems:
        version = dict(started.get("versions") or {}).get("whelp", "an unknown one")
        raise ArtifactError(
            run.plan,
            f"does not fit whelp {whelp_version()}; {version} wrote it ({'; '.join(problems[:4])})",
            "a plan that this version can go on with",
            f"Go on with that version, or begin a new run with its weights: train.start_from={run.folder}, another --out.",
        )


def check_same(started: dict[str, Any], recipe: Recipe, store: TokenStore, out: Path) -> None:
    """Refuse to go on with other settings, or on other data, than the run was started with.

    Raises:
        PlanError: Naming what differs.
    """
    changes = []
    recipe = keep_choices(recipe, started)
    if started["store"] != store.manifest.fingerprint:
        changes.append("the token store is another one")
    now = to_dict(recipe)
    for part in ("pack", "model", "train"):
        before = started["recipe"][part]
        changes += [
            f"{part}.{name}: {before[name]!r} -> {value!r}"
            for name, value in now[part].items()
            if name in before and before[name] != value and name not in _MAY_CHANGE
        ]
    drawn = {entry["name"]: entry for entry in started["recipe"]["data"].get("mixture", [])}
    for entry in recipe.to_values()["data"]["mixture"]:  # the store does not depend on these
        changes += [
            f"data.mixture.{entry['name']}.{name}: {drawn[entry['name']][name]!r} -> {entry[name]!r}"
            for name in ("weight", "max_repeats")
            if entry["name"] in drawn and drawn[entry["name"]][name] != entry[name]
        ]
    if changes:
        run = RunFolder(out)
        advice = f"Go on with those ({run.recipe}), or begin a new run with another --out"
        if not find_checkpoints(run.checkpoints):
            advice = "Nothing of it is saved yet: remove that folder and begin anew, choose another --out, or go on with those"
            advice += f" ({run.recipe})"
        elif not any(change.startswith("model.") for change in changes):
            advice += f", from these weights with train.start_from={out}"
        raise PlanError(
            out,
            f"this run was started with other settings ({'; '.join(changes[:6])}{'; ...' if len(changes) > 6 else ''})",
            "",
            f"{advice}.",
        )


def describe_seen(recipe: Recipe, store: TokenStore) -> dict[str, Any]:
    """What every process of a run must see alike."""
    import torch

    options = {f"{part}.{name}": value for part in ("pack", "model", "train") for name, value in to_dict(recipe)[part].items()}
    return {"whelp": whelp_version(), "torch": torch.__version__, "the token store": store.manifest.fingerprint, **options}


def keep_choices(recipe: Recipe, started: dict[str, Any] | None) -> Recipe:
    """Where a recipe leaves the choice to us, what was chosen when the run began, whatever the rule is by now."""
    if started is None:
        return recipe
    train = recipe.train
    if train.learning_rate == "auto":
        train = dataclasses.replace(train, learning_rate=started["recipe"]["train"]["learning_rate"])
    if train.precision == "auto":  # another machine would choose another one, which is to be asked for
        train = dataclasses.replace(train, precision=started["plan"]["precision"])
    return dataclasses.replace(recipe, train=train)


def keep_length(recipe: Recipe, started: dict[str, Any], out: Path) -> bool:
    """Whether the length, and where the learning rate decays, are those that the run was started with.

    Raises:
        PlanError: When it is not, and the run draws from a mixture: it has drawn all its rows for the length it had.
    """
    before = {name: started["recipe"]["train"].get(name) for name in LENGTHS}
    now = {name: getattr(recipe.train, name) for name in LENGTHS}
    if before == now:
        return bool(started["recipe"]["train"].get("decay_from_step") == recipe.train.decay_from_step)
    if recipe.data.mixture:
        changes = [f"train.{name}: {before[name]!r} -> {now[name]!r}" for name in LENGTHS if before[name] != now[name]]
        raise PlanError(
            out,
            f"this run draws from a mixture, and was started with another length ({'; '.join(changes)})",
            "the same: each source's share of the run was drawn for it",
            f"For more, start a new run from its weights: train.start_from={out}, train.seed=1 (other rows first), another --out.",
        )
    return False


def whelp_version() -> str:
    """The version of this package."""
    import whelp

    return whelp.__version__


def describe_versions() -> dict[str, str]:
    """Versions and machine, for `plan.json`."""
    import platform

    import torch

    versions = {"whelp": whelp_version(), "torch": torch.__version__, "python": platform.python_version()}
    machine = {"system": f"{platform.system()} {platform.machine()}", "cores": str(count_cores())}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return versions | machine


def find_changed(started: dict[str, Any], recipe: Recipe) -> frozenset[str]:
    """The options of `ADAPTED` that are no longer what the run was started with."""
    before = started["recipe"]["train"]
    return frozenset(name for name in ADAPTED if name in before and before[name] != getattr(recipe.train, name))
