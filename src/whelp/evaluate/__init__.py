"""A model, and rows, texts, tasks or problems in; loss, perplexity and bits per byte out, scores, and how many programs pass.

    result = evaluate_loss(model, rows, token_bytes=vocabulary.token_bytes)
    result.nats_per_token, result.perplexity, result.bits_per_byte

Start reading in `loss.py`; `text_loss.py` measures on texts, `paired_differences.py` says how sure a difference is. `harness.py` is a model
as lm-evaluation-harness asks it, by the scores of `continuations.py`; `pass_at_k.py` has problems of programming, and `sandbox.py` runs
the programs.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult as LossResult
    from whelp.evaluate.loss import evaluate_loss as evaluate_loss
    from whelp.evaluate.paired_differences import PairedDifference as PairedDifference
    from whelp.evaluate.paired_differences import compare_paired as compare_paired
    from whelp.evaluate.text_loss import evaluate_text as evaluate_text
    from whelp.evaluate.text_loss import measure_texts as measure_texts

_HOMES = {
    "LossResult": "loss",
    "PairedDifference": "paired_differences",
    "compare_paired": "paired_differences",
    "evaluate_loss": "loss",
    "evaluate_text": "text_loss",
    "measure_texts": "text_loss",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
