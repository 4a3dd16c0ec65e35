"""Files named on the command line: themselves, or those of folders, in a stated order; and lists in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whelp.base.as_list import as_list
from whelp.base.errors import SourceError
from whelp.base.hashing import hash_json


@dataclass(frozen=True)
class FileProgress:
    """How many bytes of the files are read, of how many (a guess, while some are not fetched); documents, rows or lines so far."""

    position: int
    total: int
    count: int


def list_given(files: str | Path | Sequence[str | Path], out: Path, suffixes: Sequence[str] | None = None) -> list[Path]:
    """Files in the order they are given, their paths as they were written; of a folder or a glob by name, with the folders below.

    `out` is never one of them.

    Args:
        suffixes: What can be read, packed or not. A file of another kind is an error where it is named, and passed over in a folder.

    Raises:
        SourceError: When there is none, one is given twice, or one is of another kind.
    """
    from whelp.collect.folder import MARKED_UP, PACKED
    from whelp.corpus.compressed import split_name
    from whelp.corpus.find_files import as_written, expand

    given = as_list(files)
    found: list[Path] = []
    for item in given:
        _, paths, _, is_named = expand(str(item), None)
        for path in paths:
            if path.resolve() == out.resolve():
                continue
            if suffixes is None or split_name(path)[0] in suffixes:
                found.append(as_written(path, str(item)))
            elif is_named:
                ending = path.suffix or "no ending"
                is_document = ending.lower() in (*PACKED, *MARKED_UP)
                next_step = "Take its text with `whelp collect folder`." if is_document else ""
                found_kind = f"is of a kind that is not read here ({ending})"
                raise SourceError(item, found_kind, f"one of {', '.join(suffixes)}", next_step)
    counts = Counter(path.resolve() for path in found)
    twice = next((path for path in found if counts[path.resolve()] > 1), None)
    if twice is not None:
        raise SourceError(twice, "is given twice", "each file once", "Its rows would be there twice; take one out.")
    if not found:
        what = f"files that end in {', '.join(suffixes)}" if suffixes else "files"
        raise SourceError(", ".join(map(str, given)) or "no files", "nothing to read", what, "Check the spelling.")
    return found


def describe_given(paths: list[Path]) -> str:
    """A fingerprint of places, sizes and times; it is the same however the paths are written, and from whichever folder."""
    return hash_json([(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths])


def read_list(path: Path) -> list[str]:
    """The lines of a file that are neither empty nor comments (`# ...`).

    Raises:
        SourceError: When it is not UTF-8 text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(path, f"not UTF-8 text (byte {error.start})", "a list, one entry a line") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
