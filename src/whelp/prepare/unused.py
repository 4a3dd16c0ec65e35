"""Options of templates that are set, while no row takes the template that they are of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from whelp.prepare.config import DEFAULT_KEYS, TemplateConfig

_NOTHING: tuple[Any, ...] = ([], {}, [*DEFAULT_KEYS])  # asks for nothing more than is done unasked
_OF_PAIRS = ("conversation_input_key_prefix_map", "conversation_input_key_mask")
_OF_SENDERS = (
    "conversation_sender_key",
    "conversation_sender_value_map",
    "conversation_input_key_map",
    "conversation_sender_mask",
)
_WAYS = {  # beginning of an option's name -> beginning of the way's name, and what a row is that takes it
    "multi_column_": ("multi_column", "made of several columns"),
    "disable_prompt_completion_mask": ("prompt_completion", "a prompt and a completion"),
    "conversation_": ("conversation", "a conversation"),
}


def find_unused(config: TemplateConfig, ways: Iterable[str]) -> dict[str, str]:
    """Options without effect, and why, where rows became text in these ways.

    >>> find_unused(TemplateConfig(disable_prompt_completion_mask=True), ["text"])
    {'disable_prompt_completion_mask': 'no row is a prompt and a completion'}
    """
    taken, defaults = list(ways), TemplateConfig()
    unused = {}
    for field in fields(TemplateConfig):
        value = getattr(config, field.name)
        for start, (way, row) in _WAYS.items():
            is_set = value != getattr(defaults, field.name) and value not in _NOTHING
            if field.name.startswith(start) and is_set and not any(name.startswith(way) for name in taken):
                unused[field.name] = f"no row is {row}"
    if config.conversation_format is not None:
        other = _OF_SENDERS if config.conversation_format == "iopairs" else _OF_PAIRS
        reason = f"data.conversation_format is {config.conversation_format}"
        unused |= {name: reason for name in other if getattr(config, name) != getattr(defaults, name)}
    return unused
