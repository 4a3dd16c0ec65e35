"""Which rows a step of a run has read: the order of rows is arithmetic, so the run need not have written it down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.artifacts.token_store import TokenStore
from whelp.base.errors import ConfigError, PlanError
from whelp.base.paths import as_path
from whelp.base.seeds import make_seed
from whelp.cli.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from whelp.cli.source_rows import JoinedRows
    from whelp.prepare.rows import RowView
    from whelp.train import TrainPlan


class StepRows:
    """The rows of one step of a run, in the order in which it read them."""

    def __init__(self, run: str | Path | Mapping[str, Any] | Recipe, store: TokenStore, step: int) -> None:
        """Open a run.

        Raises:
            ConfigError: When it is no run, or has not come to that step.
            PlanError: When it was trained on another store, or its rows follow the clock.
        """
        from whelp.cli.training.checks import check_plan
        from whelp.train import TrainPlan

        folder = RunFolder(as_path(run)) if isinstance(run, (str, Path)) else None
        started = folder.read_plan() if folder is not None else None
        if folder is None or started is None:
            raise ConfigError("--step", ["a step is one of a run"], "Give the run folder, too: --recipe RUN.")
        check_plan(started, folder)
        if started["store"] != store.manifest.fingerprint:
            raise PlanError(
                folder.folder, f"was not trained on {store.folder} as it is now", "the same store", "Give the store of the run."
            )
        self.recipe = load_recipe(folder.recipe)
        self.plan = TrainPlan(**started["plan"])
        self.first_row, self.num_rows = _find_rows(folder, self.plan, step)
        self.batch_rows = self.plan.batch_rows

    def look(self, rows: JoinedRows) -> list[RowView]:
        """All rows of the step."""
        from whelp.cli.source_rows import mix_rows

        seed, parts = make_seed(self.recipe.train.seed, "rows"), rows.by_source
        if None in parts:
            numbers = range(self.first_row, self.first_row + self.num_rows)
            return [rows.look_in_order(None, number, seed) for number in numbers]
        mixed = mix_rows(parts, self.recipe, self.plan)
        owners, found = mixed.find_rows(self.first_row, self.num_rows, seed)
        names = [mixed.sources[owner].name for owner in owners.tolist()]
        return [
            rows.look_in_order(name, number, make_seed(seed, "source", name))
            for name, number in zip(names, found.tolist(), strict=True)
        ]


def _find_rows(run: RunFolder, plan: TrainPlan, step: int) -> tuple[int, int]:
    """The number of a step's first row in the endless order, and how many it has."""
    last, went_on_from, at_step = 0, 0, 0
    for record in iter_records(run.metrics):
        last = max(last, record["step"])
        if record["step"] == step and "first_row" in record:
            return record["first_row"], record["rows"]
        if "rewound_from" in record and record["step"] < step:
            at_step, went_on_from = record["step"], record["skipped_rows"][1]
    if not 1 <= step <= last:
        done = f"its steps are 1 to {last:,}" if last else "it has done no step yet"
        raise ConfigError("--step", [f"{run.folder} has no step {step:,}; {done}"])
    if plan.smaller_batch_rows and plan.budget_seconds is not None:
        raise PlanError(
            run.folder,
            "its batches grew by the clock, so that its plan does not say which rows a step read",
            "a run that wrote it down",
            "Train with train.record_rows=true.",
        )
    before, now = plan.count_rows(step - 1), plan.count_rows(step)
    return went_on_from + before - plan.count_rows(at_step), now - before
