"""`--scale`: the same recipe in another size. A recipe may name sizes of its own; `tiny` exists for every recipe.

scales:
  gpu:
    model: {n_layer: 12, n_head: 12, n_embd: 768}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from whelp.base.config import merge
from whelp.base.errors import ConfigError

TINY = "tiny"
# The whole path in seconds, on one core: is anything missing, do the rows look right? What is learned is nothing.
_TINY: dict[str, dict[str, Any]] = {
    "data": {"dataset_length": 64},
    "pack": {"context_tokens": 64},
    "train": {
        "num_steps": 4,
        "num_epochs": None,
        "minutes": None,
        "max_epochs": None,
        "batch_tokens": 256,
        "micro_batch_rows": None,
        "warmup_steps": None,
        "decay_from_step": None,
        "first_batch_tokens": None,
        "evaluate_every_steps": None,
        "evaluate_rows": 8,
        "save_every_steps": None,
    },
}
_TINY_MODEL = {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_kv_head": None, "head_width": None, "ffn_width": None}


def take_scales(values: dict[str, Any], where: object) -> dict[str, dict[str, Any]]:
    """Take the block `scales` out of a recipe's values.

    Raises:
        ConfigError: When it is not a mapping of names to sections.
    """
    scales = values.pop("scales", None) or {}
    if not isinstance(scales, Mapping) or not all(isinstance(block, Mapping) for block in scales.values()):
        raise ConfigError(
            where, ["scales is not a mapping of names to sections"], "Example: scales: {small: {model: {n_layer: 2}}}"
        )
    return {str(name): dict(block) for name, block in scales.items()}


def lay_scale(values: Mapping[str, Any], scales: Mapping[str, Mapping[str, Any]], scale: str, where: object) -> dict[str, Any]:
    """Lay a scale over a recipe's values; `tiny` is what every recipe has, then the recipe's own.

    Raises:
        ConfigError: When there is no such scale.
    """
    if scale != TINY and scale not in scales:
        known = sorted({TINY, *scales})
        near = difflib.get_close_matches(scale, known, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ConfigError(where, [f"there is no scale {scale!r}"], f"{hint}Its scales: {', '.join(known)}.")
    if scale == TINY:
        values = merge(values, _TINY)
        if dict(values.get("model") or {}).get("family") != "hf":  # whose sizes have other names
            values = merge(values, {"model": _TINY_MODEL})
    return merge(values, scales.get(scale, {}))


def describe_scale(values: Mapping[str, Any], scale: str) -> str:
    """What a scale takes of the data, in words: nobody should wonder where the rest went.

    >>> describe_scale({"data": {"dataset_length": 64}, "train": {"num_steps": 4}}, "tiny")
    '--scale tiny: 64 documents at most (data.dataset_length), 4 steps (train.num_steps)'
    """
    length = dict(values.get("data") or {}).get("dataset_length")
    steps = dict(values.get("train") or {}).get("num_steps")
    parts = []
    if length is not None:
        count = f"{length:,} documents at most" if isinstance(length, int) else f"{length:g} of the documents"
        parts.append(f"{count} (data.dataset_length)")
    if steps is not None:
        parts.append(f"{steps:,} steps (train.num_steps)")
    return f"--scale {scale}: {', '.join(parts) or 'all documents'}"
