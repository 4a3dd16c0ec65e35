"""A model and rows in; loss, perplexity and bits per byte out.

    result = evaluate_loss(model, rows, token_bytes=vocabulary.token_bytes)
    result.nats_per_token, result.perplexity, result.bits_per_byte
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult as LossResult
    from whelp.evaluate.loss import evaluate_loss as evaluate_loss

__all__ = ["LossResult", "evaluate_loss"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from whelp.evaluate import loss

    return getattr(loss, name)
