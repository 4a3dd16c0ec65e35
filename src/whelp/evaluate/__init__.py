"""A model and rows in; loss, perplexity and bits per byte out.

    result = evaluate_loss(model, rows, token_bytes=vocabulary.token_bytes)
    result.nats_per_token, result.perplexity, result.bits_per_byte

Start reading in `loss.py`; `text.py` measures on one text, `texts.py` each of many; `paired.py` says how sure a
difference is.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult as LossResult
    from whelp.evaluate.loss import evaluate_loss as evaluate_loss
    from whelp.evaluate.paired import PairedDifference as PairedDifference
    from whelp.evaluate.paired import compare_paired as compare_paired
    from whelp.evaluate.text import evaluate_text as evaluate_text
    from whelp.evaluate.texts import measure_texts as measure_texts

_HOMES = {
    "LossResult": "loss",
    "PairedDifference": "paired",
    "compare_paired": "paired",
    "evaluate_loss": "loss",
    "evaluate_text": "text",
    "measure_texts": "texts",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
