"""`whelp evaluate`: the loss of a model on a token store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import AVERAGE
from whelp.artifacts.token_store import open_store
from whelp.base.counts import check_count, say_count
from whelp.base.errors import PlanError, StaleError
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.cli.generate import LoadedModel, load_model
from whelp.cli.inspect import choose_pad
from whelp.cli.recipe import load_recipe
from whelp.cli.source_rows import SourceRows, evaluate_by_source, pack_by_source
from whelp.prepare.config import PackConfig

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult

_ROWS_AT_ONCE = 16


def evaluate(
    model: str | Path, *, store: str | Path, split: str = "test", num_rows: int | None = None, device: str = "auto"
) -> LossResult:
    """Loss, perplexity and bits per byte of a model over all rows of a split, packed as in the model's run.

    The result has a part for each source where the store is of a mixture.

    Args:
        model: A run, a checkpoint or a Hugging Face model folder.
        num_rows: Only the first so many rows; of the sources of a mixture, each its share.

    Out of memory, fewer rows are computed at a time.

    Raises:
        StaleError: When the store was made with another vocabulary than the model's.
        PlanError: When memory does not suffice for one row.
    """
    if num_rows is not None:
        check_count("num_rows", num_rows)
    loaded, opened = load_model(model, device), open_store(as_path(store))
    if opened.manifest.inputs["tokenizer"] != loaded.vocabulary.fingerprint:
        raise StaleError(
            opened.folder,
            "it was made with another tokenizer than the model's",
            f"the one in {loaded.folder}",
            f"Run `whelp prepare RECIPE data.tokenizer={loaded.folder} --out ANOTHER_STORE`.",
        )
    vocabulary = loaded.vocabulary
    config = _find_pack(loaded)
    parts = pack_by_source(opened, split, config, pad_id=choose_pad(vocabulary), must_fill_a_row=False)
    options = {"num_rows": num_rows, "token_bytes": vocabulary.token_bytes, "device": loaded.device}
    return _evaluate_in_pieces(loaded, parts, options)


def _evaluate_in_pieces(loaded: LoadedModel, parts: SourceRows, options: dict[str, Any]) -> LossResult:
    """The loss, of so many rows at a time as memory holds."""
    from whelp.train.device import free_idle_memory, is_out_of_memory

    rows_at_once = _ROWS_AT_ONCE
    while True:
        try:
            return evaluate_by_source(loaded.model, parts, batch_rows=rows_at_once, **options)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        found = f"out of memory with {say_count(rows_at_once, 'row')} at a time"
        if rows_at_once == 1:
            advice = "Use a device with more memory (--device cpu is often one), or evaluate a run with a shorter pack.context_tokens."
            raise PlanError("the device", f"it is {found}", "room", advice)
        rows_at_once //= 2
        log.warning("%s; from now on %d", found, rows_at_once)
        free_idle_memory(loaded.device)


def _find_pack(model: LoadedModel) -> PackConfig:
    """The packing that a checkpoint was trained with; documents joined and cut for a model without a run."""
    checkpoint = model.folder.resolve()
    if checkpoint.name == AVERAGE:
        checkpoint = checkpoint.parent
    recipe = checkpoint.parents[1] / "recipe.yaml"
    return load_recipe(recipe).pack if recipe.is_file() else PackConfig(context_tokens=model.model.context_tokens)
