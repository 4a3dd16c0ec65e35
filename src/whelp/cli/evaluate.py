"""`whelp evaluate`: the loss of a model on a token store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from whelp.artifacts.token_store import open_store
from whelp.base.errors import StaleError
from whelp.cli.generate import load_model
from whelp.prepare.config import PackConfig

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult


def evaluate(
    model: str | Path, *, store: str | Path, split: str = "test", num_rows: int | None = None, device: str = "auto"
) -> LossResult:
    """Loss, perplexity and bits per byte of a model over all rows of a split.

    Args:
        model: A run, a checkpoint or a Hugging Face model folder.
        num_rows: Only the first so many rows.

    Raises:
        StaleError: When the store was made with another vocabulary than the model's.
    """
    from whelp.evaluate import evaluate_loss
    from whelp.prepare.pack import pack_rows

    loaded, opened = load_model(model, device), open_store(Path(store))
    if opened.manifest.inputs["tokenizer"] != loaded.vocabulary.fingerprint:
        raise StaleError(
            opened.folder,
            "it was made with another tokenizer than the model's",
            f"the one in {loaded.folder}",
            f"Run `whelp prepare RECIPE data.tokenizer={loaded.folder} --out ANOTHER_STORE`.",
        )
    vocabulary = loaded.vocabulary
    config = PackConfig(context_tokens=loaded.model.context_tokens)
    rows = pack_rows(opened.split(split), config, pad_id=vocabulary.pad_id or 0, must_fill_a_row=False)
    return evaluate_loss(loaded.model, rows, token_bytes=vocabulary.token_bytes, num_rows=num_rows, device=loaded.device)
