"""`train.learning_rate: auto`: a peak that fits the model's width, without a sweep.

AdamW moves every weight of a matrix by about the rate, whatever the gradient. Those moves go the same way, so that what a
layer of width D gives moves by D times the rate: for the same change of what it gives the rate must fall as 1 / D (muP: Yang
et al. 2022, "Tensor Programs V", https://arxiv.org/abs/2203.03466, table 8, hidden weights). The factor is near that of the
rates in table 2.1 of GPT-3 (Brown et al. 2020, https://arxiv.org/abs/2005.14165): width times rate is 0.46, 0.31, 0.41 and
0.51 for 768, 1,024, 2,560 and 5,140.

Muon's moves are nearly orthogonal, scaled to the size of AdamW's (0.2 sqrt(max(rows, columns)), Liu et al. 2025), and so
that embeddings and norms, which AdamW moves, share the rate.

The law is one of wide layers. Between widths 64 and 256 the best rate hardly moved, with three texts and two vocabularies, so the
rate of narrow models is held at that of the width from which it was found to fall. GPT-2 (learned positions, biases, no norm of
queries and keys) bears half as much of AdamW as the others. What was measured is in docs/log.md.
"""

from __future__ import annotations

from dataclasses import replace

from whelp.train.config import TrainConfig

_WIDTH_TIMES_RATE = {"adamw": 1.0, "muon": 3.0}
_NARROWEST = {"adamw": 256, "muon": 128}  # narrower models have the rate of this width
_NARROWEST_GPT2 = {"adamw": 512, "muon": 128}


def choose_learning_rate(optimizer: str, width: int, architecture: str) -> float:
    """The peak for a model of this width, to two digits.

    Args:
        architecture: The family, or of family hf what transformers calls it.

    >>> [choose_learning_rate("adamw", width, "qwen3") for width in (64, 256, 768)]
    [0.0039, 0.0039, 0.0013]
    >>> choose_learning_rate("adamw", 64, "gpt2"), choose_learning_rate("muon", 256, "qwen3")
    (0.002, 0.012)
    """
    narrowest = (_NARROWEST_GPT2 if architecture == "gpt2" else _NARROWEST)[optimizer]
    return float(f"{_WIDTH_TIMES_RATE[optimizer] / max(width, narrowest):.1e}")


def settle_learning_rate(config: TrainConfig, width: int, architecture: str) -> TrainConfig:
    """The same with a number for `auto`; a number stays what it is."""
    if config.learning_rate != "auto":
        return config
    return replace(config, learning_rate=choose_learning_rate(config.optimizer, width, architecture))
