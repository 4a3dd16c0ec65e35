"""How to continue a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from whelp.base.config import option


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Settings of one request. `temperature=0` always takes the likeliest token."""

    max_tokens: int = option(128, "most tokens to add", at_least=1)
    temperature: float = option(0.8, "0: the likeliest token; 1: the model's own distribution; higher: wilder", at_least=0.0)
    top_k: int = option(0, "choose among the k likeliest tokens; 0: all", at_least=0)
    top_p: float = option(
        1.0, "choose among the likeliest tokens that together have this probability", at_least=0.0, at_most=1.0
    )
    min_p: float = option(0.0, "leave out tokens less likely than this share of the likeliest", at_least=0.0, at_most=1.0)
    repetition_penalty: float = option(1.0, "above 1: tokens already there become less likely", at_least=0.01)
    stop: list[str] = option([], "end before any of these texts")
    seed: int = option(0, "the same seed gives the same text", at_least=0)
    n: int = option(1, "number of independent continuations", at_least=1)
