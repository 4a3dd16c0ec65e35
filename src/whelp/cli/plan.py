"""What a run will take, before it is started: the call of `whelp train --dry-run`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.costs import Costs
from whelp.cli.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from whelp.train import TrainPlan


@dataclass(frozen=True, kw_only=True)
class PlannedRun(ResultRepr):
    """The plan of a run: its numbers and doubts, where its tokens go, and what it costs besides time."""

    plan: TrainPlan
    ledger: dict[str, Any]
    costs: Costs

    def to_dict(self) -> dict[str, Any]:
        """As `whelp train --dry-run --json` prints it."""
        return {**self.plan.to_dict(), "ledger": self.ledger, "costs": dataclasses.asdict(self.costs)}


def plan(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    store: str | Path = "store",
    overrides: Sequence[str] = (),
    scale: str | None = None,
    price_per_hour: float | None = None,
) -> PlannedRun:
    """Plan a run, timed by a short probe, and write nothing.

    Args:
        recipe: A YAML file, the name of a shipped recipe, or a mapping.
        store: The token store.
        overrides: `section.field=value`.
        scale: Another size of the recipe.
        price_per_hour: What an hour of this machine costs; `costs.price` is then that of the run.

    Raises:
        PlanError: When the run cannot fit the memory, or nothing sensible can be made of its settings.
        StaleError: When the store was made from other inputs.
    """
    from whelp.cli.costs import estimate_costs
    from whelp.cli.train import plan_training

    loaded = load_recipe(recipe, overrides, scale)
    made, session = plan_training(loaded, as_path(store))
    costs = estimate_costs(made, loaded.train, session.spec, price_per_hour)
    return PlannedRun(plan=made, ledger=session.make_ledger(made), costs=costs)
