"""A prompt as token ids, checked."""

from __future__ import annotations

from whelp.base.errors import PlanError
from whelp.generate.config import GenerateConfig
from whelp.generate.interfaces import Prompt
from whelp.generate.text_stream import VocabularyLike


def read_prompt(prompt: Prompt, config: GenerateConfig, vocabulary: VocabularyLike, capacity: int) -> list[int]:
    """The ids of a prompt; of one longer than `capacity` tokens the last, where the configuration lets it slide.

    Raises:
        PlanError: When it is empty, longer than that, or holds ids that are none, as may `logit_bias`.
    """
    ids = [int(token) for token in (vocabulary.encode(prompt) if isinstance(prompt, str) else prompt)]
    if not ids and vocabulary.eos_id is not None:
        ids = [vocabulary.eos_id]  # as a new document starts
    if not ids:
        raise PlanError("the prompt", "it is empty", "at least one token", "Give some text to continue.")
    if min(ids) < 0 or max(ids) >= vocabulary.size:
        wrong = min(ids) if min(ids) < 0 else max(ids)
        raise PlanError("the prompt", f"there is no id {wrong}", f"0 to {vocabulary.size - 1}")
    if any(token >= vocabulary.size for token in config.logit_bias):
        raise PlanError("logit_bias", f"there is no id {max(config.logit_bias)}", f"0 to {vocabulary.size - 1}")
    if len(ids) > capacity:
        if config.when_full == "end":
            raise PlanError(
                "the prompt",
                f"it has {len(ids):,} tokens",
                f"at most {capacity:,}, the model's context",
                "Shorten it, or leave out its beginning.",
            )
        ids = ids[-capacity:]
    return ids
