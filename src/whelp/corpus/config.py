"""Which text to read, and what one document of it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from whelp.base.config import option
from whelp.base.errors import ConfigError
from whelp.base.re2 import find_pattern_problem

_DELIMITER_WORDS = {"\\t": "\t", "tab": "\t"}


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Say where the text is and how it is cut into documents.

    Raises:
        ConfigError: When fields do not fit together, a pattern is broken, or an encoding is unknown.
    """

    source: str | list[str] = option(
        "stdlib",
        "the word stdlib (the Python standard library here), a file of text or of rows, a folder, a glob, a URL, a list of files "
        "(.paths, .paths.gz), a saved "
        "dataset, a dataset of the hub (org/name), a kind of file (text, json, csv, parquet, pandas) with source_data_dir or "
        "data_files, or a list",
        is_path=True,
        known_as=("path", "paths", "dataset", "corpus", "train_file"),
    )
    licence: str | None = option(
        None,
        "what the texts may be used for, such as CC BY-SA 4.0, for `whelp trace` and model cards; nothing: what the columns licence "
        "and license of the first rows name",
    )
    source_data_dir: str | None = option(
        None,
        "where the files are when source is a kind of file; the folder within a dataset of the hub",
        is_path=True,
        if_there=True,
    )
    source_dataset_params: dict[str, Any] = option(
        {},
        "more of where the data are: data_files (a file, a glob, a list, or a mapping of splits) and delimiter of a kind of "
        "file; what datasets.load_dataset takes, for the hub; storage_options of URLs",
        path_keys=("data_files", "data_dir"),
        if_there=True,
    )
    source_dataset_split: str = option("train", "the split to train on, where a source has splits")
    source_streaming: bool = option(
        False, "fetch a dataset of the hub row by row; with dataset_offset and dataset_length as counts, only so many rows"
    )
    dataset_offset: int | float | None = option(
        None, "leave out the first documents of the source: a share below 1 (rounded down), or a count; nothing or -1: none"
    )
    dataset_length: int | float | None = option(
        None, "then take so many documents of the source: a share of all below 1, or a count; nothing or -1: all"
    )
    document: Literal["auto", "file", "line", "blank_line", "regex"] = option(
        "auto",
        "what one document is: a file, a line, a run of lines between blank lines, or what stands between matches of "
        "document_regex. auto: a row where a file holds rows (JSON, CSV, spreadsheets, Parquet, Arrow, WET); of text, blank_line when the "
        "source is one file, else file. Given, it makes every file text",
    )
    document_regex: str | None = option(
        None,
        "the pattern that separates documents when document is regex (RE2 syntax); the matched text belongs to none. "
        "In a file larger than a partition, a match and what it depends on must fit in 64 KiB",
    )
    custom_text_key: str | None = option(
        None,
        "the column that holds the text, in files of rows; nothing: text, or the only column that holds text",
        known_as=("text_key", "text_column", "text_field", "content_field"),
    )
    quoted_fields: bool = option(
        True,
        "fields of CSV may stand in double quotes, and then hold separators and line ends; false: a quote is text like any "
        "other, as in many TSV files",
    )
    on_bad_rows: Literal["stop", "skip"] = option(
        "stop", "what to do with a row without good text (null, missing, not text, broken): stop, or skip and count it"
    )
    max_row_bytes: int = option(
        1 << 28,
        "a line of JSON, a record of WET, or a document of a text file, of more bytes is a bad row, and is not taken into memory (a row of CSV "
        "stops the work); a row takes several times its size",
        at_least=1,
    )
    encoding: str = option(
        "auto",
        "auto: what a byte order mark says, else UTF-8, else Windows-1252 where the bytes look like it (counted); "
        "or a name that Python knows, such as latin-1, used strictly. Of text and CSV; other files of rows are UTF-8",
    )
    delimiter: str | None = option(
        None,
        "what stands between the fields of CSV: one character, such as ;, or the word tab; nothing: what the header shows (a comma, a "
        "semicolon, a tab or a bar)",
    )
    column_names: list[str] | None = option(
        None,
        "the names of the columns of CSV files and spreadsheets without a header, in order; nothing: the first row has them",
    )
    html_columns: list[str] | None = option(
        None,
        "columns that hold HTML, such as posts of a forum, of which the text is taken that a page would show; of a conversation, all fields "
        "of its turns",
        known_as=("html_column", "html_fields"),
    )
    sheet: str | None = option(
        None,
        "of a spreadsheet (.xlsx, .xls, .ods), the name of the sheet to read; nothing: the only one that holds anything",
        known_as=("sheet_name",),
    )
    on_bad_files: Literal["auto", "stop", "skip"] = option(
        "auto",
        "what to do with a file that is not text: stop, or skip and count it. auto: stop for a file named by you, "
        "skip for one found in a folder or by a glob",
    )
    strip_carriage_returns: bool = option(True, "turn line ends of CR LF, or of CR alone, into LF (files are counted)")
    include_suffixes: list[str] | None = option(
        None, "in folders, read only files that end like this, such as [.txt, .md]; nothing: every file that is text"
    )

    def __post_init__(self) -> None:
        problems = []
        items = self.source if isinstance(self.source, list) else [self.source]
        if not items:
            problems.append("source is an empty list, but expected at least one file, folder or glob")
        if any(not item.strip() for item in items):
            problems.append("source has an empty name in it, but expected a file, a folder, a glob or stdlib")
        if self.licence is not None and not self.licence.strip():
            problems.append("licence is empty, but expected its name; leave it out where you do not know it")
        if any("\0" in item for item in items):
            problems.append("source has a NUL character in a name")
        if self.document == "regex" and self.document_regex is None:
            problems.append("document is regex, but document_regex is missing")
        elif self.document_regex is not None and self.document != "regex":
            problems.append(f"document_regex is given, but document is {self.document}; set document to regex")
        elif self.document_regex is not None:
            problems.extend(_check_pattern(self.document_regex))
        if self.encoding != "auto":
            problems.extend(_check_encoding(self.encoding))
        for suffix in self.include_suffixes or []:
            if not suffix.startswith(".") or len(suffix) < 2:
                problems.append(f"include_suffixes has {suffix!r}, but expected an ending such as .txt")
        problems.extend(self._check_csv())
        for name in ("dataset_offset", "dataset_length"):
            problems.extend(_check_amount(name, getattr(self, name)))
        if self.include_suffixes == []:
            problems.append("include_suffixes is an empty list, which leaves no file; leave it out to read every file")
        if problems:
            raise ConfigError("source", problems)

    @property
    def is_of_text(self) -> bool:
        """Whether files are text because it is said, whatever their names."""
        return self.source == "text" or (isinstance(self.source, list) and "text" in self.source)

    @property
    def csv_delimiter(self) -> str | None:
        """What stands between the fields of CSV, where it is said: here, or, with `source: csv`, as `datasets` has it."""
        params = self.source_dataset_params if self.source == "csv" else {}
        value = self.delimiter or params.get("delimiter", params.get("sep"))
        return _DELIMITER_WORDS.get(value, value) if isinstance(value, str) else value

    def _check_csv(self) -> list[str]:
        problems = []
        value = self.csv_delimiter
        if value is not None and (not isinstance(value, str) or len(value) != 1 or not value.isascii() or value in '"\r\n\0'):
            problems.append(f"delimiter is {value!r}, but expected one character of ASCII, such as ;, or the word tab")
        if self.column_names is not None:
            if not self.column_names or any(not name for name in self.column_names):
                problems.append("column_names has no names, or an empty one; leave it out where the first row has them")
            elif len(set(self.column_names)) < len(self.column_names):
                problems.append("column_names has a name twice, but expected a name of its own for each column")
        return problems


def _check_amount(name: str, value: float | None) -> list[str]:
    if value is None or value == -1:
        return []
    if value < 0 or (value > 1 and not float(value).is_integer()):
        return [f"{name} is {value}, but expected a share below 1, a whole number of documents, or -1"]
    if value == 0 and name == "dataset_length":
        return ["dataset_length is 0, which leaves nothing; leave it out to take everything"]
    return []


def _check_pattern(pattern: str) -> list[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    problem = find_pattern_problem(pattern) or find_pattern_problem(f"({pattern})")  # as it is used
    if problem is not None:
        return [f"document_regex {problem}"]
    if pc.match_substring_regex(pa.array([""]), pattern)[0].as_py():
        return [f"document_regex {pattern!r} matches the empty text, so it would cut between any two characters"]
    return []


def _check_encoding(name: str) -> list[str]:
    try:
        "".encode(name)  # also refuses codecs that are not for text, such as base64
    except (LookupError, ValueError):
        return [f"encoding {name!r} is not a text encoding that Python knows, such as utf-8, latin-1, cp1252 or utf-16"]
    return []
