"""What commands give, as objects and with `--json`: one key has one meaning, counts are `num_...`, and each thing one name."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections import defaultdict
from typing import Any

import whelp

NUMBERS = {"int", "dict[str, int]", "list[int]", "dict[str, dict[str, int]]"}
"""A count may be by split, by part, or by what became of the things counted."""
NOT_COUNTED = {"vocab_size", "id_bits", "cheapest_vocab_size", "step", "best_step", "row", "seeds", "ids", "document_numbers"}
"""Numbers that say how large or which."""
UNITS = ("_tokens", "_bytes", "_parameters", "_flops")
BY_NAME = {"skipped", "failed", "changed", "reasons", "notes", "splits", "total", "checkpoints"}
"""Counts, each with its name: of a reason, a split, a checkpoint."""
OTHER_TYPES = {
    "columns": "names that were chosen (convert), and values that were met (corpus report)",
    "differences": "between sides (compare-recipes), and between recipes (report)",
    "model": "a folder, and the sizes that a guide is for (tokenizer guide)",
    "notes": "sentences, and counts of what was met by name (convert)",
    "numbers": "losses of a model (compare), and how figures are cut (tokenizer report)",
    "runs": "each as its page describes it (report), and where it met the source (trace)",
    "source": "a name, and what is known of it (corpus report)",
    "sources": "shares, and differences, by source (compare-recipes)",
    "text": "itself, and how it is cut (tokenizer show)",
    "texts": "continuations (compare), and how they are cut (tokenizer report)",
}
"""Keys of several types, with what they hold."""
OTHER_NAMES = {
    "size": "vocab_size",
    "bytes": "num_bytes",
    "page": "html",
    "report": "html",
    "left_out": "skipped",
    "path": "file or folder",
    "out": "file or folder",
}
"""Names that a thing does not have, with the one that it has."""


def find_results() -> dict[str, dict[str, str]]:
    """Every dataclass that a call gives, or that stands in one: the types of its fields."""
    found: dict[str, dict[str, str]] = {}

    def add(annotation: str, module: Any) -> None:
        for word in re.findall(r"\w+", annotation):
            kind = getattr(module, word, None)
            if not (inspect.isclass(kind) and dataclasses.is_dataclass(kind)) or kind.__qualname__ in ("Recipe", "LoadedModel"):
                continue
            name = f"{kind.__module__}.{kind.__name__}"
            if name not in found:
                found[name] = {field.name: str(field.type) for field in dataclasses.fields(kind)}
                for inner in found[name].values():
                    add(inner, sys.modules[kind.__module__])

    for name in whelp.__all__:
        call = getattr(whelp, name)
        call = getattr(call, "__wrapped__", call)
        if inspect.isfunction(call):
            add(str(call.__annotations__["return"]), sys.modules[call.__module__])
    return found


RESULTS = find_results()


def test_all_results_are_looked_at() -> None:
    """The walk finds results, and what stands in them."""
    names = {name.rpartition(".")[2] for name in RESULTS}
    assert {"CollectResult", "VocabularyView", "TracedStore", "VocabularyReport", "ResumeCheck", "ComparedSide"} <= names


def test_a_key_has_one_meaning() -> None:
    """Whoever reads a key of one command reads that of another in the same way."""
    types: dict[str, set[str]] = defaultdict(set)
    for fields in RESULTS.values():
        for key, kind in fields.items():
            kind = kind.removesuffix(" | None")
            types[key].add("a count" if key.startswith("num_") and kind in NUMBERS else kind)
    assert {key for key, kinds in types.items() if len(kinds) > 1} == OTHER_TYPES.keys()


def test_counts_are_called_so() -> None:
    """A whole number is a count, `num_...`, or has its unit at the end, or is listed above."""
    numbers = {key for fields in RESULTS.values() for key, kind in fields.items() if kind.removesuffix(" | None") in NUMBERS}
    assert {key for key in numbers if not key.startswith("num_") and not key.endswith(UNITS)} == NOT_COUNTED | BY_NAME


def test_each_thing_has_one_name() -> None:
    """No result calls a thing by a name that it does not have elsewhere."""
    wrong = [f"{name}.{key}: {OTHER_NAMES[key]}" for name, fields in RESULTS.items() for key in fields if key in OTHER_NAMES]
    assert wrong == []
