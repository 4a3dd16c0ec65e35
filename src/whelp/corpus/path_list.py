"""Lists of files, as crawls publish them (`wet.paths.gz`): one path or address a line."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

from whelp.base.errors import SourceError
from whelp.corpus.source_words import is_url

COMMON_CRAWL = "https://data.commoncrawl.org/"
_NAME = re.compile(r"\.paths(?:\.gz)?\Z", re.IGNORECASE)


def is_path_list(item: str) -> bool:
    """Whether a word names a list of files.

    >>> is_path_list("https://host/wet.paths.gz"), is_path_list("few.paths"), is_path_list("paths")
    (True, True, False)
    """
    return _NAME.search(item) is not None


def read_path_list(path: Path, name: str, base_url: str = COMMON_CRAWL) -> list[str]:
    """The files that a list names. Lines that are empty, or comments (`# ...`), are passed over.

    What is no address lies beside the list, or else below `base_url`.

    Raises:
        SourceError: When it cannot be read, or names nothing.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise SourceError(name, f"cannot be read ({error})", "a list of files, one a line", "Get it again.") from None
    lines = [line.strip() for line in text.splitlines()]
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        raise SourceError(name, "names no file", "a path or an address on each line", "")
    return [_resolve(entry, path.parent, base_url) for entry in entries]


def _resolve(entry: str, folder: Path, base_url: str) -> str:
    if is_url(entry):
        return entry
    beside = folder / entry
    return str(beside) if beside.exists() else f"{base_url.rstrip('/')}/{entry.lstrip('/')}"
