"""What a word of `data.source` stands for: a path, a list of paths, the standard library, a saved dataset, a kind of file, a URL,
the hub.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from whelp.base.errors import SourceError
from whelp.base.paths import as_path
from whelp.corpus.config import SourceConfig
from whelp.corpus.find_files import FoundFile, SkippedFile, expand
from whelp.corpus.path_list import is_path_list, read_listed
from whelp.corpus.saved_datasets import find_saved
from whelp.corpus.source_words import KINDS, is_hub_id, is_url
from whelp.corpus.splits import choose_by_name
from whelp.corpus.stdlib import list_stdlib

_STANDARD_LIBRARY = "stdlib"


@dataclass(frozen=True)
class Place:
    """What one word of a source leads to. `root` is the folder that labels are relative to."""

    found: list[FoundFile]
    skipped: list[SkippedFile] = field(default_factory=list)
    root: Path | None = None


def locate(item: str, config: SourceConfig, candidates: list[str]) -> Place:
    """Find the files, or the rows, that a word stands for.

    Args:
        candidates: The columns that are wanted, for sources that can give some columns alone.

    Raises:
        SourceError: When there is nothing, saying what was tried.
        MissingExtraError: When a package is needed for it.
    """
    if item == _STANDARD_LIBRARY:
        return _locate_stdlib()
    is_asked_for = bool(config.source_data_dir or config.source_dataset_params.get("data_files"))
    if item in KINDS and (is_asked_for or not os.path.exists(item)):
        from whelp.corpus.file_kinds import find_kind_files

        found, others = find_kind_files(item, config)
        folders = [file.path.parent for file in found if file.label is None]
        return Place(found, others, root=Path(os.path.commonpath(folders)) if folders else None)
    if is_path_list(item):
        return _locate_listed(item, config, candidates)
    if is_url(item):
        from whelp.corpus.remote import find_remote

        return Place(*find_remote(item, config, is_named=True))
    if is_hub_id(item):
        from whelp.corpus.hub import find_hub

        return Place(*find_hub(item, config, candidates))
    if is_asked_for:
        option = "source_data_dir" if config.source_data_dir else "source_dataset_params.data_files"
        expected = f"a kind of file ({', '.join(KINDS)}) or a dataset of the hub"
        raise SourceError(item, f"is read as it is, but data.{option} is given", expected, "Leave one of the two out.")
    written = as_path(item)
    saved = find_saved(written, config)
    if saved is not None:
        return Place(*saved, root=written.absolute())
    root, paths, skipped, is_named = expand(
        item, config.include_suffixes, expected="a text file, a folder or a glob", words=[_STANDARD_LIBRARY]
    )
    files = [FoundFile(path, is_named, written=item if is_named else None) for path in paths]
    if os.path.isdir(root) and root == written.absolute():
        files, left_out = choose_by_name(files, root, config.source_dataset_split, item)
        skipped = [*skipped, *left_out]
    return Place(files, skipped, root)


def _locate_listed(item: str, config: SourceConfig, candidates: list[str]) -> Place:
    """The files that a list names, each of which is asked for by the user."""

    def fetch(url: str) -> Path:
        from whelp.corpus.remote import find_remote

        return find_remote(url, config, is_named=True)[0][0].path

    entries = read_listed(item, fetch)
    places = [locate(entry, config, candidates) for entry in entries]
    files = [file for place in places for file in place.found]
    folders = [os.path.dirname(entry) for entry in entries if not is_url(entry)]
    root = Path(os.path.commonpath(folders)) if folders else None
    return Place(files, [file for place in places for file in place.skipped], root)


def _locate_stdlib() -> Place:
    root, paths, skipped = list_stdlib()
    return Place([FoundFile(path, is_named=False) for path in paths], skipped, root)
