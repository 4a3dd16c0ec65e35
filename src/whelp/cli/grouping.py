"""Groups of the documents of a source: by folder, file, ending, language, or a column of text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from whelp.base.errors import ConfigError, SourceError
from whelp.corpus.config import SourceConfig

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from whelp.corpus import Source

GROUPINGS = ("language", "suffix", "folder", "file")

_COLUMN = "column:"
_NO_GROUP = "(none)"
_MOST_FILES_BY_NAME = 100
_LINE_BITS = 40  # of a number that names a row: below the number of its file


@dataclass(frozen=True)
class Grouping:
    """The names of the groups; the group of each file; or, for a column, of each row: sorted keys and their groups."""

    names: list[str]
    of_file: npt.NDArray[np.int64]
    row_keys: npt.NDArray[np.int64] | None = None
    row_groups: npt.NDArray[np.int64] | None = None

    def find(self, batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
        """The group of each document of a batch."""
        files: npt.NDArray[np.int32] = batch.column("file_index").to_numpy()
        if self.row_keys is None or self.row_groups is None:
            return self.of_file[files]
        keys = _name_rows(files, batch.column("line").to_numpy())
        places = np.minimum(np.searchsorted(self.row_keys, keys), len(self.row_keys) - 1)
        return np.where(self.row_keys[places] == keys, self.row_groups[places], len(self.names) - 1)


def choose_grouping(source: Source) -> str:
    """By folder; by language where there is one folder with a few files."""
    has_folders = any("/" in file.label for file in source.files)
    return "folder" if has_folders or len(source.files) > _MOST_FILES_BY_NAME else "language"


def make_grouping(source: Source, by: str, command: str) -> Grouping:
    """Group by `language` (the first folder, or at the top the name of the file), `suffix`, `folder`, `file` or `column:NAME`.

    Raises:
        ConfigError: When `by` is none of these.
        SourceError: When there is no such column.
    """
    if by.startswith(_COLUMN):
        return _group_by_column(source, by.removeprefix(_COLUMN))
    if by not in GROUPINGS:
        problem = f"by is {by!r}, but expected one of {', '.join(GROUPINGS)}, or {_COLUMN}NAME"
        raise ConfigError(command, [problem], f"Example: {_COLUMN}lang groups rows by their column lang.")
    groups = [_group_of_file(PurePosixPath(file.label), by) for file in source.files]
    names = sorted(set(groups))
    numbers = {name: number for number, name in enumerate(names)}
    return Grouping(names, np.array([numbers[group] for group in groups], np.int64))


def _group_of_file(label: PurePosixPath, by: str) -> str:
    if by == "file":
        return str(label)
    if by == "folder":
        return str(label.parent)
    if by == "suffix":
        return label.suffix or _NO_GROUP
    return label.parts[0] if len(label.parts) > 1 else label.name.partition(".")[0] or label.name


def _group_by_column(source: Source, column: str) -> Grouping:
    """Read the column as if it were the text, and keep which value stands in which row."""
    import pyarrow as pa

    from whelp.corpus import open_source

    if source.document != "row":
        raise SourceError(source.name, "holds files of text, which have no columns", "files of rows", "Leave out --by column.")
    config = read_column(source.config, column)
    keys, values = [], []
    try:
        for partition in open_source(config).iter_partitions():
            keys.append(_name_rows(partition.batch.column("file_index").to_numpy(), partition.batch.column("line").to_numpy()))
            values.append(partition.batch.column("text").cast(pa.large_string()))
    except SourceError as error:
        found = f"{error.where}: {error.found}"
        raise SourceError(f"--by {_COLUMN}{column}", found, "a column of text", "Name one of those, or another --by.") from None
    encoded = pa.chunked_array(values).combine_chunks().dictionary_encode()
    all_keys = np.concatenate(keys)
    order = np.argsort(all_keys)
    groups = encoded.indices.to_numpy().astype(np.int64)
    names = [*encoded.dictionary.to_pylist(), _NO_GROUP]
    return Grouping(names, np.zeros(0, np.int64), all_keys[order], groups[order])


def read_column(config: SourceConfig, column: str) -> SourceConfig:
    """The same source, read as if one of its columns were the text; rows without it are passed over."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(SourceConfig)}
    return SourceConfig(**{**values, "custom_text_key": column, "on_bad_rows": "skip"})


def _name_rows(files: npt.NDArray[Any], lines: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    keys: npt.NDArray[np.int64] = (files.astype(np.int64) << _LINE_BITS) + lines
    return keys
