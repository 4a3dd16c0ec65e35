"""Lists of files, as crawls publish them (`wet.paths.gz`): one path or address a line."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from whelp.base.errors import SourceError, say_first_line
from whelp.corpus.find_files import as_written, expand
from whelp.corpus.source_words import is_url

COMMON_CRAWL = "https://data.commoncrawl.org/"
_COMMON_CRAWL_FOLDER = "crawl-data/"
_NAME = re.compile(r"\.paths(?:\.gz)?\Z", re.IGNORECASE)
_MAX_BYTES = 1 << 28  # of a list, unpacked: two million files
_WEB = ("http", "https")


def is_path_list(item: str) -> bool:
    """Whether a word names a list of files.

    >>> is_path_list("https://host/wet.paths.gz"), is_path_list("few.paths"), is_path_list("paths")
    (True, True, False)
    """
    return _NAME.search(item) is not None and not os.path.isdir(item)


def read_listed(item: str, fetch: Callable[[str], Path], base_url: str = COMMON_CRAWL) -> list[str]:
    """The files that a list names, or each of those that a glob finds.

    Args:
        fetch: Gives a file of an address.

    Raises:
        SourceError: When there is no list, or one cannot be read; see `read_path_list`.
    """
    if is_url(item):
        from whelp.corpus.remote import show_url

        return read_path_list(fetch(item), show_url(item), base_url)
    _, paths, _, is_named = expand(item, None, expected="a list of files, or a glob of lists")
    return [
        entry for path in paths for entry in read_path_list(path, item if is_named else str(as_written(path, item)), base_url)
    ]


def read_path_list(path: Path, name: str, base_url: str = COMMON_CRAWL) -> list[str]:
    """The files that a list names. Lines that are empty, or comments (`# ...`), are passed over.

    What is no address lies beside the list, or else below `base_url`. A list from elsewhere names no file of this machine.

    Args:
        name: What people know the list by; an address where it was fetched.

    Raises:
        SourceError: When it cannot be read, names nothing, another list, or a file that is not there.
    """
    try:
        data = _read(path)
        text = data[:_MAX_BYTES].decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise SourceError(
            name, f"cannot be read ({say_first_line(error)})", "a list of files, one a line", "Get it again."
        ) from None
    if len(data) > _MAX_BYTES:
        raise SourceError(name, f"is larger than {_MAX_BYTES:,} bytes", "a list of files, one a line", "Divide it.")
    lines = [line.strip() for line in text.splitlines()]
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        raise SourceError(name, "names no file", "a path or an address on each line", "")
    listed = next((entry for entry in entries if is_path_list(entry)), None)
    if listed is not None:
        raise SourceError(name, f"names another list, {listed}", "files", "Name that list itself.")
    folder = None if is_url(name) else path.parent
    return [_resolve(entry, name, folder, base_url) for entry in entries]


def _read(path: Path) -> bytes:
    """At most one byte more than a list may have."""
    with open(path, "rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        return (gzip.GzipFile(fileobj=file) if is_packed else file).read(_MAX_BYTES + 1)


def _resolve(entry: str, name: str, folder: Path | None, base_url: str) -> str:
    """Where an entry is; `folder` is that of a list of this machine."""
    if is_url(entry):
        known = (*_WEB, urlsplit(name).scheme)
        if folder is None and ("::" in entry or urlsplit(entry).scheme.lower() not in known):
            expected = "addresses of the web, or of the store that the list is in"
            raise SourceError(name, f"names {entry}", expected, "Fetch the list, look at it, and name the copy.")
        return entry
    if folder is not None and (folder / entry).exists():
        return str(folder / entry)
    if base_url == COMMON_CRAWL and not entry.lstrip("/").startswith(_COMMON_CRAWL_FOLDER):
        expected = f"a file beside the list, an address, or a path of Common Crawl ({_COMMON_CRAWL_FOLDER}...)"
        raise SourceError(name, f"names {entry}, which is not there", expected, "Correct the path, or write the whole address.")
    return f"{base_url.rstrip('/')}/{entry.lstrip('/')}"
