"""Options of a source that are set, but lead to nothing: refused where other rows would be read, noted where none would."""

from __future__ import annotations

from collections.abc import Sequence

from whelp.base.errors import SourceError
from whelp.corpus.config import SourceConfig
from whelp.corpus.open_file import SourceFile
from whelp.corpus.path_list import is_path_list
from whelp.corpus.recode import CSV_FORMATS
from whelp.corpus.rows import SHEET
from whelp.corpus.source_words import KINDS, is_hub_id, is_url


def check_params(config: SourceConfig, items: Sequence[str]) -> None:
    """Refuse parameters that nothing in the source takes; a kind of file and the hub look at theirs themselves.

    Raises:
        SourceError: Naming them.
    """
    if any(item in KINDS or is_hub_id(item) for item in items):
        return
    known = {"storage_options"} if any(is_url(item) or is_path_list(item) for item in items) else set()
    unknown = [name for name in config.source_dataset_params if name not in known]
    if unknown:
        is_delimiter = {"delimiter", "sep"} & set(unknown)
        raise SourceError(
            "data.source_dataset_params",
            f"has {', '.join(unknown)}, which nothing in data.source takes",
            "parameters of a kind of file (source: csv), of a dataset of the hub, or storage_options of a URL",
            "Set data.delimiter instead." if is_delimiter else "Take it out.",
        )


def check_split(config: SourceConfig, name: str, files: Sequence[SourceFile]) -> None:
    """Refuse to train on everything where one split of it was asked for.

    Raises:
        SourceError: When the source has no splits.
    """
    if config.source_dataset_split != SourceConfig().source_dataset_split and not any(file.split_name for file in files):
        found = f"has no splits, but data.source_dataset_split is {config.source_dataset_split}"
        raise SourceError(name, found, "", "Leave it out, or name the file of that split.")


def find_unused(config: SourceConfig, items: Sequence[str], files: Sequence[SourceFile]) -> dict[str, str]:
    """Options that are set, but change nothing of how these files are read, and why."""
    has_csv = any(file.format in CSV_FORMATS for file in files)
    has_sheets = any(file.format == SHEET for file in files)
    has_text = any(file.format is None for file in files)
    reasons = (
        ("delimiter", not has_csv, "no file is CSV"),
        ("column_names", not has_csv and not has_sheets, "no file is CSV or a spreadsheet"),
        ("quoted_fields", not has_csv, "no file is CSV"),
        ("sheet", not has_sheets, "no file is a spreadsheet"),
        ("encoding", not has_csv and not has_text, "no file is text or CSV"),
        ("strip_carriage_returns", not has_text, "no file is text"),
        ("custom_text_key", all(file.format is None for file in files), "no file holds rows"),
        ("html_columns", all(file.format is None for file in files), "no file holds rows"),
        ("include_suffixes", all(file.is_named for file in files), "no folder is read"),
        ("source_streaming", not any(is_hub_id(item) for item in items), "there is no dataset of the hub"),
    )
    defaults = SourceConfig()
    return {name: reason for name, holds, reason in reasons if holds and getattr(config, name) != getattr(defaults, name)}
