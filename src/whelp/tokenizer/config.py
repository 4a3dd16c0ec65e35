"""How a recipe names a vocabulary, or asks to learn one. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from whelp.base.config import option
from whelp.base.errors import ConfigError

END_TOKEN = "<|endoftext|>"  # stands between documents
PAD_TOKEN = "<|pad|>"  # fills rows; never the end token, so that a mask can tell them apart
UNKNOWN_TOKEN = "<unk>"

_SMALLEST = {"bpe": 256 + 2, "chars": 1, "words": 1 + 3}  # 256 bytes or one word, and the control tokens


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """How to learn a vocabulary from text.

    | learn | what a token is | what it costs |
    |---|---|---|
    | bpe | frequent byte sequences (byte-level BPE): every text can be written | - |
    | chars | one character | long sequences; characters it has never seen |
    | words | a word, a sign, one white space | words it has never seen; a large vocabulary |
    """

    learn: Literal["bpe", "chars", "words"] = option("bpe", "what a token is")
    vocab_size: int = option(4096, "ids to have, control tokens included (bpe, words; chars takes what it finds)", at_least=1)
    pattern: Literal["gpt2", "gpt4"] = option(
        "gpt2", "how text is cut before merging (bpe); gpt4 keeps digits in threes and learns some 5 times slower"
    )
    max_bytes: int | None = option(
        None, "learn from about so many bytes, documents spread over the whole source; nothing: from all", at_least=1
    )
    unknown: Literal["error", "token"] = option("error", "what has never been seen is an error, or <unk> (chars, words)")

    def __post_init__(self) -> None:
        smallest = _SMALLEST.get(self.learn, 1)
        if self.vocab_size < smallest:
            problem = f"vocab_size is {self.vocab_size}, but expected at least {smallest} for learn: {self.learn}"
            raise ConfigError(
                "tokenizer", [problem], "Control tokens count too, and bpe needs one id for each of the 256 bytes."
            )


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """The one field by which a recipe chooses its vocabulary."""

    tokenizer: str | LearnConfig = dataclasses.field(
        default_factory=LearnConfig,
        metadata={
            "help": "a name, a folder or a tokenizer.json; or {learn: bpe, vocab_size: 4096} to learn one from the rows",
            "is_path": True,
        },
    )
