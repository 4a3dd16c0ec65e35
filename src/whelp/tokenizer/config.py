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

# Names in `special_tokens` that stand for several tokens.
SPECIAL_SETS = {
    "chat": ("<|im_start|>", "<|im_end|>"),
    "fim": ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
}
# ChatML: what `chat` saves beside the vocabulary.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_NUM_ORDINARY = {"bpe": 256, "unigram": 256, "wordpiece": 2, "words": 1}  # the fewest: bytes, or one word


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """How to learn a vocabulary from text.

    | learn | what a token is | what it costs |
    |---|---|---|
    | bpe | frequent byte sequences (byte-level BPE): every text can be written | - |
    | unigram | the likeliest byte sequences (byte-level Unigram): every text can be written | slow to learn and to encode |
    | wordpiece | words and their parts, as in BERT | white space, and characters it has never seen |
    | chars | one character | long sequences; characters it has never seen |
    | words | a word, a sign, one white space | words it has never seen; a large vocabulary |
    """

    learn: Literal["bpe", "unigram", "wordpiece", "chars", "words"] = option("bpe", "what a token is")
    vocab_size: int = option(4096, "ids to have, control tokens included (chars takes what it finds)", at_least=1)
    pattern: Literal["gpt2", "gpt4", "code", "regex"] = option(
        "gpt2",
        "how text is cut before merging (bpe, unigram): gpt2; gpt4 (digits in threes); code (digits one by one, each run of "
        "indentation whole); regex (pattern_regex). All but gpt2 learn some 5 times slower without whelp[patterns]",
    )
    pattern_regex: str | None = option(
        None,
        "with pattern regex: one match is one piece, and so is what stands between two (Oniguruma syntax; learns and encodes "
        "slowly without whelp[patterns])",
    )
    special_tokens: list[str] = option(
        [],
        "control tokens to have besides end and pad: chat (<|im_start|>, <|im_end|> and a chat template), fim "
        "(<|fim_prefix|>, <|fim_middle|>, <|fim_suffix|>), or tokens of your own",
    )
    max_bytes: int | None = option(
        None, "learn from about so many bytes, documents spread over the whole source; nothing: from all", at_least=1
    )
    max_documents: int | None = option(None, "learn from at most so many documents; nothing: from all", at_least=1)
    unknown: Literal["error", "token"] = option("error", "what has never been seen is an error, or <unk> (chars, words)")
    retrain: str | None = option(
        None,
        "a vocabulary (a name or a folder) whose kind, way of cutting and special tokens to keep, and whose tokens to learn "
        "anew; learn, pattern and unknown are then not looked at",
        is_path=True,
    )

    def __post_init__(self) -> None:
        problems = []
        extra = self.extra_tokens()
        for token in extra:
            if len(token) < 2 or token.isspace():
                problems.append(f"special_tokens holds {token!r}, but expected chat, fim, or a token of two signs or more")
        twice = sorted({token for token in extra if extra.count(token) > 1})
        if twice:
            problems.append(f"special_tokens holds {twice[0]!r} twice")
        if (self.pattern == "regex") != (self.pattern_regex is not None):
            problems.append("pattern: regex and pattern_regex go together, but only one of them is given")
        smallest = _NUM_ORDINARY.get(self.learn, 0) + len(self.control_tokens())
        if self.learn != "chars" and not self.retrain and self.vocab_size < smallest:
            ordinary = "256 bytes and " if self.learn in ("bpe", "unigram") else ""
            parts = f"{ordinary}{len(self.control_tokens())} control tokens"
            problems.append(
                f"vocab_size is {self.vocab_size}, but expected at least {smallest} for learn: {self.learn} ({parts})"
            )
        if problems:
            raise ConfigError(
                "tokenizer", problems, "Control tokens count too, and bpe and unigram need one id for each of the 256 bytes."
            )

    def extra_tokens(self) -> list[str]:
        """`special_tokens` with every named set written out."""
        return [token for name in self.special_tokens for token in SPECIAL_SETS.get(name, (name,))]

    def control_tokens(self) -> list[str]:
        """Every control token of the vocabulary to be learned, in the order of ids."""
        has_unknown = self.learn == "wordpiece" or (self.learn in ("chars", "words") and self.unknown == "token")
        tokens = [END_TOKEN, PAD_TOKEN, *([UNKNOWN_TOKEN] if has_unknown else []), *self.extra_tokens()]
        return list(dict.fromkeys(tokens))

    def chat_template(self) -> str | None:
        """The template that `special_tokens: [chat]` asks for."""
        return CHAT_TEMPLATE if "chat" in self.special_tokens else None


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """The one field by which a recipe chooses its vocabulary."""

    tokenizer: str | LearnConfig = dataclasses.field(
        default_factory=LearnConfig,
        metadata={
            "help": "a name (gpt2, neox, world, p50k_base, ...), a hub id, a folder or a file; or "
            "{learn: bpe, vocab_size: 4096} to learn one from the rows",
            "is_path": True,
        },
    )
