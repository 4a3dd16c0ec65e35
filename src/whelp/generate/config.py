"""How to continue a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from whelp.base.config import option
from whelp.base.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Settings of one request. `temperature=0` always takes the likeliest token."""

    max_tokens: int = option(128, "most tokens to add; 0: read the prompt alone", at_least=0)
    temperature: float = option(0.8, "0: the likeliest token; 1: the model's own distribution; higher: wilder", at_least=0.0)
    top_k: int = option(0, "choose among the k likeliest tokens; 0: all", at_least=0)
    top_p: float = option(
        1.0, "choose among the likeliest tokens that together have this probability", at_least=0.0, at_most=1.0
    )
    min_p: float = option(0.0, "leave out tokens less likely than this share of the likeliest", at_least=0.0, at_most=1.0)
    repetition_penalty: float = option(1.0, "above 1: tokens already there become less likely", at_least=0.01)
    presence_penalty: float = option(
        0.0, "subtracted from the logit of every token that the continuation has", at_least=-10.0, at_most=10.0
    )
    frequency_penalty: float = option(
        0.0, "subtracted from a token's logit once for each time the continuation has it", at_least=-10.0, at_most=10.0
    )
    logit_bias: dict[int, float] = option({}, "id -> number added to its logit; -100 forbids, 100 compels")
    stop: list[str] = option([], "end before any of these texts")
    ignore_end: bool = option(False, "the end-of-text token does not end the text")
    logprobs: int | None = option(None, "give the log-probability of every token, and of so many likeliest", at_least=0)
    prompt_logprobs: int | None = option(
        None, "give the log-probability of every token of the prompt after the first, and of so many likeliest", at_least=0
    )
    regex: str | None = option(None, "a regular expression of Python: the whole text matches it")
    choice: list[str] = option([], "the text is one of these")
    json_schema: dict[str, Any] | None = option(None, "a JSON schema: the text is JSON that is valid by it")
    grammar: str | None = option(None, "a grammar in Lark's form or llama.cpp's (GBNF): the text is one of its")
    when_full: Literal["end", "slide"] = option(
        "end", "a full context ends the text (reason length), or its later half is read anew and the text goes on"
    )
    prompt_lookup_tokens: int | None = option(
        None,
        "guess so many tokens ahead from the text's own past and check them in one step, which changes no text; 0: none; "
        "left out: as many as save time",
        at_least=0,
        at_most=64,
    )
    draft_tokens: int | None = option(
        0,
        "guess so many tokens ahead with a copy of a large model's weights in 8 bits, on a CPU, and check them in one step, which "
        "changes no text; 0: none; null: as many as save time",
        at_least=0,
        at_most=63,
    )
    seed: int = option(0, "the same seed gives the same text", at_least=0)

    def __post_init__(self) -> None:
        for token_id, bias in self.logit_bias.items():
            is_number = isinstance(bias, (int, float)) and abs(bias) <= 1e4
            if type(token_id) is not int or token_id < 0 or not is_number:
                problem = f"logit_bias holds {token_id!r}: {bias!r}, but expected ids with numbers from -10000 to 10000"
                raise ConfigError("generate", [problem])
        asked = self._find_patterns()
        if len(asked) > 1:
            raise ConfigError("generate", [f"{' and '.join(asked)} are given, but a text follows one pattern"])
        if "" in self.choice or self.regex == "":
            raise ConfigError("generate", [f"{asked[0]} has an empty text, but the text that it asks for has some"])

    def _find_patterns(self) -> list[str]:
        return [name for name in ("regex", "choice", "json_schema", "grammar") if getattr(self, name) not in (None, [])]

    @property
    def pattern_name(self) -> str | None:
        """Which setting says what pattern the text follows; None: it follows none."""
        return next(iter(self._find_patterns()), None)

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken. A temperature so near 0 does the same, and float32 cannot divide by it."""
        return self.temperature < 1e-4 or self.top_k == 1

    @property
    def is_penalised(self) -> bool:
        """Whether what is there already changes what comes next."""
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0
