"""A data set's card: README.md beside rows or token ids, from what is known of how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whelp.base.counts import say_bytes, say_count
from whelp.report._card import make_head, make_table, name_license, say_license

_SIZES = ((10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"), (10**8, "100M"), (10**9, "1B"))
_MOST_VALUES = 10


def make_dataset_card(
    name: str,
    *,
    what: str,
    splits: Mapping[str, Mapping[str, int]],
    num_bytes: int,
    configs: Mapping[str, Mapping[str, str]],
    usage: str,
    made: str,
    columns: Mapping[str, Mapping[str, int]],
    files: Sequence[str],
    license_name: str | None = None,
) -> str:
    """Describe a data set in Markdown with the hub's front matter.

    Args:
        what: It is, in words: `a curated corpus`.
        splits: Of each, its counts by name (`documents`, `tokens`); empty where they are not known.
        configs: The parts that are loaded each by itself, with a pattern of files by split; empty where a hub may find them.
        usage: How to open it, as Markdown.
        made: How it was made, as Markdown; may be empty.
        columns: Of columns that tell of rights and origins, how many rows have each value.
    """
    head = name_license(license_name) | {"task_categories": ["text-generation"], "tags": ["whelp"]}
    num_documents = sum(counts.get("documents", 0) for counts in splits.values())
    if num_documents:
        head["size_categories"] = [_name_size(num_documents)]
    if configs:
        head["configs"] = [
            {"config_name": part, "data_files": [{"split": split, "path": pattern} for split, pattern in patterns.items()]}
            for part, patterns in configs.items()
        ]
    sections = [
        make_head(head),
        f"# {name}",
        f"This is {what}, {say_bytes(num_bytes)}, handed on with whelp.",
        "## Use it\n\n" + usage,
        "## What is in it\n\n" + _describe_contents(splits, columns),
        *([f"## How it was made\n\n{made}"] if made else []),
        "## License\n\n" + _describe_license(license_name, is_by_text=any(name.startswith("licen") for name in columns)),
        "## Files\n\n" + "\n".join(f"- `{file}`" for file in files),
    ]
    return "\n\n".join(sections) + "\n"


def _name_size(count: int) -> str:
    """As hubs group data sets.   12345 -> '10K<n<100K'"""
    below = "n<1K"
    for (size, word), following in zip(_SIZES, [*(word for _, word in _SIZES[1:]), "10B"], strict=True):
        if count >= size:
            below = f"{word}<n<{following}"
    return below


def _describe_contents(splits: Mapping[str, Mapping[str, int]], columns: Mapping[str, Mapping[str, int]]) -> str:
    rows = {name: ", ".join(f"{count:,} {noun}" for noun, count in counts.items()) for name, counts in splits.items() if counts}
    parts = [make_table(rows)] if rows else ["How many documents it has was not counted."]
    for column, values in columns.items():
        shown = {value: say_count(count, "row") for value, count in list(values.items())[:_MOST_VALUES]}
        more = "\n\nOthers are no more frequent." if len(values) > _MOST_VALUES else ""
        parts.append(f"Values of `{column}`:\n\n{make_table(shown)}{more}")
    return "\n\n".join(parts)


def _describe_license(license_name: str | None, *, is_by_text: bool) -> str:
    texts = "The texts have licenses of their own" + (", which each row names." if is_by_text else ".")
    return say_license(license_name, texts)
