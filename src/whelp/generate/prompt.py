"""A prompt as token ids, checked."""

from __future__ import annotations

from whelp.base.errors import PlanError, TokenizerError
from whelp.generate.config import GenerateConfig
from whelp.generate.interfaces import Prompt
from whelp.generate.text_stream import VocabularyLike

PROMPT = "the prompt"  # what messages call it where there is one


def encode_prompt(prompt: Prompt, vocabulary: VocabularyLike, name: str = PROMPT) -> list[int]:
    """The ids of a prompt, called `name` in messages; what comes as ids stays as it is.

    Raises:
        TokenizerError: When the vocabulary cannot write a character or a word of it, saying which.
    """
    try:
        return [int(token) for token in (vocabulary.encode(prompt) if isinstance(prompt, str) else prompt)]
    except TokenizerError as error:
        error.where = name + error.where.removeprefix("text")
        raise


def read_prompt(prompt: Prompt, config: GenerateConfig, vocabulary: VocabularyLike, capacity: int) -> list[int]:
    """The ids of a prompt; of one longer than `capacity` tokens the last, where the configuration lets it slide.

    Raises:
        PlanError: When it is empty, longer than that, or holds ids that are none, as may `logit_bias`.
        TokenizerError: When the vocabulary cannot write it.
    """
    ids = encode_prompt(prompt, vocabulary)
    if not ids and vocabulary.eos_id is not None:
        ids = [vocabulary.eos_id]  # as a new document starts
    if not ids:
        raise PlanError(PROMPT, "it is empty", "at least one token", "Give some text to continue.")
    if min(ids) < 0 or max(ids) >= vocabulary.size:
        wrong = min(ids) if min(ids) < 0 else max(ids)
        raise PlanError(PROMPT, f"there is no id {wrong}", f"0 to {vocabulary.size - 1}")
    if any(token >= vocabulary.size for token in config.logit_bias):
        raise PlanError("logit_bias", f"there is no id {max(config.logit_bias)}", f"0 to {vocabulary.size - 1}")
    if len(ids) > capacity:
        if config.when_full == "end":
            raise PlanError(
                PROMPT,
                f"it has {len(ids):,} tokens",
                f"at most {capacity:,}, the model's context",
                "Shorten it, or leave out its beginning.",
            )
        ids = ids[-capacity:]
    return ids
