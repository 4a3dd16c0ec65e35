"""The training rows of each source of a store, and what is made of them: a mixture to train on, a loss to report.

Rows are planned for each source on its own, so no row holds text of two. Where a store has one source, its name is None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from whelp.artifacts.token_store import TokenStore
from whelp.base.errors import PlanError
from whelp.prepare.config import PackConfig

if TYPE_CHECKING:
    from whelp.cli.recipe import Recipe
    from whelp.evaluate.loss import LossModel, LossResult
    from whelp.prepare.mixture_rows import MixtureRows
    from whelp.prepare.rows import PackedRows
    from whelp.train import TrainPlan

SourceRows = dict["str | None", "PackedRows"]


def pack_by_source(
    store: TokenStore, split: str, config: PackConfig, *, pad_id: int, must_fill_a_row: bool = True, batch_rows: int = 16
) -> SourceRows:
    """Plan the rows of each source of a split; of a mixture's, those that have nothing to predict there are left out."""
    from whelp.prepare.pack import pack_rows

    return {
        name: pack_rows(part, config, pad_id=pad_id, must_fill_a_row=must_fill_a_row, batch_rows=batch_rows)
        for name, part in store.split_by_source(split).items()
        if name is None or must_fill_a_row or part.num_tokens > 1
    }


def mix_rows(parts: SourceRows, recipe: Recipe, plan: TrainPlan) -> MixtureRows:
    """Draw a whole run from the sources, by the weights and limits of the recipe. A pure function of these."""
    from whelp.prepare.mixture_rows import MixtureRows, MixtureSource

    entries = {entry.label: entry for entry in recipe.data.mixture}
    sources = [
        MixtureSource(name=name, rows=rows, weight=entries[name].weight, max_repeats=entries[name].max_repeats)
        for name, rows in parts.items()
        if name is not None
    ]
    return MixtureRows.plan(sources, num_rows=plan.num_steps * plan.batch_rows)


def add_repeats(plan: TrainPlan, rows: MixtureRows, many_epochs: int) -> TrainPlan:
    """The plan, with how often the run trains the rows of each source, and the doubts about that.

    Raises:
        PlanError: When the limits leave fewer rows than the run wants.
    """
    wanted = plan.num_steps * plan.batch_rows
    doubts = list(plan.warnings)
    if len(rows) < wanted:
        limits = ", ".join(f"{source.name} {source.most_rows:,.0f} rows" for source in rows.sources)
        found = f"max_repeats leaves {len(rows):,} rows ({limits}), but the run takes {wanted:,}"
        if plan.budget_seconds is None:
            steps = len(rows) // plan.batch_rows
            shorter = f"Shorten the run to {steps:,} steps or less, or raise max_repeats." if steps else "Raise max_repeats."
            raise PlanError("data.mixture", found, "", shorter)
        doubts.append(f"{found}: they come again")
    epochs = {source.name: count / len(source.rows) for source, count in zip(rows.sources, rows.counts, strict=True)}
    for name, count in epochs.items():
        if count > many_epochs:
            doubts.append(
                f"every row of {name} will be seen {count:.0f} times: the model may learn it by heart (max_repeats limits that)"
            )
        elif not count:
            doubts.append(f"no row of {name} will be seen: its weight or max_repeats is too small for so short a run")
    return dataclasses.replace(plan, source_epochs=epochs, warnings=doubts)


def evaluate_by_source(
    model: LossModel, parts: Mapping[str | None, PackedRows], *, num_rows: int | None, **options: Any
) -> LossResult:
    """The loss over the rows of all sources, with that of each; `num_rows` of them in all, of each its share.

    Raises:
        PlanError: When no source has anything to predict.
    """
    from whelp.evaluate import evaluate_loss
    from whelp.evaluate.loss import LossResult

    if not parts:
        raise PlanError(
            "the split", "no source has more than one token in it", "something to predict", "Raise data.test_split."
        )
    total = sum(len(rows) for rows in parts.values())
    results = {}
    for name, rows in parts.items():
        wanted = None if num_rows is None else max(1, num_rows * len(rows) // total)
        result = evaluate_loss(model, rows, num_rows=wanted, **options)
        if name is None:
            return result
        results[name] = result
    return LossResult.join(results)
