"""Write down a learned vocabulary as a tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from whelp.base.errors import TokenizerError, say_first_line
from whelp.tokenizer._bytes import CHARACTER_OF_BYTE
from whelp.tokenizer._patterns import PATTERNS
from whelp.tokenizer.config import END_TOKEN, PAD_TOKEN, UNKNOWN_TOKEN, LearnConfig
from whelp.tokenizer.vocabulary import Vocabulary


def make_cutter(config: LearnConfig) -> Any:
    """The pre-tokenizer of a byte-level vocabulary.

    Raises: TokenizerError: When the user's own pattern cannot be read.
    """
    if config.pattern == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence([make_splitter(config), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def make_splitter(config: LearnConfig) -> Any:
    """What cuts text by a pattern other than GPT-2's, before its bytes are spelled.

    Raises: TokenizerError: When the user's own pattern cannot be read.
    """
    pattern = PATTERNS.get(config.pattern) or config.pattern_regex or ""
    try:
        return pre_tokenizers.Split(Regex(pattern), "isolated")
    except Exception as error:
        raise TokenizerError(
            "pattern_regex",
            f"cannot be read ({say_first_line(error)})",
            "a regular expression",
            "Oniguruma's syntax, such as \\p{L}+|\\s+.",
        ) from None


def build_bpe(merges: Sequence[tuple[str, str]], config: LearnConfig) -> Vocabulary:
    """Ids 0..255 are the bytes themselves, then the merges in order, then the control tokens."""
    tokens = {CHARACTER_OF_BYTE[byte]: byte for byte in range(256)}
    for left, right in merges:
        tokens.setdefault(left + right, len(tokens))
    tokenizer = Tokenizer(models.BPE(tokens, list(merges)))
    tokenizer.pre_tokenizer = make_cutter(config)
    tokenizer.decoder = decoders.ByteLevel()
    return finish(tokenizer, config, "a learned byte-level BPE")


def build_words(tokens: Sequence[str], pattern: str, config: LearnConfig, name: str) -> Vocabulary:
    """Ids in the order of `tokens`, then the control tokens. Without `<unk>`, what is unknown is an error elsewhere too."""
    ids = {token: index for index, token in enumerate(tokens)}
    for token in config.control_tokens():
        _check_free(token, ids)
        ids[token] = len(ids)
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return finish(tokenizer, config, name)


def finish(tokenizer: Any, config: LearnConfig, name: str) -> Vocabulary:
    """Add the control tokens, at the end unless the model has them, and make it a vocabulary."""
    control = config.control_tokens()
    if type(tokenizer.model) in (models.BPE, models.Unigram):
        ids = tokenizer.get_vocab(with_added_tokens=False)
        for token in control:
            _check_free(token, ids)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return Vocabulary(
        tokenizer.to_str(pretty=True),
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        unk_token=UNKNOWN_TOKEN if UNKNOWN_TOKEN in control else None,
        bos_token=END_TOKEN,  # as in GPT-2: what an empty prompt begins with
        chat_template=config.chat_template(),
        name=name,
    )


def no_text() -> TokenizerError:
    """What every learner says of a corpus without text."""
    return TokenizerError("learning a vocabulary", "there is no text", "some", "Check the source and its filters.")


def _check_free(token: str, ids: dict[str, int]) -> None:
    if token in ids:
        other = f"<|{token.strip('<|>')}|>"
        raise TokenizerError(
            "special_tokens",
            f"{token!r} is a word of the text, too, and has become an ordinary token",
            "a spelling that no text has",
            f"Choose another, such as {other}." if token != other else "Take it out of the text, or cut by pattern: gpt2.",
        )
