"""A model and rows in; loss, perplexity and bits per byte out.

    result = evaluate_loss(model, rows, token_bytes=vocabulary.token_bytes)
    result.nats_per_token, result.perplexity, result.bits_per_byte

Start reading in `loss.py`.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult as LossResult
    from whelp.evaluate.loss import evaluate_loss as evaluate_loss

_HOMES = {"LossResult": "loss", "evaluate_loss": "loss"}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
