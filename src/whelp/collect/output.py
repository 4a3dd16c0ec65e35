"""Write documents to a file: JSON lines with their provenance, or plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from whelp.base.errors import ConfigError
from whelp.base.files import open_atomic

TEXT_BORDER = "\n\n\n"
"""What stands between two documents of a plain text file, and nowhere in one: `document_regex` of a recipe's `data`."""


def check_output(path: Path) -> None:
    """Say before anything is asked for whether the file can be written.

    Raises:
        ConfigError: When its name says neither format, or its folder is missing.
    """
    if path.suffix not in (".jsonl", ".txt"):
        raise ConfigError("--out", [f"{path} is neither .jsonl nor .txt"], "Example: --out documents.jsonl")
    if path.is_dir():
        raise ConfigError("--out", [f"{path} is a folder"], "Name a file in it.")
    if not path.absolute().parent.is_dir():
        raise ConfigError("--out", [f"there is no folder {path.absolute().parent}"], "Make it first.")


def check_json_lines(path: Path) -> None:
    """Say before any work that a file of JSON lines cannot have another name.

    Raises:
        ConfigError: When it has.
    """
    if path.suffix != ".jsonl":
        next_step = "Example: --out corpus/documents.jsonl"
        raise ConfigError("--out", [f"{path} does not end in .jsonl, but JSON lines are what is written"], next_step)


def write_output(path: Path, lines: Iterable[str]) -> None:
    """Write JSON lines to a file that is whole or not there; to a `.txt` file their texts alone."""
    with open_atomic(path) as file:
        border = ""
        for line in lines:
            if path.suffix == ".jsonl":
                file.write(line.encode())
                continue
            text = re.sub(r"\n{3,}", "\n\n", json.loads(line)["text"].strip("\n"))
            file.write(f"{border}{text}".encode())
            border = TEXT_BORDER
        if border:
            file.write(b"\n")
