"""Write down a learned vocabulary as a tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from whelp.tokenizer._bytes import CHARACTER_OF_BYTE
from whelp.tokenizer.config import END_TOKEN, PAD_TOKEN, UNKNOWN_TOKEN
from whelp.tokenizer.vocabulary import Vocabulary

# OpenAI's cl100k_base, as its Hugging Face conversions spell it (and as the fast encoder knows it).
GPT4_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_cutter(pattern: str) -> Any:
    """The pre-tokenizer of a byte-level BPE: `gpt2` or `gpt4`."""
    if pattern == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces = pre_tokenizers.Split(Regex(GPT4_PATTERN), "isolated")
    return pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def build_bpe(merges: Sequence[tuple[str, str]], pattern: str) -> Vocabulary:
    """Ids 0..255 are the bytes themselves, then the merges in order, then the control tokens."""
    tokens = {CHARACTER_OF_BYTE[byte]: byte for byte in range(256)}
    for left, right in merges:
        tokens.setdefault(left + right, len(tokens))
    tokenizer = Tokenizer(models.BPE(tokens, list(merges)))
    tokenizer.pre_tokenizer = make_cutter(pattern)
    tokenizer.decoder = decoders.ByteLevel()
    return _finish(tokenizer, [END_TOKEN, PAD_TOKEN], "a learned byte-level BPE")


def build_words(tokens: Sequence[str], pattern: str, unknown: str, name: str) -> Vocabulary:
    """Ids in the order of `tokens`, then the control tokens. Without `<unk>`, what is unknown is an error elsewhere too."""
    control = [END_TOKEN, PAD_TOKEN, *([UNKNOWN_TOKEN] if unknown == "token" else [])]
    ids = {token: index for index, token in enumerate([*tokens, *control])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return _finish(tokenizer, control, name)


def _finish(tokenizer: Any, control: Sequence[str], name: str) -> Vocabulary:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return Vocabulary(
        tokenizer.to_str(pretty=True),
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        unk_token=UNKNOWN_TOKEN if UNKNOWN_TOKEN in control else None,
        bos_token=END_TOKEN,  # as in GPT-2: what an empty prompt begins with
        name=name,
    )
