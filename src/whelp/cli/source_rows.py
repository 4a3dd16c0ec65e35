"""The training rows of each source of a store, and what is made of them: a mixture to train on, a loss to report.

Rows are planned for each source on its own, so no row holds text of two. Where a store has one source, its name is None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from whelp.artifacts.token_store import TokenStore
from whelp.base.counts import say_count
from whelp.base.errors import PlanError
from whelp.prepare.config import PackConfig

if TYPE_CHECKING:
    from whelp.cli.recipe import Recipe
    from whelp.evaluate.loss import LossModel, LossResult
    from whelp.prepare.mixture_rows import MixtureRows
    from whelp.prepare.rows import PackedRows, RowView
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
    return MixtureRows.plan(sources, num_rows=plan.count_rows(plan.num_steps))


def add_repeats(plan: TrainPlan, rows: MixtureRows, many_epochs: int) -> TrainPlan:
    """The plan, with how often the run trains the rows of each source, and the doubts about that.

    Raises:
        PlanError: When the limits leave fewer rows than the run wants.
    """
    wanted = plan.count_rows(plan.num_steps)
    doubts = list(plan.warnings)
    if len(rows) < wanted:
        limits = ", ".join(f"{source.name} {source.most_rows:,.0f} rows" for source in rows.sources)
        found = f"max_repeats leaves {say_count(len(rows), 'row')} ({limits}), but the run takes {wanted:,}"
        if plan.budget_seconds is None:
            steps = len(rows) * plan.num_steps // wanted
            shorter = (
                f"Shorten the run to {say_count(steps, 'step')} or less, or raise max_repeats."
                if steps
                else "Raise max_repeats."
            )
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

    More where all that is in those is masked; a source that is masked altogether has no loss.

    Raises:
        PlanError: When no source has anything to predict.
    """
    from whelp.evaluate.loss import LossResult

    if not parts:
        raise PlanError(
            "the split", "no source has more than one token in it", "something to predict", "Raise data.test_split."
        )
    total = sum(len(rows) for rows in parts.values())
    results = {}
    for name, rows in parts.items():
        wanted = None if num_rows is None else max(1, num_rows * len(rows) // total)
        results[name] = _evaluate_source(model, rows, wanted, **options)
    found = {name: result for name, result in results.items() if result.num_tokens}
    if not found:
        raise PlanError(
            "the split",
            f"all tokens in its {say_count(total, 'row')} are masked",
            "something to predict",
            "Hold out more or other documents (data.test_split), or nothing: data.test_split=0; then run `whelp prepare` again.",
        )
    if None in found:
        return found[None]
    return LossResult.join({str(name): result for name, result in found.items()})


def _evaluate_source(model: LossModel, rows: PackedRows, num_rows: int | None, **options: Any) -> LossResult:
    """The loss over the first `num_rows` rows, or over twice as many as often as it takes until one has something to predict."""
    from whelp.evaluate import evaluate_loss

    wanted = len(rows) if num_rows is None else min(num_rows, len(rows))
    while True:
        result = evaluate_loss(model, rows, num_rows=wanted, **options)
        if result.num_tokens or wanted == len(rows):
            return result
        wanted = min(2 * wanted, len(rows))


class JoinedRows:
    """The rows of all sources of a split, one source after the other, to be looked at: rows and documents count on.

    `split` holds the documents of all of them.
    """

    def __init__(self, store: TokenStore, split: str, config: PackConfig, *, pad_id: int, batch_rows: int = 16) -> None:
        self.split = store.split(split)
        self._parts: list[tuple[str | None, PackedRows, int]] = []  # name, rows, number of the first document
        packed = pack_by_source(store, split, config, pad_id=pad_id, must_fill_a_row=False, batch_rows=batch_rows)
        first_document = 0
        for name, documents in store.split_by_source(split).items():
            if name in packed:
                self._parts.append((name, packed[name], first_document))
            first_document += documents.num_documents

    def __len__(self) -> int:
        return sum(len(rows) for _, rows, _ in self._parts)

    @property
    def parts(self) -> list[PackedRows]:
        """The rows of each source."""
        return [rows for _, rows, _ in self._parts]

    @property
    def by_source(self) -> SourceRows:
        """The rows of each source by its name."""
        return {name: rows for name, rows, _ in self._parts}

    def look(self, row: int) -> RowView:
        """A row with all there is to know about it."""
        _, rows, first_row, first_document = self._find(row)
        return _count_on(rows.look(row - first_row), first_row, first_document)

    def look_in_order(self, source: str | None, number: int, seed: int) -> RowView:
        """The row of this number of the endless training order of a source."""
        first_row = 0
        for name, rows, first_document in self._parts:
            if name == source:
                return _count_on(rows.look_in_order(number, seed, is_mixed=source is not None), first_row, first_document)
            first_row += len(rows)
        assert False, f"no source {source!r}"

    def find_documents(self, row: int) -> list[int]:
        """The numbers of the documents that a row holds pieces of."""
        _, rows, first_row, first_document = self._find(row)
        return [document + first_document for document in rows.find_documents(row - first_row)]

    def name_source(self, row: int) -> str | None:
        """The source of a row; None where there is only one."""
        return self._find(row)[0]

    def _find(self, row: int) -> tuple[str | None, PackedRows, int, int]:
        first_row = 0
        for name, rows, first_document in self._parts:
            if row < first_row + len(rows):
                return name, rows, first_row, first_document
            first_row += len(rows)
        assert False, f"row {row} of {first_row}"


def _count_on(view: RowView, first_row: int, first_document: int) -> RowView:
    """A row of one source, by its numbers among those of all."""
    pieces = [dataclasses.replace(piece, document=piece.document + first_document) for piece in view.pieces]
    return dataclasses.replace(view, row=view.row + first_row, pieces=pieces)
