"""How documents become a store, and how a store becomes rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whelp.base.config import option
from whelp.base.errors import ConfigError

_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\r": "\r"}


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Part of the `data` section: from documents to the store."""

    separator: str = option("eos", "what follows every document: eos, newline, none, or any text of your own (\\n works in it)")
    min_token_size: int = option(1, "drop documents of fewer tokens, the separator not counted", at_least=0)
    max_token_size: int = option(-1, "drop documents of more tokens; -1: no limit", at_least=-1)
    test_split: int | float = option(0.01, "held-out documents: a share below 1, or a number of documents; 0: none", at_least=0)
    test_split_by: Literal["auto", "document", "tail"] = option(
        "auto", "hold out whole documents, or the tail of each document; auto: the tail when there are fewer than 20"
    )
    test_split_shuffle: bool = option(True, "hold out documents drawn evenly at random; false: the last ones")

    def __post_init__(self) -> None:
        if 0 <= self.max_token_size < self.min_token_size:
            raise ConfigError(
                "data", [f"data.max_token_size ({self.max_token_size}) is below data.min_token_size ({self.min_token_size})"]
            )
        if self.test_split > 1 and not float(self.test_split).is_integer():
            raise ConfigError(
                "data", [f"data.test_split is {self.test_split}: give a share below 1 or a whole number of documents"]
            )
        if self.test_split_by == "tail" and self.test_split >= 1:
            raise ConfigError("data", ["data.test_split_by: tail needs a data.test_split below 1, a share of each document"])

    @property
    def separator_text(self) -> str | None:
        """The literal text after every document; None for `eos`, "" for `none`."""
        if self.separator == "eos":
            return None
        if self.separator in ("none", "newline"):
            return "" if self.separator == "none" else "\n"
        text = self.separator
        for escape, character in _ESCAPES.items():
            text = text.replace(escape, character)
        return text


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """The `pack` section: from the store to rows."""

    context_tokens: int = option(256, "tokens in a training row", at_least=2)
    plan: Literal["concat", "best_fit", "none", "stream"] = option(
        "concat",
        "concat: documents joined end to end, cut into rows; best_fit: whole documents put together so that rows are full; "
        "none: one document a row; stream: as concat, the documents in a new order every epoch",
    )
    last: Literal["pad", "drop", "carry"] = option(
        "pad", "concat: the last, shorter row: pad it (pads are never targets), drop it, or let it open the next epoch"
    )
    long: Literal["split", "truncate"] = option(
        "split", "none: a document longer than a row: split it over several rows, or leave its rest out"
    )
    pad_to: Literal["longest", "context"] = option(
        "longest", "none: pad a batch to its longest row, or always to context_tokens (one shape, for train.compile)"
    )
    isolate_documents: bool | Literal["auto"] = option(
        "auto", "documents in one row do not see each other, and positions begin anew in each; auto: with best_fit and none"
    )

    def __post_init__(self) -> None:
        problems = [
            f"pack.{name} is for the plan {plan}, but pack.plan is {self.plan}. Remove it, or use pack.plan={plan}"
            for name, default, plan in (("last", "pad", "concat"), ("long", "split", "none"), ("pad_to", "longest", "none"))
            if getattr(self, name) != default and self.plan != plan
        ]
        if self.plan == "none" and self.isolate_documents is False:
            problems.append("pack.isolate_documents is false, but with pack.plan=none a row is one document. Remove it")
        if problems:
            raise ConfigError("pack", problems)

    @property
    def isolates(self) -> bool:
        """Whether documents in one row are kept from each other."""
        return self.plan in ("best_fit", "none") if self.isolate_documents == "auto" else self.isolate_documents
