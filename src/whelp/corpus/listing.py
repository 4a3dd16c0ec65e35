"""From what a source names to the files that are read, and a look at the first of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from whelp.base.errors import SourceError
from whelp.corpus.config import SourceConfig
from whelp.corpus.encodings import BadFile, Inspection, iter_text
from whelp.corpus.find_files import FoundFile, SkippedFile, look_at
from whelp.corpus.open_file import BLOCK_BYTES, SourceFile, iter_blocks
from whelp.corpus.reader import Reader, inspect_file
from whelp.corpus.row_shape import TextShape
from whelp.corpus.row_window import Window
from whelp.corpus.rows import TABLE, find_format, measure


def list_files(found: list[FoundFile], root: Path, config: SourceConfig) -> tuple[list[SourceFile], list[SkippedFile]]:
    """The files that can be read, those of the train split first, and those that were left out.

    Raises:
        SourceError: When one is bad that must be good.
    """
    files: list[SourceFile] = []
    skipped: list[SkippedFile] = []
    seen: set[tuple[int, int] | str] = set()
    above = os.path.join(root, "")
    for item in found:
        if item.table is not None:
            files.append(_make_table_file(item))
            continue
        path, name = item.path, str(item.path) if item.label is None else item.label
        is_strict = config.on_bad_files == "stop" or (config.on_bad_files == "auto" and item.is_named)
        status = look_at(path)
        if isinstance(status, SkippedFile):
            if is_strict:
                raise SourceError(item.where, status.reason, "a text file", "Name another file, or save its text to one.")
            skipped.append(status)
            continue
        if status.st_size == 0:
            if is_strict and item.is_named:
                raise SourceError(item.where, "the file is empty", "text", "Put some text into it, or name another file.")
            skipped.append(SkippedFile(name, "empty file", "empty"))
            continue
        is_known = status.st_ino and status.st_nlink == 1  # else the system does not tell names of one file apart
        identity = (status.st_dev, status.st_ino) if is_known else os.path.realpath(path)
        if identity in seen:
            skipped.append(SkippedFile(name, "listed already", "listed twice"))
            continue
        seen.add(identity)
        files.append(
            SourceFile(
                path,
                _cut_label(str(path), above) if item.label is None else item.label,
                status.st_size,
                status.st_mtime_ns,
                item.is_named,
                _choose_format(item, config),
                split=item.split,
                split_name=item.split_name,
                is_labelled=item.label is not None,
                written=item.written,
                keep=item.keep,
            )
        )
    return sorted(files, key=lambda file: file.split != "train"), skipped


def _choose_format(item: FoundFile, config: SourceConfig) -> str | None:
    if item.format is not None:
        return None if item.format == "text" else item.format
    return find_format(item.path) if config.document == "auto" else None


def _make_table_file(item: FoundFile) -> SourceFile:
    assert item.label is not None, item
    return SourceFile(
        item.path,
        item.label,
        item.table.num_bytes,
        0,
        item.is_named,
        TABLE,
        split=item.split,
        split_name=item.split_name,
        table=item.table,
        is_labelled=True,
        keep=item.keep,
    )


def make_label(path: Path, root: Path) -> str:
    """The path below the root of the source."""
    return _cut_label(str(path), os.path.join(root, ""))


def _cut_label(name: str, above: str) -> str:
    """As `make_label`, of text alone, since a folder may hold very many files: `above` ends with a separator."""
    name = name[len(above) :] if name.startswith(above) else "." if name + os.sep == above else name
    return printable(name if os.sep == "/" else name.replace(os.sep, "/"))


def printable(name: str) -> str:
    """File names may be any bytes; what goes into JSON may not."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def look_for_text(name: str, reader: Reader, skipped: Iterable[SkippedFile], *, is_windowed: bool) -> None:
    """Look through every file the user named, and through the others up to the first that has text.

    With `is_windowed`, bad rows are passed over here: they may lie outside of what is asked for.

    Raises:
        SourceError: When a named file is not text, or no file has text.
    """
    has_text = False
    bad: list[SkippedFile] = []
    for index, file in enumerate(reader.files):
        if has_text and not file.is_named:
            continue
        try:
            if file.format is not None:
                if _has_rows_of_text(reader, file, is_windowed=is_windowed):
                    has_text = True
                else:
                    bad.append(SkippedFile(file.label, "no row has any text", "only white space"))
                continue
            inspection = inspect_file(file, reader.config.encoding)
        except BadFile as error:
            bad.append(reader.skip(file, error))
            continue
        reader.inspections[index] = inspection
        if file.is_named and reader.config.document == "auto" and not reader.config.is_of_text:
            _check_no_json_lines(file, inspection)
        if inspection.has_text:
            has_text = True
        else:
            bad.append(SkippedFile(file.label, "only white space", "only white space"))
    if has_text:
        return
    counts = count_skipped([*skipped, *bad])
    if not counts:
        raise SourceError(name, "the folder is empty", "a folder with text", "Put text files into it, or name another.")
    if len(reader.files) == 1 and reader.files[0].is_named:
        raise SourceError(reader.files[0].where, f"not text: {bad[0].reason}", "text", "Put some text into it.")
    reasons = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    example = (bad or list(skipped))[0]
    collecting = ""
    if {"PDF", "packed"} & counts.keys():
        collecting = " `whelp collect folder DIR --out FILE.jsonl` takes the text out of PDF, DOCX, ODT and EPUB files."
    raise SourceError(
        name,
        f"none of the {sum(counts.values()):,} files found can be read as text ({reasons})",
        "at least one text file",
        f"The first: {example.path}: {example.reason}.{collecting}",
    )


def _check_no_json_lines(file: SourceFile, inspection: Inspection) -> None:
    """A model would learn to write JSON, which nobody wants who does not say so.

    Raises:
        SourceError: When a file that is text by its name holds JSON lines.
    """
    head = next(iter_text(iter_blocks(file, BLOCK_BYTES), inspection, strip_carriage_returns=False), b"")
    if not head.lstrip().startswith(b"{"):
        return
    from whelp.corpus.json_rows import holds_json_lines

    if holds_json_lines(head):
        next_step = (
            "Let its name end in .jsonl, or set data.source=json and data.source_dataset_params={data_files: ...}; "
            "to train on the JSON itself, set data.document=line, or another."
        )
        raise SourceError(file.where, "holds one JSON object a line, but its name says it is text", "", next_step)


def check_text_key(name: str, reader: Reader, text_key: str) -> None:
    """Look for the column that was asked for by name, up to the first file of rows that has it.

    Raises:
        SourceError: When none has it; it names what the first of them has, nearest first.
    """
    reader = replace(reader, shape=TextShape(text_key))
    first: BadFile | None = None
    num_without = 0
    for file in reader.files:
        if file.format is None:
            continue
        try:
            next(iter(reader.iter_rows(file, reader.make_bad_rows(file, stops=False), BLOCK_BYTES, Window())), None)
            return
        except BadFile as error:
            if error.kind != "no text column":  # reading it will say what is wrong
                return
            first, num_without = first or error, num_without + 1
    if first is not None:
        which = "" if num_without == 1 else f"the first of {num_without:,} files, none of which has that column, "
        raise SourceError(
            name,
            which + first.reason,
            "the column of data.custom_text_key",
            "Correct data.custom_text_key, or leave it out to take what the template finds.",
        )


def _has_rows_of_text(reader: Reader, file: SourceFile, *, is_windowed: bool) -> bool:
    """Read rows up to the first that has text."""
    bad = reader.make_bad_rows(file, stops=False if is_windowed else None)
    for rows in reader.iter_rows(file, bad, BLOCK_BYTES, Window()):
        if not measure(rows.batch)[1].all():
            return True
        bad.rows.clear()
    return False


def count_skipped(skipped: Iterable[SkippedFile]) -> dict[str, int]:
    """Count skipped files by kind, most first.

    >>> count_skipped([SkippedFile("a", "contains NUL bytes (first at byte 0)", "NUL bytes")])
    {'NUL bytes': 1}
    """
    return dict(Counter(file.kind for file in skipped).most_common())
