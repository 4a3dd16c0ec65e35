"""A model and rows in; loss, perplexity and bits per byte out.

    result = evaluate_loss(model, rows, token_bytes=vocabulary.token_bytes)
    result.nats_per_token, result.perplexity, result.bits_per_byte

Start reading in `loss.py`; `text.py` measures on one text.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult as LossResult
    from whelp.evaluate.loss import evaluate_loss as evaluate_loss
    from whelp.evaluate.text import evaluate_text as evaluate_text

_HOMES = {"LossResult": "loss", "evaluate_loss": "loss", "evaluate_text": "text"}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
