"""A model card: README.md beside exported weights, from the records of the run that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def make_model_card(
    name: str,
    *,
    config: Mapping[str, Any],
    num_parameters: int,
    vocabulary: Mapping[str, Any],
    files: Sequence[str],
    loading: str,
    recipe: str | None = None,
    plan: Mapping[str, Any] | None = None,
    ledger: Mapping[str, Any] | None = None,
    numbers: Mapping[str, Any] | None = None,
    license_name: str | None = None,
) -> str:
    """Describe a model in Markdown; what is not known is left out, or said to be unknown.

    Args:
        config: Contents of `config.json`.
        vocabulary: `kind` and `size`.
        loading: How to load it, as Markdown.
        recipe: YAML of the run.
        plan, ledger, numbers: What was planned, where every token of the data went, the last measurements.
    """
    head = ["library_name: transformers", "pipeline_tag: text-generation", "tags: [whelp]"]
    if license_name is not None:
        head.insert(0, f"license: {license_name}")
    parts = ["---", *head, "---", "", f"# {name}", ""]
    parts.append(
        f"A {config.get('model_type')} language model of {num_parameters:,} parameters, made with whelp. "
        f"Vocabulary: {vocabulary['kind']}, {vocabulary['size']:,} ids."
    )
    if license_name is None:
        parts += ["", "No license was named when it was exported."]
    parts += ["", "## Load it", "", loading, "", "## Files", "", *(f"- `{file}`" for file in files)]
    parts += ["", "## What it was trained on", ""]
    parts += [*_make_table(ledger)] if ledger else ["The run that made it was not found beside it: unknown."]
    if numbers:
        parts += [
            "",
            "## How good it is",
            "",
            "On the test split, at the last evaluation of the run.",
            "",
            *_make_table(numbers),
        ]
    if plan:
        shown = {key: value for key, value in plan.items() if key != "warnings" and not isinstance(value, (dict, list))}
        parts += ["", "## How it was trained", "", *_make_table(shown)]
    if recipe:
        parts += ["", "## Recipe", "", "```yaml", recipe.rstrip(), "```"]
    parts += [
        "",
        "## Limits",
        "",
        "It continues text as its training data would. What it says is not checked by anybody, and may be wrong or unkind.",
    ]
    return "\n".join(parts) + "\n"


def _make_table(values: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {key.removeprefix('test_').replace('_', ' ')} | {_show(value)} |"
        for key, value in values.items()
        if value is not None and not isinstance(value, (dict, list))
    ]
    return ["| | |", "|---|---|", *rows]


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).replace("|", "\\|")
