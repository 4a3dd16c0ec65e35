"""Open a source of text or rows; read it as partitions of documents."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from whelp.base.errors import SourceError
from whelp.corpus.column_survey import check_html_columns, explain_columns, list_columns, say_columns
from whelp.corpus.columns import list_candidates, select_typed
from whelp.corpus.config import SourceConfig
from whelp.corpus.encodings import BadFile, Inspection, inspect_bytes
from whelp.corpus.find_files import FoundFile, SkippedFile
from whelp.corpus.listing import check_text_key, list_files, look_for_text, make_label, printable
from whelp.corpus.locate import Place, locate
from whelp.corpus.nested import list_roots
from whelp.corpus.open_file import BLOCK_BYTES, SourceFile, fingerprint_file, fingerprint_table, iter_blocks
from whelp.corpus.partition import Partition
from whelp.corpus.reader import Reader
from whelp.corpus.recode import CSV_FORMATS
from whelp.corpus.row_shape import RowShape, TextShape
from whelp.corpus.row_window import make_nothing, make_window
from whelp.corpus.rows import SHEET, UnfitRowError
from whelp.corpus.unused import check_params, check_split, find_unused

PARTITION_BYTES = 8 << 20
ROW = "row"
_MOST_LOOKED_AT = 1000  # files of a folder, when it is asked what will be read
_WINDOW_OPTIONS = ("dataset_offset", "dataset_length")


@dataclass(frozen=True)
class Source:
    """A list of files, and how to read documents from them. Make one with `open_source`.

    `skipped` are the files that were left out by name or size before any was read. `document` is never auto: it is `row`
    where the files hold rows, and `row or file` where some do. `is_given` when the rows came from Python, so that no recipe
    leads to them again.
    """

    config: SourceConfig
    shape: RowShape
    name: str
    root: Path
    document: str
    files: tuple[SourceFile, ...]
    skipped: tuple[SkippedFile, ...]
    is_given: bool = False
    _inspections: dict[int, Inspection] = field(default_factory=dict, repr=False, compare=False)
    _fingerprints: dict[int, str] = field(default_factory=dict, repr=False, compare=False)
    _num_rows: list[int] = field(default_factory=list, repr=False, compare=False)

    @property
    def num_bytes(self) -> int:
        """The size of all files on disk."""
        return sum(file.num_bytes for file in self.files)

    def iter_partitions(self, partition_bytes: int = PARTITION_BYTES, block_bytes: int = BLOCK_BYTES) -> Iterator[Partition]:
        """Read the documents, in order. Memory is flat: a few partitions, or the largest document.

        Raises:
            SourceError: When a file that must be good is not text, or when no document has any text.
        """
        assert partition_bytes > 0, partition_bytes
        assert block_bytes > 0, block_bytes
        num_rows = 0
        window = make_window(self.config.dataset_offset, self.config.dataset_length, self.count_rows)
        builders = enumerate(self._reader().iter_builders(partition_bytes, block_bytes, window))
        while True:
            try:
                index, builder = next(builders, (0, None))
            except UnfitRowError as error:
                raise explain_columns(error, self._reader()) from None
            if builder is None:
                break
            partition = builder.build(index, self.files, self.shape)
            num_rows += partition.batch.num_rows if partition.split == "train" else 0
            yield partition
        if num_rows == 0:
            raise self._nothing_left()

    def count_rows(self) -> int:
        """Count the documents of the train split, good or bad, empty or not; one pass, then remembered."""
        if not self._num_rows:
            window = make_nothing()
            reader = self._reader([file for file in self.files if file.split == "train"])
            for _ in reader.iter_builders(PARTITION_BYTES, BLOCK_BYTES, window):
                pass
            self._num_rows.append(window.position)
        return self._num_rows[0]

    def _reader(self, files: list[SourceFile] | None = None) -> Reader:
        chosen = self.files if files is None else tuple(files)  # those of train come first, so indices stay
        return Reader(self.config, self.shape, self._text_document, chosen, self._inspections, self._fingerprints)

    @property
    def _has_csv(self) -> bool:
        return any(file.format in CSV_FORMATS for file in self.files)

    @property
    def _has_sheets(self) -> bool:
        return any(file.format == SHEET for file in self.files)

    @property
    def _is_windowed(self) -> bool:
        return any(getattr(self.config, name) not in (None, -1, 0) for name in _WINDOW_OPTIONS)

    def _nothing_left(self) -> SourceError:
        if self._is_windowed:
            return SourceError(
                self.name,
                f"no document is left by dataset_offset and dataset_length (it has {self.count_rows():,})",
                "some",
                "Lower dataset_offset, or raise dataset_length.",
            )
        return SourceError(self.name, "no document has any text", "text", "Look at the files, and at the option document.")

    def say_columns(self) -> list[str]:
        """In words, which files have which columns of text; one line where all have the same, none where no file has rows."""
        return list(say_columns(list_columns(self._reader())))

    def look_ahead(self) -> list[tuple[SourceFile, SkippedFile]]:
        """Files of folders that reading will leave out, as their beginnings show: of the first thousand.

        Raises:
            SourceError: When such a file is to stop the work.
        """
        found: list[tuple[SourceFile, SkippedFile]] = []
        reader = self._reader()
        for file in [file for file in self.files if file.format is None and not file.is_named][:_MOST_LOOKED_AT]:
            try:
                head = next(iter_blocks(file, BLOCK_BYTES), b"")
                inspect_bytes(head, self.config.encoding)
            except BadFile as error:
                found.append((file, reader.skip(file, error)))
        return found

    def find_unused(self) -> dict[str, str]:
        """Options that are set, but change nothing of how this source is read, and why."""
        return find_unused(self.config, [] if self.is_given else _list_items(self.config), self.files)

    def fingerprint_apart(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Fingerprint, to be remembered, the files of which reading the documents does not; for a thread beside that.

        Before each file it is asked whether that is still wanted.
        """
        reader = self._reader()
        for index, file in enumerate(self.files):
            if not is_wanted():
                return
            if self._is_windowed or not reader.reads_whole(file, PARTITION_BYTES):
                self._fingerprint_of(index)

    def fingerprints(self) -> list[str]:
        """Fingerprint the bytes of each file (read once, then remembered)."""
        return [self._fingerprint_of(index) for index in range(len(self.files))]

    def describe(self) -> dict[str, Any]:
        """Return what the documents depend on, for a manifest: files with size, time and fingerprint; options."""
        rows = zip(self.files, self.fingerprints(), strict=True)
        return {
            "name": self.name,
            "root": printable(str(self.root)),
            "files": [
                {"path": file.label, "bytes": file.num_bytes, "mtime_ns": file.mtime_ns, "fingerprint": fingerprint}
                | ({"split": file.split} if file.split != "train" else {})
                for file, fingerprint in rows
            ],
            "options": self.options(),
            **({"is_given": True} if self.is_given else {}),
        }

    def options(self) -> dict[str, Any]:
        """Return the options that change documents."""
        options: dict[str, Any] = {
            "document": self.document,
            "document_regex": self.config.document_regex,
            "encoding": self.config.encoding,
            "strip_carriage_returns": self.config.strip_carriage_returns,
        }
        if self.document.startswith(ROW):  # else a store of plain text would go stale for options it does not read
            options |= {"html_columns": self.config.html_columns} if self.config.html_columns else {}
            options |= {"custom_text_key": self.config.custom_text_key, "on_bad_rows": self.config.on_bad_rows}
        of_formats = {
            "delimiter": self.config.csv_delimiter if self._has_csv else None,
            "column_names": self.config.column_names if self._has_csv or self._has_sheets else None,
            "quoted_fields": False if self._has_csv and not self.config.quoted_fields else None,
            "sheet": self.config.sheet if self._has_sheets else None,
        }
        options |= {name: value for name, value in of_formats.items() if value is not None}
        if self._is_windowed:
            options |= {name: getattr(self.config, name) for name in _WINDOW_OPTIONS}
        if self.config.on_bad_rows == "skip" and self.config.max_row_bytes != SourceConfig().max_row_bytes:
            options["max_row_bytes"] = self.config.max_row_bytes  # where they stop the work, no finished store depends on it
        return options

    def changed_since(self, description: dict[str, Any]) -> list[str]:
        """Say in sentences what differs from an earlier `describe()`; an empty list when nothing does.

        A file with another time but the same bytes has not changed, nor has a source that moved as a whole.
        """
        before = {entry["path"]: entry for entry in description["files"]}
        changes = []
        for index, file in enumerate(self.files):
            old = before.pop(file.label, None)
            if old is None:
                changes.append((file.label, f"{file.label}: added"))
            elif old.get("split", "train") != file.split:
                changes.append((file.label, f"{file.label}: now in the split {file.split}"))
            elif file.table is None and old["bytes"] != file.num_bytes:
                changes.append((file.label, f"{file.label}: edited ({old['bytes']:,} -> {file.num_bytes:,} bytes)"))
            elif file.table is not None:
                if old["fingerprint"] != self._fingerprint_of(index):
                    changes.append((file.label, f"{file.label}: other rows"))
            elif old["mtime_ns"] != file.mtime_ns and old["fingerprint"] != self._fingerprint_of(index):
                changes.append((file.label, f"{file.label}: edited (still {file.num_bytes:,} bytes)"))
        changes += [(label, f"{label}: removed") for label in before]
        old_options = description.get("options", {})
        now = {
            **dict.fromkeys(
                (*_WINDOW_OPTIONS, "max_row_bytes", "delimiter", "column_names", "quoted_fields", "sheet", "html_columns")
            ),
            **self.options(),
        }
        options = [
            f"data.{name}: was {_say_option(old_options.get(name))}, now {_say_option(value)}"
            for name, value in now.items()
            if old_options.get(name) != value
        ]
        return [sentence for _, sentence in sorted(changes)] + options

    def _fingerprint_of(self, index: int) -> str:
        if index not in self._fingerprints:
            self._fingerprints[index] = self._make_fingerprint(self.files[index])
        return self._fingerprints[index]

    def _make_fingerprint(self, file: SourceFile) -> str:
        if file.table is None:
            return fingerprint_file(file)
        try:
            selection = select_typed(self.shape, self.config.custom_text_key, file.table.schema)
        except BadFile as error:  # it is passed over, so its rows do not matter
            return f"unreadable: {error.reason}"
        return fingerprint_table(file.table, list_roots(file.table.schema, selection.schema.names))

    @property
    def _text_document(self) -> str:
        """What one document of a text file is."""
        return "file" if self.document.startswith(ROW) else self.document


def open_source(config: SourceConfig, shape: RowShape | None = None, *, rows: Any = None) -> Source:
    """List the files of a source and look at the first; read no document yet.

    Files named by the user are looked through whole, so that a bad one is known before any work is done.

    Args:
        shape: What rows are wanted; without one, one text a row, as `custom_text_key` says.
        rows: Rows from Python, in place of `config.source`: see `find_given`; or a mapping of splits (`train`, `test`) to such.

    Raises:
        SourceError: When a path is missing, a glob matches nothing, a named file is not text, or no file has text.
        MissingExtraError: When the source needs a package that is not installed.
    """
    shape = TextShape(config.custom_text_key) if shape is None else shape
    candidates = list_candidates(shape, config.custom_text_key)
    if rows is not None:
        from whelp.corpus.python_rows import find_given

        found, others, name = find_given(rows, candidates, config.source_dataset_split)
        places = [Place(found, others)]
    else:
        items = _list_items(config)
        check_params(config, items)
        places = [locate(item, config, candidates) for item in items]
        name = _make_name(items)
    return _make_source(config, shape, name, places, is_given=rows is not None)


def _make_source(config: SourceConfig, shape: RowShape, name: str, places: list[Place], *, is_given: bool) -> Source:
    found: list[FoundFile] = [file for place in places for file in place.found]
    for file in found:
        if config.document != "auto" and file.format not in (None, "text"):
            raise SourceError(
                name, f"holds rows, but data.document is {config.document}", "", "Leave document out, or set auto."
            )
    roots = [place.root for place in places if place.root is not None]
    root = Path(os.path.commonpath(roots)) if roots else Path()
    files, left_out = list_files(found, root, config)
    check_split(config, name, files)
    skipped = [file for place in places for file in place.skipped] + left_out
    skipped = [replace(file, path=make_label(Path(file.path), root)) if "://" not in file.path else file for file in skipped]
    document: str = config.document
    if document == "auto":
        num_of_rows = sum(file.format is not None for file in files)
        document = "blank_line" if len(found) == 1 and found[0].is_named else "file"
        if num_of_rows:
            document = ROW if num_of_rows == len(files) else f"{ROW} or file"
    source = Source(config, shape, name, root, document, tuple(files), tuple(skipped), is_given)
    try:
        look_for_text(name, source._reader(), skipped, is_windowed=source._is_windowed)
    except UnfitRowError as error:
        raise explain_columns(error, source._reader()) from None
    if config.custom_text_key is not None and not isinstance(shape, TextShape):  # with a shape, another column might do
        check_text_key(name, source._reader(), config.custom_text_key)
    if config.html_columns:
        check_html_columns(name, source._reader(), config.html_columns)
    return source


def _list_items(config: SourceConfig) -> list[str]:
    return config.source if isinstance(config.source, list) else [config.source]


def _make_name(items: list[str]) -> str:
    first = items[0]
    if first == "stdlib":
        name = f"Python {sys.version_info.major}.{sys.version_info.minor} standard library"
    else:
        name = printable(first)
    return name if len(items) == 1 else f"{name} and {len(items) - 1} more"


def _say_option(value: object) -> str:
    return "not set" if value is None else repr(value)
